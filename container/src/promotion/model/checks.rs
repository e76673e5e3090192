//! The invariants I1 to I4 (docs/promotion.md, "Invariants"), and those of fitness and isolation.

use super::*;
use crate::promotion::{GatewayPhase, LogicPhase};

impl Gateway {
    /// Whether the registry shows it this life, and it read the flag or was told over a link.
    fn knows_adult(&self, logic: &PeerId) -> bool {
        self.shown.get(&logic.service_id).is_some_and(|shown| {
            shown.peer == *logic && (shown.flag_up || self.told.contains(logic))
        })
    }
}

impl World {
    /// I1: a promotion leaves out no gateway with open doors, but for those it names. Returns the
    /// gateways that it is linked with or names.
    pub(super) fn check_promoted(&self, promoted: &PeerId) -> BTreeSet<PeerId> {
        let mut accounted = BTreeSet::new();
        let logic = self.logics.iter().flatten().find(|logic| logic.peer == *promoted).unwrap();
        for gateway in self.gateways.iter().flatten() {
            let linked = self
                .links
                .iter()
                .any(|link| link.gateway == gateway.peer && link.logic == *promoted && link.synced);
            let excluded = logic.core.excluded().contains(&gateway.peer.service_id);
            assert!(
                gateway.core.phase() != GatewayPhase::Adult || linked || excluded,
                "I1: {promoted} promoted without {}",
                gateway.peer
            );
            if linked || excluded {
                accounted.insert(gateway.peer.clone());
            }
        }
        accounted
    }

    /// I2: nobody is let in before the gateway has every Adult logic server. Of the two, one saw
    /// the other: a gateway that knows of the server has its link, and a server that the gateway
    /// cannot know of had the link at its promotion (and a lost link closes no doors), or named
    /// the gateway, which has yet to find that and to fence itself. A gateway that was isolated opens
    /// once it has one again, as it would have stayed open with that one.
    pub(super) fn check_opened(&self, opened: &PeerId, was: GatewayPhase) {
        let gateway =
            self.gateways.iter().flatten().find(|gateway| gateway.peer == *opened).unwrap();
        for logic in self.logics.iter().flatten() {
            if logic.core.phase() != LogicPhase::Adult {
                continue;
            }
            let linked = self
                .links
                .iter()
                .any(|link| link.gateway == *opened && link.logic == logic.peer && link.synced);
            let knew = self.grown.get(&logic.peer).is_some_and(|known| known.contains(opened));
            let accounted = match was {
                GatewayPhase::Isolated => {
                    knew || self.met.contains(&(opened.clone(), logic.peer.clone()))
                }
                _ => knew && !gateway.knows_adult(&logic.peer),
            };
            assert!(linked || accounted, "I2: {opened} opened without {}", logic.peer);
        }
    }

    /// A gateway that finds itself left out by a server that it cannot reach has closed its doors.
    fn check_fenced(&self, gateway: &Gateway) {
        for record in gateway.shown.values() {
            let excluded = record.flag_up
                && record.critical_since.is_none()
                && record.excluded.contains(&gateway.peer.service_id);
            let linked = self.links.iter().any(|link| {
                link.gateway == gateway.peer && link.logic == record.peer && link.synced
            });
            assert!(
                !excluded || linked || gateway.core.phase() != GatewayPhase::Adult,
                "step 5: {} is open, left out by {}",
                gateway.peer,
                record.peer
            );
        }
    }

    /// A gateway without a server closes its doors where others may have one, and only then.
    fn check_isolated(&self, gateway: &Gateway) {
        let (core, isolated) = (&gateway.core, Timing::default().isolated);
        let is_long = |since: &Instant| self.now - *since >= isolated;
        let has_server = self.links.iter().any(|link| core.is_usable(&link.logic));
        let alone_for_long = core.alone_since().as_ref().is_some_and(is_long);
        let others_serve = core.waiting_for().values().any(is_long);
        match core.phase() {
            GatewayPhase::Adult => {
                assert_eq!(core.alone_since().is_none(), has_server, "{}", gateway.peer);
                assert!(
                    !(alone_for_long && others_serve),
                    "{} keeps clients that others could serve",
                    gateway.peer
                );
            }
            GatewayPhase::Isolated => {
                let excluded =
                    gateway.shown.values().any(|r| r.excluded.contains(&gateway.peer.service_id));
                assert!(!has_server || excluded, "{} stays closed with a server", gateway.peer);
            }
            _ => {}
        }
    }

    /// An unfit server is not chosen while a fit one is linked.
    fn check_fitness(&self, gateway: &Gateway) {
        let is_chosen = |said: ServerState| {
            self.links
                .iter()
                .filter(|link| link.gateway == gateway.peer && link.heard == said)
                .any(|link| gateway.core.is_usable(&link.logic))
        };
        assert!(
            !(is_chosen(ServerState::Unfit) && is_chosen(ServerState::Adult)),
            "{} chooses an unfit server beside a fit one",
            gateway.peer
        );
    }

    /// I1 (the chosen are Adult) and I4 (no stale life is chosen), at every moment.
    pub(super) fn check(&self) {
        for gateway in self.gateways.iter().flatten() {
            self.check_fenced(gateway);
            self.check_isolated(gateway);
            self.check_fitness(gateway);
            for link in self.links.iter().filter(|link| link.gateway == gateway.peer) {
                if !gateway.core.is_usable(&link.logic) {
                    continue;
                }
                let grown = self.grown.contains_key(&link.logic);
                assert!(
                    grown,
                    "I1: {} chooses {}, which was never adult",
                    gateway.peer, link.logic
                );
            }
            for number in 0..SERVERS {
                for life in 1..=self.lives {
                    let peer = PeerId {
                        service_id: name("logic", number),
                        incarnation: Incarnation(life),
                    };
                    let newer = gateway.shown.get(&peer.service_id);
                    let is_stale =
                        newer.is_some_and(|shown| shown.peer.incarnation > peer.incarnation);
                    assert!(
                        !(is_stale && gateway.core.is_usable(&peer)),
                        "I4: {} may choose {peer} after {newer:?}",
                        gateway.peer
                    );
                }
            }
        }
    }

    /// I3: once everybody can reach everybody and all that was begun ends, all are Adult.
    pub(in crate::promotion) fn settle(&mut self) {
        self.blocked.clear();
        self.time_out_half_open();
        for number in 0..SERVERS {
            self.notice(number);
        }
        // Past the grace of those that are critical, then rounds enough for every pending step.
        self.pass(Duration::from_secs(20));
        for _ in 0..400 {
            for a in 0..SERVERS {
                self.advance_gateway(a);
                self.advance_logic(a);
                for b in 0..SERVERS {
                    self.link(a, b);
                    self.deliver(a, b);
                }
            }
            self.pass(Duration::from_millis(10));
            self.check();
        }
        for logic in self.logics.iter().flatten() {
            let waiting = logic.core.waiting_for();
            assert_eq!(
                logic.core.phase(),
                LogicPhase::Adult,
                "I3: {} waits for {waiting:?}",
                logic.peer
            );
        }
        if self.logics.iter().flatten().next().is_some() {
            for gateway in self.gateways.iter().flatten() {
                let waiting = gateway.core.waiting_for();
                assert_eq!(
                    gateway.core.phase(),
                    GatewayPhase::Adult,
                    "I3: {} waits for {waiting:?}",
                    gateway.peer
                );
            }
        }
    }
}
