//! Promotion as a gateway sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use imago_proto::{Incarnation, ServiceId, link::ServerState};

use super::{Fitness, LogicRecord, Timing, gateway_links::LinkTable, is_gone};
use crate::PeerId;

/// What happened to a gateway.
#[derive(Clone, Debug)]
pub enum GatewayEvent {
    /// Its own registration showed up in its own registry read (docs/promotion.md, "A gateway grows up").
    Visible,
    /// The registry's logic servers changed. Only those read after [`Visible`](Self::Visible)
    /// count.
    Snapshot(Vec<LogicRecord>),
    /// The registry cannot be read: its newest answer may be out of date until the next
    /// [`Snapshot`](Self::Snapshot).
    StaleSnapshot(Vec<LogicRecord>),
    /// A link is handshaken; the server said its state.
    LinkUp(PeerId, ServerState),
    /// The server has all of our sessions.
    LinkSynced(PeerId),
    /// The server said its state, and which gateways it was promoted without.
    LinkState {
        /// Which server.
        peer: PeerId,
        /// What it is now.
        state: ServerState,
    },
    /// A link is gone.
    LinkDown(PeerId),
    /// Time has passed.
    Tick,
    /// This process stood still for so long, and knows nothing of what happened meanwhile: that time
    /// does not count.
    StoodStill(Duration),
    /// The gateway begins to drain.
    Leave,
}

/// What a gateway has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayAction {
    /// Dial this server, and again after every loss, until told to stop.
    Dial(PeerId),
    /// It left the registry: dial it no more. A link that is up stays.
    StopDialling(ServiceId),
    /// This life of a server is over: close its link.
    CloseStale(PeerId),
    /// Accept clients, and write `service_state=adult`.
    OpenDoors,
    /// Accept nobody, hand the clients over, and write `service_state=young`: these servers work
    /// without us.
    Fence(Vec<ServiceId>),
    /// The same, because no logic server can be reached.
    Isolate,
    /// Pushes to our sessions may be missing: ask a server for them.
    Redeliver,
    /// A server that we are linked with is not in the registry any more; the link outranks it.
    Vanished(ServiceId),
}

/// How far a gateway has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayPhase {
    /// Waits for its own registration, or for links.
    Young,
    /// Accepts clients.
    Adult,
    /// Was Adult; logic servers promoted without it.
    Fenced,
    /// Was Adult; it cannot reach any logic server.
    Isolated,
    /// Drains.
    Leaving,
}

/// The promotion of one gateway.
#[derive(Clone, Debug)]
pub struct GatewayCore {
    own_id: ServiceId,
    timing: Timing,
    phase: GatewayPhase,
    visible: bool,
    /// Logic servers of the newest snapshot read after our registration was visible.
    servers: Option<BTreeMap<ServiceId, LogicRecord>>,
    /// The registry could not be read since.
    is_stale: bool,
    links: LinkTable,
    /// Lives that said that they are Adult: they are, though the newest snapshot may be older.
    told: BTreeMap<ServiceId, Incarnation>,
    /// Servers waited for, and since when.
    waiting: BTreeMap<ServiceId, Instant>,
    /// Since when no server is linked that requests could go to.
    alone: Option<Instant>,
    last_redelivery: Option<Instant>,
}

impl GatewayCore {
    /// A gateway that has just started.
    pub fn new(own_id: ServiceId, timing: Timing) -> Self {
        Self {
            own_id,
            timing,
            phase: GatewayPhase::Young,
            visible: false,
            servers: None,
            is_stale: false,
            links: LinkTable::default(),
            told: BTreeMap::new(),
            waiting: BTreeMap::new(),
            alone: None,
            last_redelivery: None,
        }
    }

    /// How far it has grown.
    pub fn phase(&self) -> GatewayPhase {
        self.phase
    }

    /// Registered servers with their flag up, or that said that they are Adult, that it has no
    /// synced link with, and since when.
    pub fn waiting_for(&self) -> &BTreeMap<ServiceId, Instant> {
        &self.waiting
    }

    /// Whether the logic servers are known at all: before that it waits for the registry.
    pub fn knows_servers(&self) -> bool {
        self.servers.is_some()
    }

    /// Whether some server can take requests.
    pub fn has_adult(&self) -> bool {
        self.links.usable().next().is_some()
    }

    /// Since when none can.
    pub fn alone_since(&self) -> Option<Instant> {
        self.alone
    }

