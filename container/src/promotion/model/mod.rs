//! A small world for the promotion cores: a consistent registry, links that come and go, and
//! everything that takes time happening in any order.

mod checks;
mod deliver;
mod stories;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use imago_proto::{Incarnation, ServiceId, link::ServerState};

use super::{
    Fitness, GatewayCore, GatewayEvent, GatewayRecord, LogicCore, LogicEvent, LogicRecord, Timing,
};
use crate::PeerId;

/// Servers of each kind.
pub(in crate::promotion) const SERVERS: usize = 3;

/// Something a server has begun and that takes time.
#[derive(Clone, Debug)]
enum Pending<R, W> {
    /// The write takes effect.
    Write(W),
    /// The write is seen by its writer's own read.
    Visible(W),
    /// The registry is read.
    Read { again: bool },
    /// What was read arrives.
    Arrive { again: bool, records: Vec<R> },
}

/// What a logic server writes: its flag and exclusions.
type LogicWrite = (bool, BTreeSet<ServiceId>);

struct Logic {
    peer: PeerId,
    core: LogicCore,
    pending: VecDeque<Pending<GatewayRecord, LogicWrite>>,
    told: (ServerState, BTreeSet<ServiceId>),
}

struct Gateway {
    peer: PeerId,
    core: GatewayCore,
    pending: VecDeque<Pending<LogicRecord, ()>>,
    dialling: BTreeSet<ServiceId>,
    /// What the registry last showed of each server.
    shown: BTreeMap<ServiceId, LogicRecord>,
    /// Every life of a logic server that said over a link that it is Adult.
    told: BTreeSet<PeerId>,
}

/// A link, with what travels on it from the logic server.
struct Link {
    gateway: PeerId,
    logic: PeerId,
    synced: bool,
    /// What the gateway has heard last.
    heard: ServerState,
    states: VecDeque<ServerState>,
}

/// A step that may be taken, and with whom.
type Step = (fn(&mut World, usize, usize), usize, usize);

/// The whole cluster.
pub(in crate::promotion) struct World {
    now: Instant,
    lives: u64,
    gateways: [Option<Gateway>; SERVERS],
    logics: [Option<Logic>; SERVERS],
    gateway_records: BTreeMap<ServiceId, GatewayRecord>,
    logic_records: BTreeMap<ServiceId, LogicRecord>,
    links: Vec<Link>,
    blocked: BTreeSet<(usize, usize)>,
    /// Gateways and the logic servers that have ever had their sessions.
    met: BTreeSet<(PeerId, PeerId)>,
    /// Every life of a logic server that was ever Adult, with the gateways that it was linked with
    /// at its promotion, or named as left out.
    grown: BTreeMap<PeerId, BTreeSet<PeerId>>,
}

fn name(kind: &str, number: usize) -> ServiceId {
    ServiceId::from(format!("{kind}-{number}"))
}

impl World {
    pub(in crate::promotion) fn new() -> Self {
        Self {
            now: Instant::now(),
            lives: 0,
            gateways: [const { None }; SERVERS],
            logics: [const { None }; SERVERS],
            gateway_records: BTreeMap::new(),
            logic_records: BTreeMap::new(),
            links: Vec::new(),
            blocked: BTreeSet::new(),
            met: BTreeSet::new(),
            grown: BTreeMap::new(),
        }
    }

    fn peer(&mut self, kind: &str, number: usize) -> PeerId {
        self.lives += 1;
        PeerId { service_id: name(kind, number), incarnation: Incarnation(self.lives) }
    }

    /// One step, chosen by three numbers: mostly something that was begun goes on, now and then
    /// something else happens.
    pub(in crate::promotion) fn step(&mut self, what: u8, choice: u16, a: usize, b: usize) {
        let going_on = self.going_on();
        if !what.is_multiple_of(8) && !going_on.is_empty() {
            let (step, a, b) = going_on[usize::from(choice) % going_on.len()];
            step(self, a, b);
        } else {
            self.disturb(choice, a % SERVERS, b % SERVERS);
        }
        self.check();
    }

