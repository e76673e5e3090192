//! The servers as a lane sees them: the links of its gateway.

use std::{sync::atomic::Ordering, time::Duration};

use imago_proto::{
    LinkFrame, command,
    link::{Forward, ServerState, frame::Kind},
};

use super::{
    LaneShared,
    core::{Availability, Sent, Servers},
    fittest, offered, send_drained_if_idle,
};
use crate::{
    PeerId, Request,
    link::{Link, Rejected},
    metrics,
    selector::Candidate,
};

impl Servers for LaneShared {
    fn pick(&self, last: Option<&PeerId>) -> Option<PeerId> {
        let usable = self.forwarder.usable.load();
        let links = offered(fittest(&usable), last);
        let candidates: Vec<Candidate> = links
            .iter()
            .map(|link| Candidate {
                service_id: link.peer.service_id.clone(),
                zone: link.zone.clone(),
                weight: link.weight,
                pending: link.pending(),
            })
            .collect();
        let picked = self.forwarder.selector.pick(&candidates, &self.route)?;
        links.get(picked).map(|link| link.peer.clone())
    }

    fn availability(&self, server: &PeerId) -> Availability {
        let link = self.forwarder.links.get(server);
        match link.map(|link| (link.state(), link.is_doubted())) {
            Some((ServerState::Leaving, _) | (_, true)) => Availability::Draining,
            Some((ServerState::Unfit, _)) if self.forwarder.has_fit() => Availability::Draining,
            _ => Availability::Usable,
        }
    }

    fn send(&self, server: &PeerId, id: u64, own: usize, request: &Request) -> Sent {
        let link = self.forwarder.links.get(server).map(|link| link.value().clone());
        let Some(link) = link else { return Sent::Gone };
        // Count first, look after: the drain looks first and counts after.
        let owed = link.add_pending();
        if !link.is_usable() {
            take_back(&link);
            return Sent::Gone;
        }
        // A login that is turned away comes back, and has cost more by then.
        if request.command != command::LOGIN_SIGNIN && !link.admission.admits(owed, own) {
            metrics::forward_refused();
            take_back(&link);
            return Sent::Full;
        }
        let forward = Forward {
            request: id,
            session: self.session.0,
            command: request.command.clone(),
            sequence: request.sequence,
            dest: request.dest.clone(),
            acked: request.acked.clone(),
        };
        match link.try_send(LinkFrame::with_payload(Kind::Forward(forward), request.body.clone())) {
            Ok(()) => {
                metrics::forwarded();
                Sent::Queued
            }
            Err(rejected) => {
                take_back(&link);
                if rejected == Rejected::Full { Sent::Full } else { Sent::Gone }
            }
        }
    }

    fn answered(&self, server: &PeerId, took: Duration) {
        if let Some(link) = self.forwarder.links.get(server) {
            link.admission.answered(took > self.forwarder.config.delay);
            take_back(&link);
        }
    }

    fn settle(&self, server: &PeerId) {
        if let Some(link) = self.forwarder.links.get(server) {
            take_back(&link);
        }
    }

    fn hold(&self) -> bool {
        let held = self.forwarder.held.fetch_add(1, Ordering::SeqCst);
        if held >= self.forwarder.config.held {
            self.forwarder.held.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        metrics::held();
        true
    }

    fn release(&self) {
        self.forwarder.held.fetch_sub(1, Ordering::Relaxed);
    }
}

fn take_back(link: &Link) {
    if link.take_pending() {
        send_drained_if_idle(link);
    }
}
