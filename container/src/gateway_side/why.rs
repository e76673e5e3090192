//! Why a gateway has no link with logic servers, in words for people.

use super::GatewayReport;
use crate::{monitor::PeerReport, runtime::report::add_failures};

impl GatewayReport {
    /// All logic servers, with why there is no link with those that have none.
    pub(super) fn linked_and_not(&self) -> Vec<PeerReport> {
        let mut peers = self.common.peers(&self.links.all());
        add_failures(&mut peers, &self.links.failures);
        peers
    }

    /// Where requests can go to no logic server, says of each that is not waited for by itself why;
    /// or that none is registered.
    pub(super) fn why_none_is_adult(&self) -> Vec<String> {
        let peers = self.linked_and_not();
        if peers.is_empty() {
            let service = &self.logic_service;
            return vec![format!("no logic server is registered as {service}: start one")];
        }
        if peers.iter().any(is_usable) {
            return Vec::new();
        }
        let waiting = self.common.view().waiting.clone();
        let is_other = |peer: &&PeerReport| !waiting.contains_key(&*peer.id);
        peers.iter().filter(is_other).map(why_unused).collect()
    }
}

fn is_usable(peer: &PeerReport) -> bool {
    peer.linked && peer.synced && ["adult", "unfit"].contains(&&*peer.state)
}

/// Says why requests cannot go to a logic server.
fn why_unused(peer: &PeerReport) -> String {
    let PeerReport { id, state, address, .. } = peer;
    match peer.no_link() {
        Some(why) => why,
        None if peer.linked => format!("{id} is linked and {state}: see its /ready"),
        None => format!("{id} at {address} is being dialled"),
    }
}