    /// Steps that would change something.
    fn going_on(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for a in 0..SERVERS {
            if self.gateways[a].as_ref().is_some_and(|gateway| !gateway.pending.is_empty()) {
                steps.push((|world, a, _| world.advance_gateway(a), a, 0));
            }
            if self.logics[a].as_ref().is_some_and(|logic| !logic.pending.is_empty()) {
                steps.push((|world, a, _| world.advance_logic(a), a, 0));
            }
            for b in 0..SERVERS {
                match self.link_between(a, b) {
                    Some(link) if !link.synced || !link.states.is_empty() => {
                        steps.push((Self::deliver, a, b));
                    }
                    None if self.may_link(a, b) => steps.push((Self::link, a, b)),
                    _ => {}
                }
            }
        }
        steps
    }

    fn disturb(&mut self, what: u16, a: usize, b: usize) {
        match what % 17 {
            0 | 1 => self.start_gateway(a),
            2 | 3 => self.start_logic(a),
            4 => self.kill_gateway(a),
            5 => self.kill_logic(a),
            6 => drop(self.blocked.insert((a, b))),
            7 => drop(self.blocked.remove(&(a, b))),
            8 => self.cut(a, b),
            9 => self.pass(Duration::from_secs(5 * (b as u64 + 1))),
            10 => self.exclude(a),
            11 => drop(self.logics[a].take()),
            12 => self.time_out_half_open(),
            13 => self.change_fitness(a, Fitness::Unfit),
            14 => self.change_fitness(a, Fitness::Fit),
            15 => self.fail_registry(a),
            _ => self.notice(a),
        }
    }

    fn link_between(&self, gateway: usize, logic: usize) -> Option<&Link> {
        let (gateway, logic) = (self.gateways[gateway].as_ref()?, self.logics[logic].as_ref()?);
        self.links.iter().find(|link| link.gateway == gateway.peer && link.logic == logic.peer)
    }

    fn may_link(&self, from: usize, to: usize) -> bool {
        let dials = self.gateways[from]
            .as_ref()
            .is_some_and(|gateway| gateway.dialling.contains(&name("logic", to)));
        dials && self.logics[to].is_some() && !self.blocked.contains(&(from, to))
    }

    pub(in crate::promotion) fn start_gateway(&mut self, number: usize) {
        if self.gateways[number].is_some() {
            return;
        }
        let peer = self.peer("gateway", number);
        self.gateways[number] = Some(Gateway {
            core: GatewayCore::new(peer.service_id.clone(), Timing::default()),
            peer,
            pending: VecDeque::from([Pending::Write(())]),
            dialling: BTreeSet::new(),
            shown: BTreeMap::new(),
            told: BTreeSet::new(),
        });
    }

    pub(in crate::promotion) fn start_logic(&mut self, number: usize) {
        if self.logics[number].is_some() {
            return;
        }
        let peer = self.peer("logic", number);
        self.logics[number] = Some(Logic {
            peer,
            core: LogicCore::new(Timing::default()),
            pending: VecDeque::from([Pending::Write((false, BTreeSet::new()))]),
            told: (ServerState::Young, BTreeSet::new()),
        });
    }

    fn kill_gateway(&mut self, number: usize) {
        let Some(gateway) = self.gateways[number].take() else { return };
        let lost: Vec<Link> =
            self.links.extract_if(.., |link| link.gateway == gateway.peer).collect();
        for link in lost {
            self.tell_logic(&link.logic, LogicEvent::LinkDown(gateway.peer.clone()));
        }
    }

    fn kill_logic(&mut self, number: usize) {
        let Some(logic) = self.logics[number].take() else { return };
        let lost: Vec<Link> = self.links.extract_if(.., |link| link.logic == logic.peer).collect();
        for link in lost {
            self.tell_gateway(&link.gateway, GatewayEvent::LinkDown(logic.peer.clone()));
        }
    }

