//! What was begun goes on: registry writes and reads, syncs and states on links.

use super::*;
use crate::promotion::{Fitness, GatewayAction, LogicAction, LogicPhase};

impl World {
    /// The sync of a link ends, or a state arrives over it.
    pub(super) fn deliver(&mut self, from: usize, to: usize) {
        let gateway = name("gateway", from);
        let Some(living) = self.logics[to].as_ref().map(|logic| logic.peer.clone()) else { return };
        let link = self
            .links
            .iter_mut()
            .find(|link| link.gateway.service_id == gateway && link.logic == living);
        let Some(link) = link else { return };
        let (gateway, logic) = (link.gateway.clone(), link.logic.clone());
        if !link.synced {
            link.synced = true;
            self.met.insert((gateway.clone(), logic.clone()));
            self.tell_logic(&logic, LogicEvent::LinkSynced(gateway.clone()));
            self.tell_gateway(&gateway, GatewayEvent::LinkSynced(logic));
        } else if let Some(state) = link.states.pop_front() {
            link.heard = state;
            self.tell_gateway(&gateway, GatewayEvent::LinkState { peer: logic, state });
        }
    }

    pub(super) fn advance_gateway(&mut self, number: usize) {
        let Some(gateway) = &mut self.gateways[number] else { return };
        let Some(pending) = gateway.pending.pop_front() else { return };
        let peer = gateway.peer.clone();
        match pending {
            Pending::Write(()) => {
                gateway.pending.push_front(Pending::Visible(()));
                let record =
                    GatewayRecord { peer: peer.clone(), leaving: false, critical_since: None };
                self.gateway_records.insert(peer.service_id, record);
                self.publish();
            }
            Pending::Visible(()) => {
                gateway.pending.push_back(Pending::Read { again: false });
                self.tell_gateway(&peer, GatewayEvent::Visible);
            }
            Pending::Read { again } => {
                let records = self.logic_records.values().cloned().collect();
                gateway.pending.push_front(Pending::Arrive { again, records });
            }
            Pending::Arrive { records, .. } => {
                gateway.shown = records
                    .iter()
                    .map(|record| (record.peer.service_id.clone(), record.clone()))
                    .collect();
                self.tell_gateway(&peer, GatewayEvent::Snapshot(records));
            }
        }
    }

    pub(super) fn advance_logic(&mut self, number: usize) {
        let Some(logic) = &mut self.logics[number] else { return };
        let Some(pending) = logic.pending.pop_front() else { return };
        let peer = logic.peer.clone();
        match pending {
            Pending::Write((flag_up, excluded)) => {
                logic.pending.push_front(Pending::Visible((flag_up, excluded.clone())));
                let record = LogicRecord {
                    peer: peer.clone(),
                    flag_up,
                    leaving: false,
                    critical_since: None,
                    excluded: excluded.into_iter().collect(),
                };
                self.logic_records.insert(peer.service_id, record);
                self.publish();
            }
            Pending::Visible((true, excluded)) => {
                self.tell_logic(&peer, LogicEvent::FlagVisible { excluded });
            }
            Pending::Visible((false, _)) => {
                logic.pending.push_back(Pending::Read { again: false });
                self.tell_logic(&peer, LogicEvent::Visible);
            }
            Pending::Read { again } => {
                let records = self.gateway_records.values().cloned().collect();
                logic.pending.push_front(Pending::Arrive { again, records });
            }
            Pending::Arrive { again: true, records } => {
                self.tell_logic(&peer, LogicEvent::Reread(Some(records)));
            }
            Pending::Arrive { again: false, records } => {
                self.tell_logic(&peer, LogicEvent::Snapshot(records));
            }
        }
    }

    pub(super) fn tell_gateway(&mut self, peer: &PeerId, event: GatewayEvent) {
        let now = self.now;
        let found = self.gateways.iter_mut().flatten().find(|gateway| gateway.peer == *peer);
        let Some(gateway) = found else { return };
        if let GatewayEvent::LinkUp(logic, state) | GatewayEvent::LinkState { peer: logic, state } =
            &event
            && Fitness::of(*state).is_some()
        {
            gateway.told.insert(logic.clone());
        }
        let was = gateway.core.phase();
        let actions = gateway.core.on(event, now);
        let mut stale = Vec::new();
        let mut opened = false;
        for action in actions {
            match action {
                GatewayAction::Dial(peer) => drop(gateway.dialling.insert(peer.service_id)),
                GatewayAction::StopDialling(id) => drop(gateway.dialling.remove(&id)),
                GatewayAction::CloseStale(server) => stale.push(server),
                GatewayAction::OpenDoors => opened = true,
                _ => {}
            }
        }
        if opened {
            self.check_opened(peer, was);
        }
        for server in stale {
            self.links.retain(|link| !(link.gateway == *peer && link.logic == server));
            self.tell_logic(&server, LogicEvent::LinkDown(peer.clone()));
        }
    }

    pub(super) fn tell_logic(&mut self, peer: &PeerId, event: LogicEvent) {
        let now = self.now;
        let found = self.logics.iter_mut().flatten().find(|logic| logic.peer == *peer);
        let Some(logic) = found else { return };
        let was = logic.core.phase();
        for action in logic.core.on(event, now) {
            match action {
                LogicAction::RaiseFlag { excluded } => {
                    logic.pending.push_back(Pending::Write((true, excluded)));
                }
                LogicAction::Reread => logic.pending.push_back(Pending::Read { again: true }),
                LogicAction::AnnounceAdult { fitness, excluded }
                | LogicAction::AnnounceFitness { fitness, excluded } => {
                    logic.told = (fitness.state(), excluded);
                    for link in self.links.iter_mut().filter(|link| link.logic == *peer) {
                        link.states.push_back(fitness.state());
                    }
                }
                LogicAction::Excluded(_) => {}
            }
        }
        let promoted = was == LogicPhase::Young && logic.core.phase() == LogicPhase::Adult;
        if promoted {
            let accounted = self.check_promoted(peer);
            self.grown.insert(peer.clone(), accounted);
        }
    }
}
