//! Promotion as a gateway sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use imago_proto::{Incarnation, ServiceId, link::ServerState};

use super::{LogicRecord, Timing, is_gone};
use crate::PeerId;

/// What happened to a gateway.
#[derive(Clone, Debug)]
pub enum GatewayEvent {
    /// Its own registration showed up in its own registry read (`promotion.md`, step 2).
    Visible,
    /// The registry's logic servers changed. Only those read after [`Visible`](Self::Visible)
    /// count.
    Snapshot(Vec<LogicRecord>),
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
    /// Drains.
    Leaving,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    incarnation: Incarnation,
    state: ServerState,
    synced: bool,
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
    links: BTreeMap<ServiceId, Link>,
    /// Lives that said that they are Adult: they are, though the newest snapshot may be older.
    told: BTreeMap<ServiceId, Incarnation>,
    /// Servers waited for, and since when.
    waiting: BTreeMap<ServiceId, Instant>,
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
            links: BTreeMap::new(),
            told: BTreeMap::new(),
            waiting: BTreeMap::new(),
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
        self.adults().next().is_some()
    }

    /// Whether requests may go to this server: it said that it is Adult, and has our sessions.
    pub fn is_usable(&self, peer: &PeerId) -> bool {
        self.adults().any(|adult| adult == *peer)
    }

    fn adults(&self) -> impl Iterator<Item = PeerId> {
        self.links
            .iter()
            .filter(|(_, link)| link.synced && link.state == ServerState::Adult)
            .map(|(id, link)| peer(id, link.incarnation))
    }

    /// Takes an event, and says what to do.
    pub fn on(&mut self, event: GatewayEvent, now: Instant) -> Vec<GatewayAction> {
        let mut actions = Vec::new();
        match event {
            GatewayEvent::Visible => self.visible = true,
            GatewayEvent::Snapshot(servers) if self.visible => self.snapshot(servers, &mut actions),
            GatewayEvent::Snapshot(_) | GatewayEvent::Tick => {}
            GatewayEvent::LinkUp(peer, state) => {
                self.remember(&peer, state);
                let link = Link { incarnation: peer.incarnation, state, synced: false };
                self.links.insert(peer.service_id, link);
            }
            GatewayEvent::LinkSynced(peer) => self.link_synced(&peer, now, &mut actions),
            GatewayEvent::LinkState { peer, state } => {
                if let Some(link) = self.link_mut(&peer) {
                    link.state = state;
                    self.remember(&peer, state);
                }
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

    fn link_mut(&mut self, peer: &PeerId) -> Option<&mut Link> {
        self.links.get_mut(&peer.service_id).filter(|link| link.incarnation == peer.incarnation)
    }

    fn remember(&mut self, peer: &PeerId, state: ServerState) {
        if state == ServerState::Adult {
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
        self.told.retain(|id, _| servers.contains_key(id) || self.links.contains_key(id));
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
            self.links.remove(id);
            actions.push(GatewayAction::CloseStale(peer(id, linked)));
        }
        actions.push(GatewayAction::Dial(record.peer.clone()));
    }

    /// An already Adult server may have pushed past us while there was no link.
    fn link_synced(&mut self, peer: &PeerId, now: Instant, actions: &mut Vec<GatewayAction>) {
        let Some(link) = self.link_mut(peer) else { return };
        link.synced = true;
        if link.state == ServerState::Adult && self.serves() {
            self.last_redelivery = Some(now);
            actions.push(GatewayAction::Redeliver);
        }
    }

    /// What the lost server accepted but had not pushed yet, another one pushes.
    fn link_down(&mut self, peer: &PeerId, now: Instant, actions: &mut Vec<GatewayAction>) {
        let Some(link) = self.link_mut(peer).map(|link| *link) else { return };
        self.links.remove(&peer.service_id);
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
        match self.phase {
            GatewayPhase::Young | GatewayPhase::Fenced => {
                if self.may_open() {
                    self.phase = GatewayPhase::Adult;
                    actions.push(GatewayAction::OpenDoors);
                }
            }
            GatewayPhase::Adult => self.stay_adult(now, actions),
            GatewayPhase::Leaving => {}
        }
    }

    fn may_open(&self) -> bool {
        self.servers.is_some() && self.waiting.is_empty() && self.has_adult()
    }

    fn stay_adult(&mut self, now: Instant, actions: &mut Vec<GatewayAction>) {
        let excluded_by = self.excluded_by();
        if !excluded_by.is_empty() {
            self.phase = GatewayPhase::Fenced;
            actions.push(GatewayAction::Fence(excluded_by));
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

    fn is_synced(&self, peer: &PeerId) -> bool {
        self.links
            .get(&peer.service_id)
            .is_some_and(|link| link.incarnation == peer.incarnation && link.synced)
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
            .filter(|record| !self.is_synced(&record.peer))
            .map(|record| record.peer.service_id.clone())
            .collect();
        self.waiting.retain(|id, _| missing.contains(id));
        for id in missing {
            self.waiting.entry(id).or_insert(now);
        }
    }
}

fn peer(service_id: &ServiceId, incarnation: Incarnation) -> PeerId {
    PeerId { service_id: service_id.clone(), incarnation }
}