    /// Whether requests may go to this server: it said that it is Adult, has our sessions, and is fit, or
    /// no other one is.
    pub fn is_usable(&self, peer: &PeerId) -> bool {
        self.links.usable().any(|usable| usable == *peer)
    }

    /// Takes an event, and says what to do.
    pub fn on(&mut self, event: GatewayEvent, now: Instant) -> Vec<GatewayAction> {
        let mut actions = Vec::new();
        match event {
            GatewayEvent::Visible => self.visible = true,
            GatewayEvent::Snapshot(servers) if self.visible => {
                self.is_stale = false;
                self.snapshot(servers, &mut actions);
            }
            GatewayEvent::StaleSnapshot(servers) if self.visible => {
                self.is_stale = true;
                self.snapshot(servers, &mut actions);
            }
            GatewayEvent::Snapshot(_) | GatewayEvent::StaleSnapshot(_) | GatewayEvent::Tick => {}
            GatewayEvent::LinkUp(peer, state) => {
                self.remember(&peer, state);
                self.links.up(peer, state);
            }
            GatewayEvent::LinkSynced(peer) => self.link_synced(&peer, now, &mut actions),
            GatewayEvent::LinkState { peer, state } => {
                self.link_state(&peer, state, now, &mut actions);
            }
            GatewayEvent::LinkDown(peer) => self.link_down(&peer, now, &mut actions),
            GatewayEvent::StoodStill(still) => {
                let records = self.servers.iter_mut().flat_map(BTreeMap::values_mut);
                let critical = records.filter_map(|record| record.critical_since.as_mut());
                critical.chain(self.waiting.values_mut()).for_each(|since| *since += still);
            }
            GatewayEvent::Leave => self.phase = GatewayPhase::Leaving,
        }
        self.advance(now, &mut actions);
        actions
    }

    fn remember(&mut self, peer: &PeerId, state: ServerState) {
        if Fitness::of(state).is_some() {
            self.told.insert(peer.service_id.clone(), peer.incarnation);
        } else {
            self.told.remove(&peer.service_id);
        }
    }

    fn snapshot(&mut self, servers: Vec<LogicRecord>, actions: &mut Vec<GatewayAction>) {
        let servers: BTreeMap<_, _> =
            servers.into_iter().map(|record| (record.peer.service_id.clone(), record)).collect();
        let before = self.servers.take().unwrap_or_default();
        for (id, record) in &servers {
            self.follow(before.get(id), record, actions);
        }
        for id in before.keys().filter(|id| !servers.contains_key(*id)) {
            actions.push(GatewayAction::StopDialling(id.clone()));
            if self.links.get(id).is_some_and(|link| link.state != ServerState::Leaving) {
                actions.push(GatewayAction::Vanished(id.clone()));
            }
        }
        self.told.retain(|id, _| servers.contains_key(id) || self.links.get(id).is_some());
        self.servers = Some(servers);
    }

    /// Dials newcomers and new lives; ends links with old lives.
    fn follow(
        &mut self,
        before: Option<&LogicRecord>,
        record: &LogicRecord,
        actions: &mut Vec<GatewayAction>,
    ) {
        if before.is_some_and(|before| before.peer == record.peer) {
            return;
        }
        let id = &record.peer.service_id;
        let link = self.links.get(id).map(|link| link.incarnation);
        if link == Some(record.peer.incarnation) {
            // Dialled before the registry knew this life, or forgotten by it and back: dial again
            // when the link is lost.
            actions.push(GatewayAction::Dial(record.peer.clone()));
            return;
        }
        // The registry may lag behind a link, so only a life that it replaced is over.
        if let (Some(linked), Some(before)) = (link, before)
            && before.peer.incarnation == linked
        {
            let stale = PeerId { service_id: id.clone(), incarnation: linked };
            self.links.down(&stale);
            actions.push(GatewayAction::CloseStale(stale));
        }
        actions.push(GatewayAction::Dial(record.peer.clone()));
    }

    /// An already Adult server may have pushed past us while there was no link.
    fn link_synced(&mut self, peer: &PeerId, now: Instant, actions: &mut Vec<GatewayAction>) {
        let Some(link) = self.links.of_life(peer) else { return };
        link.synced = true;
        if link.fitness().is_some() {
            self.redeliver(now, actions);
        }
    }

