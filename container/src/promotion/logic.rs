//! Promotion as a logic server sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use imago_proto::ServiceId;

use super::{Fitness, GatewayRecord, Timing, is_gone};
use crate::PeerId;

/// What happened to a logic server.
#[derive(Clone, Debug)]
pub enum LogicEvent {
    /// Its own registration showed up in its own registry read (docs/promotion.md, "A logic server grows up").
    Visible,
    /// The registry's gateways changed. Only those read after [`Visible`](Self::Visible) count.
    Snapshot(Vec<GatewayRecord>),
    /// A gateway's link is handshaken and all of its sessions are in the directory.
    LinkSynced(PeerId),
    /// A gateway's link is gone.
    LinkDown(PeerId),
    /// The flag, with this list of exclusions, is visible in the registry (step 4).
    FlagVisible {
        /// The exclusions that were written with it.
        excluded: BTreeSet<ServiceId>,
    },
    /// The gateways, read once more after the flag became visible; `None` where that failed.
    Reread(Option<Vec<GatewayRecord>>),
    /// Whether the server can do its work.
    Fitness(Fitness),
    /// An operator names a gateway that nobody should wait for (step 5).
    Exclude(ServiceId),
    /// Time has passed.
    Tick,
    /// This process stood still for so long, and knows nothing of what happened meanwhile: that time
    /// does not count.
    StoodStill(Duration),
    /// The server begins to drain.
    Leave,
}

/// What a logic server has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogicAction {
    /// Write `service_state=adult` and the exclusions to the registry, wait until that is visible,
    /// then tell [`LogicEvent::FlagVisible`].
    RaiseFlag {
        /// Gateways to promote without.
        excluded: BTreeSet<ServiceId>,
    },
    /// Read the gateways with a consistent read, then tell [`LogicEvent::Reread`].
    Reread,
    /// Tell every linked gateway that this server is Adult, and how fit, without these gateways.
    AnnounceAdult {
        /// Whether it can do its work.
        fitness: Fitness,
        /// Gateways it was promoted without.
        excluded: BTreeSet<ServiceId>,
    },
    /// Tell every linked gateway that the fitness of this server, which is Adult, has changed.
    AnnounceFitness {
        /// Whether it can do its work.
        fitness: Fitness,
        /// Gateways it was promoted without.
        excluded: BTreeSet<ServiceId>,
    },
    /// Gateways were given up on after [`Timing::exclude_after`]: an operator should know.
    Excluded(Vec<ServiceId>),
}

/// How far a logic server has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogicPhase {
    /// Waits for its own registration, or for gateways.
    Young,
    /// Takes traffic.
    Adult,
    /// Drains.
    Leaving,
}

/// How far the flag is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flag {
    Down,
    /// Being written.
    Raising,
    /// Visible to every reader.
    Up,
    /// Visible, and the gateways are being read once more.
    Checking,
}

/// The promotion of one logic server.
#[derive(Clone, Debug)]
pub struct LogicCore {
    timing: Timing,
    phase: LogicPhase,
    flag: Flag,
    visible: bool,
    /// Gateways of the newest snapshot read after our registration was visible.
    gateways: Option<Vec<GatewayRecord>>,
    linked: BTreeSet<PeerId>,
    excluded: BTreeSet<ServiceId>,
    fitness: Fitness,
    /// Gateways waited for, and since when.
    waiting: BTreeMap<ServiceId, Instant>,
}

