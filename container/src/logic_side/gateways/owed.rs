//! What a logic server tells gateways of pushes that may be missing.

use std::sync::atomic::Ordering;

use imago_proto::{
    LinkFrame,
    link::{Owed, frame::Kind},
};

use super::{super::redelivery::Redelivery, Gateways, Place};
use crate::PeerId;

impl Gateways {
    /// Tells gateways that pushes to them were dropped, where there is room now.
    pub(crate) fn tick(&self) {
        let has_room = |place: &Place| {
            let (frames, bytes) = place.queue.depth();
            frames * 2 < self.config.queue_frames && bytes * 2 < self.config.queue_bytes
        };
        // Collected first: a role that pushes at once looks places up.
        let due: Vec<PeerId> = self
            .places
            .iter()
            .filter(|place| place.link().is_some() && has_room(place))
            .filter(|place| place.overflowed.swap(false, Ordering::SeqCst))
            .map(|place| place.peer.clone())
            .collect();
        for peer in due {
            self.owed(&peer, Vec::new());
        }
    }

    /// Tells a gateway that pushes to some of its sessions, or to all, may be missing.
    pub(crate) fn owed(&self, gateway: &PeerId, sessions: Vec<u64>) {
        let Some(place) = self.place(gateway) else { return };
        if place.queue.try_push_urgent(LinkFrame::new(Kind::Owed(Owed { sessions }))).is_err() {
            place.overflowed.store(true, Ordering::SeqCst);
        }
    }

    /// Tells all gateways that pushes may be missing, those too whose links are lost just now.
    pub(crate) fn owed_everywhere(&self) {
        let peers: Vec<PeerId> = self.places.iter().map(|place| place.peer.clone()).collect();
        for peer in peers {
            self.owed(&peer, Vec::new());
        }
    }

    /// The present link of a gateway, for a redelivery.
    pub(crate) fn redelivery(&self, gateway: &PeerId) -> Option<Redelivery> {
        self.place(gateway).and_then(|place| place.link()).map(Redelivery)
    }
}
