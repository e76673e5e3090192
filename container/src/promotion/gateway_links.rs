//! A gateway's links, as its promotion sees them.

use std::collections::BTreeMap;

use imago_proto::{Incarnation, ServiceId, link::ServerState};

use super::Fitness;
use crate::PeerId;

/// One link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) incarnation: Incarnation,
    /// What the server said of itself.
    pub(super) state: ServerState,
    /// The server has all of our sessions.
    pub(super) synced: bool,
}

impl Link {
    /// The fitness of a server that may get requests.
    pub(super) fn fitness(&self) -> Option<Fitness> {
        Fitness::of(self.state).filter(|_| self.synced)
    }
}

/// The links by their servers.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkTable(BTreeMap<ServiceId, Link>);

impl LinkTable {
    pub(super) fn up(&mut self, peer: PeerId, state: ServerState) {
        let link = Link { incarnation: peer.incarnation, state, synced: false };
        self.0.insert(peer.service_id, link);
    }

    /// Removes the link with this life.
    pub(super) fn down(&mut self, peer: &PeerId) -> Option<Link> {
        let link = *self.of_life(peer)?;
        self.0.remove(&peer.service_id);
        Some(link)
    }

    pub(super) fn get(&self, server: &ServiceId) -> Option<&Link> {
        self.0.get(server)
    }

    /// The link with this life.
    pub(super) fn of_life(&mut self, peer: &PeerId) -> Option<&mut Link> {
        self.0.get_mut(&peer.service_id).filter(|link| link.incarnation == peer.incarnation)
    }

    pub(super) fn is_synced(&self, peer: &PeerId) -> bool {
        self.get(&peer.service_id)
            .is_some_and(|link| link.incarnation == peer.incarnation && link.synced)
    }

    /// Servers that requests may go to: the fit ones, or the unfit ones where none is fit.
    pub(super) fn usable(&self) -> impl Iterator<Item = PeerId> {
        let best = self.0.values().filter_map(Link::fitness).max();
        self.0
            .iter()
            .filter(move |(_, link)| best.is_some() && link.fitness() == best)
            .map(|(id, link)| PeerId { service_id: id.clone(), incarnation: link.incarnation })
    }
}