    /// A server that was unfit may not have read whom to push to.
    fn link_state(
        &mut self,
        peer: &PeerId,
        state: ServerState,
        now: Instant,
        actions: &mut Vec<GatewayAction>,
    ) {
        let Some(link) = self.links.of_life(peer) else { return };
        let before = link.fitness();
        link.state = state;
        let is_fit_again = (before, link.fitness()) == (Some(Fitness::Unfit), Some(Fitness::Fit));
        self.remember(peer, state);
        if is_fit_again {
            self.redeliver(now, actions);
        }
    }

    /// What the lost server accepted but had not pushed yet, another one pushes.
    fn link_down(&mut self, peer: &PeerId, now: Instant, actions: &mut Vec<GatewayAction>) {
        let Some(link) = self.links.down(peer) else { return };
        if link.state != ServerState::Young {
            self.redeliver(now, actions);
        }
    }

    fn redeliver(&mut self, now: Instant, actions: &mut Vec<GatewayAction>) {
        if self.serves() {
            self.last_redelivery = Some(now);
            actions.push(GatewayAction::Redeliver);
        }
    }

    fn serves(&self) -> bool {
        matches!(self.phase, GatewayPhase::Adult | GatewayPhase::Leaving)
    }

    /// What can be done without a further event.
    fn advance(&mut self, now: Instant, actions: &mut Vec<GatewayAction>) {
        self.update_waiting(now);
        self.update_alone(now);
        match self.phase {
            GatewayPhase::Young | GatewayPhase::Fenced | GatewayPhase::Isolated => {
                if self.may_open() {
                    self.phase = GatewayPhase::Adult;
                    actions.push(GatewayAction::OpenDoors);
                }
            }
            GatewayPhase::Adult => self.stay_adult(now, actions),
            GatewayPhase::Leaving => {}
        }
    }

    /// One that lost all of its links is where it was before once it has one: a lost link alone closes
    /// no doors.
    fn may_open(&self) -> bool {
        let misses_none = match self.phase {
            GatewayPhase::Isolated => self.excluded_by().is_empty(),
            _ => self.waiting.is_empty(),
        };
        self.servers.is_some() && misses_none && self.has_adult()
    }

    fn stay_adult(&mut self, now: Instant, actions: &mut Vec<GatewayAction>) {
        let excluded_by = self.excluded_by();
        if !excluded_by.is_empty() {
            self.phase = GatewayPhase::Fenced;
            actions.push(GatewayAction::Fence(excluded_by));
            return;
        }
        if self.is_isolated(now) {
            self.phase = GatewayPhase::Isolated;
            actions.push(GatewayAction::Isolate);
            return;
        }
        let due = self.last_redelivery.is_none_or(|last| {
            now.saturating_duration_since(last) >= self.timing.redeliver_interval
        });
        if !self.waiting.is_empty() && due {
            self.redeliver(now, actions);
        }
    }

    /// Servers that promoted without us, and that we still cannot reach.
    fn excluded_by(&self) -> Vec<ServiceId> {
        self.servers
            .iter()
            .flat_map(BTreeMap::values)
            .filter(|record| record.excluded.contains(&self.own_id))
            .filter(|record| self.waiting.contains_key(&record.peer.service_id))
            .map(|record| record.peer.service_id.clone())
            .collect()
    }

    /// Whether others may well serve what this gateway cannot: servers that it has not reached for long
    /// are Adult, or, where the registry cannot be read, may be.
    fn is_isolated(&self, now: Instant) -> bool {
        let is_long =
            |since: &Instant| now.saturating_duration_since(*since) >= self.timing.isolated;
        self.alone.as_ref().is_some_and(is_long)
            && (self.is_stale || self.waiting.values().any(is_long))
    }

    fn update_alone(&mut self, now: Instant) {
        match self.has_adult() {
            true => self.alone = None,
            false => drop(self.alone.get_or_insert(now)),
        }
    }

    /// Whether it is Adult or about to be, as far as the registry or the server itself has said.
    fn is_grown(&self, record: &LogicRecord) -> bool {
        record.flag_up || self.told.get(&record.peer.service_id) == Some(&record.peer.incarnation)
    }

    fn update_waiting(&mut self, now: Instant) {
        let missing: BTreeSet<ServiceId> = self
            .servers
            .iter()
            .flat_map(BTreeMap::values)
            .filter(|record| self.is_grown(record) && !record.leaving)
            .filter(|record| !is_gone(record.critical_since, self.timing.critical_grace, now))
            .filter(|record| !self.links.is_synced(&record.peer))
            .map(|record| record.peer.service_id.clone())
            .collect();
        self.waiting.retain(|id, _| missing.contains(id));
        for id in missing {
            self.waiting.entry(id).or_insert(now);
        }
    }
}