    /// Gateways find out about links whose other end died without a word.
    fn time_out_half_open(&mut self) {
        let alive: Vec<PeerId> =
            self.logics.iter().flatten().map(|logic| logic.peer.clone()).collect();
        let lost: Vec<Link> =
            self.links.extract_if(.., |link| !alive.contains(&link.logic)).collect();
        for link in lost {
            self.tell_gateway(&link.gateway, GatewayEvent::LinkDown(link.logic));
        }
    }

    /// The registry's check finds out who is dead, and in the end removes them.
    fn notice(&mut self, number: usize) {
        let now = self.now;
        let alive = self.gateways[number].as_ref().map(|gateway| gateway.peer.clone());
        if let Some(record) = self.gateway_records.get_mut(&name("gateway", number))
            && alive.as_ref() != Some(&record.peer)
        {
            record.critical_since.get_or_insert(now);
        }
        let alive = self.logics[number].as_ref().map(|logic| logic.peer.clone());
        if let Some(record) = self.logic_records.get_mut(&name("logic", number))
            && alive.as_ref() != Some(&record.peer)
        {
            record.critical_since.get_or_insert(now);
        }
        self.publish();
    }

    /// Every subscriber has a further snapshot on the way.
    fn publish(&mut self) {
        for gateway in self.gateways.iter_mut().flatten() {
            gateway.pending.push_back(Pending::Read { again: false });
        }
        for logic in self.logics.iter_mut().flatten() {
            logic.pending.push_back(Pending::Read { again: false });
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for number in 0..SERVERS {
            if let Some(peer) = self.logics[number].as_ref().map(|logic| logic.peer.clone()) {
                self.tell_logic(&peer, LogicEvent::Tick);
            }
            if let Some(peer) = self.gateways[number].as_ref().map(|gateway| gateway.peer.clone()) {
                self.tell_gateway(&peer, GatewayEvent::Tick);
            }
        }
    }

    fn change_fitness(&mut self, number: usize, fitness: Fitness) {
        if let Some(peer) = self.logics[number].as_ref().map(|logic| logic.peer.clone()) {
            self.tell_logic(&peer, LogicEvent::Fitness(fitness));
        }
    }

    /// A gateway cannot read the registry, until its next read arrives.
    fn fail_registry(&mut self, number: usize) {
        let Some(gateway) = &self.gateways[number] else { return };
        if gateway.core.knows_servers() {
            let (peer, shown) = (gateway.peer.clone(), gateway.shown.values().cloned().collect());
            self.tell_gateway(&peer, GatewayEvent::StaleSnapshot(shown));
        }
    }

    fn exclude(&mut self, number: usize) {
        let waiting = self.logics.iter().flatten().find_map(|logic| {
            let id = name("gateway", number);
            logic.core.waiting_for().contains_key(&id).then(|| (logic.peer.clone(), id))
        });
        if let Some((logic, gateway)) = waiting {
            self.tell_logic(&logic, LogicEvent::Exclude(gateway));
        }
    }

    fn cut(&mut self, gateway: usize, logic: usize) {
        let (gateway, logic) = (name("gateway", gateway), name("logic", logic));
        let lost: Vec<Link> = self
            .links
            .extract_if(.., |link| {
                link.gateway.service_id == gateway && link.logic.service_id == logic
            })
            .collect();
        for link in lost {
            self.tell_logic(&link.logic, LogicEvent::LinkDown(link.gateway.clone()));
            self.tell_gateway(&link.gateway, GatewayEvent::LinkDown(link.logic.clone()));
        }
    }

    /// A dial succeeds.
    fn link(&mut self, from: usize, to: usize) {
        if !self.may_link(from, to) || self.link_between(from, to).is_some() {
            return;
        }
        let (Some(gateway), Some(logic)) = (&self.gateways[from], &self.logics[to]) else { return };
        let (gateway_peer, logic_peer) = (gateway.peer.clone(), logic.peer.clone());
        let state = logic.told.0;
        self.links.push(Link {
            gateway: gateway_peer.clone(),
            logic: logic_peer.clone(),
            synced: false,
            heard: state,
            states: VecDeque::from([state]),
        });
        self.tell_gateway(&gateway_peer, GatewayEvent::LinkUp(logic_peer, state));
    }
}