impl LogicCore {
    /// A server that has just started.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            phase: LogicPhase::Young,
            flag: Flag::Down,
            visible: false,
            gateways: None,
            linked: BTreeSet::new(),
            excluded: BTreeSet::new(),
            fitness: Fitness::default(),
            waiting: BTreeMap::new(),
        }
    }

    /// How far it has grown.
    pub fn phase(&self) -> LogicPhase {
        self.phase
    }

    /// Whether it can do its work.
    pub fn fitness(&self) -> Fitness {
        self.fitness
    }

    /// Gateways that it promotes or promoted without.
    pub fn excluded(&self) -> &BTreeSet<ServiceId> {
        &self.excluded
    }

    /// Gateways that it waits for, and since when.
    pub fn waiting_for(&self) -> &BTreeMap<ServiceId, Instant> {
        &self.waiting
    }

    /// Whether the gateways are known at all: before that it waits for the registry.
    pub fn knows_gateways(&self) -> bool {
        self.gateways.is_some()
    }

    /// Takes an event, and says what to do.
    pub fn on(&mut self, event: LogicEvent, now: Instant) -> Vec<LogicAction> {
        let mut actions = Vec::new();
        match event {
            LogicEvent::Visible => self.visible = true,
            LogicEvent::Snapshot(gateways) if self.visible => self.gateways = Some(gateways),
            LogicEvent::Snapshot(_) | LogicEvent::Tick => {}
            LogicEvent::LinkSynced(gateway) => self.link_synced(gateway, &mut actions),
            LogicEvent::LinkDown(gateway) => {
                self.linked.remove(&gateway);
            }
            LogicEvent::StoodStill(still) => {
                let records = self.gateways.iter_mut().flatten();
                let critical = records.filter_map(|record| record.critical_since.as_mut());
                critical.chain(self.waiting.values_mut()).for_each(|since| *since += still);
            }
            LogicEvent::FlagVisible { excluded } => {
                if self.flag == Flag::Raising && excluded == self.excluded {
                    self.flag = Flag::Up;
                }
            }
            LogicEvent::Reread(gateways) => self.reread(gateways, now, &mut actions),
            LogicEvent::Fitness(fitness) => self.set_fitness(fitness, &mut actions),
            LogicEvent::Exclude(gateway) => self.exclude([gateway], &mut actions),
            LogicEvent::Leave => self.phase = LogicPhase::Leaving,
        }
        self.advance(now, &mut actions);
        actions
    }

    fn set_fitness(&mut self, fitness: Fitness, actions: &mut Vec<LogicAction>) {
        let has_changed = std::mem::replace(&mut self.fitness, fitness) != fitness;
        if has_changed && self.phase == LogicPhase::Adult {
            actions.push(LogicAction::AnnounceFitness { fitness, excluded: self.excluded.clone() });
        }
    }

    /// A gateway that was given up on and comes back is waited for again.
    fn link_synced(&mut self, gateway: PeerId, actions: &mut Vec<LogicAction>) {
        let was_excluded = self.excluded.remove(&gateway.service_id);
        self.linked.insert(gateway);
        if was_excluded {
            self.rewrite_flag(actions);
        }
    }

    fn exclude(
        &mut self,
        gateways: impl IntoIterator<Item = ServiceId>,
        actions: &mut Vec<LogicAction>,
    ) {
        let linked = &self.linked;
        let news: Vec<_> = gateways
            .into_iter()
            .filter(|id| !linked.iter().any(|peer| peer.service_id == *id))
            .filter(|id| !self.excluded.contains(id))
            .collect();
        if news.is_empty() || self.phase != LogicPhase::Young {
            return;
        }
        self.excluded.extend(news.iter().cloned());
        actions.push(LogicAction::Excluded(news));
        self.rewrite_flag(actions);
    }

    /// The exclusions stand in the registry before anybody acts on them.
    fn rewrite_flag(&mut self, actions: &mut Vec<LogicAction>) {
        match self.phase {
            LogicPhase::Leaving => {}
            LogicPhase::Young if self.flag == Flag::Down => {}
            LogicPhase::Young => self.raise_flag(actions),
            LogicPhase::Adult => {
                let excluded = self.excluded.clone();
                actions.push(LogicAction::RaiseFlag { excluded: excluded.clone() });
                actions.push(LogicAction::AnnounceAdult { fitness: self.fitness, excluded });
            }
        }
    }

    fn raise_flag(&mut self, actions: &mut Vec<LogicAction>) {
        self.flag = Flag::Raising;
        actions.push(LogicAction::RaiseFlag { excluded: self.excluded.clone() });
    }

    /// The look after the flag: promotes if still nobody is missing.
    fn reread(
        &mut self,
        gateways: Option<Vec<GatewayRecord>>,
        now: Instant,
        actions: &mut Vec<LogicAction>,
    ) {
        if self.flag != Flag::Checking {
            return;
        }
        self.flag = Flag::Up;
        let Some(gateways) = gateways else { return };
        self.gateways = Some(gateways);
        if self.phase == LogicPhase::Young && self.missing(now).is_empty() {
            self.phase = LogicPhase::Adult;
            let excluded = self.excluded.clone();
            actions.push(LogicAction::AnnounceAdult { fitness: self.fitness, excluded });
        }
    }

    /// What can be done without a further event.
    fn advance(&mut self, now: Instant, actions: &mut Vec<LogicAction>) {
        if self.phase != LogicPhase::Young {
            self.waiting.clear();
            return;
        }
        self.update_waiting(now);
        self.give_up_on_the_unreachable(now, actions);
        if self.gateways.is_none() || !self.waiting.is_empty() {
            return;
        }
        match self.flag {
            Flag::Down => self.raise_flag(actions),
            Flag::Up => {
                self.flag = Flag::Checking;
                actions.push(LogicAction::Reread);
            }
            Flag::Raising | Flag::Checking => {}
        }
    }

    fn update_waiting(&mut self, now: Instant) {
        let missing = self.missing(now);
        self.waiting.retain(|id, _| missing.contains(id));
        for id in missing {
            self.waiting.entry(id).or_insert(now);
        }
    }

    /// One broken gateway must not hold back a fleet for ever (step 5).
    fn give_up_on_the_unreachable(&mut self, now: Instant, actions: &mut Vec<LogicAction>) {
        let waited_long =
            |since: &Instant| now.saturating_duration_since(*since) >= self.timing.exclude_after;
        let overdue: Vec<ServiceId> = self
            .waiting
            .iter()
            .filter(|(_, since)| waited_long(since))
            .map(|(id, _)| id.clone())
            .collect();
        if overdue.is_empty() || !self.has_majority(now) {
            return;
        }
        self.exclude(overdue, actions);
        self.update_waiting(now);
    }

    fn has_majority(&self, now: Instant) -> bool {
        let awaited: Vec<_> = self.awaited(now).collect();
        let linked = awaited.iter().filter(|gateway| self.linked.contains(&gateway.peer)).count();
        linked * 2 > awaited.len()
    }

    /// `G`: gateways that are neither leaving nor gone.
    fn awaited(&self, now: Instant) -> impl Iterator<Item = &GatewayRecord> {
        let grace = self.timing.critical_grace;
        self.gateways
            .iter()
            .flatten()
            .filter(move |gateway| !gateway.leaving && !is_gone(gateway.critical_since, grace, now))
    }

    /// `G \ C`, without the excluded.
    fn missing(&self, now: Instant) -> BTreeSet<ServiceId> {
        self.awaited(now)
            .filter(|gateway| !self.linked.contains(&gateway.peer))
            .map(|gateway| gateway.peer.service_id.clone())
            .filter(|id| !self.excluded.contains(id))
            .collect()
    }
}
