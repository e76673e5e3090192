//! The way of a redelivery from a logic server to a gateway.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use imago_proto::{
    LinkFrame,
    link::{Push, Redelivered, frame::Kind},
};

use crate::link::Link;

/// How long a packet may wait for room before the link counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// One link, over which sessions are pushed what they miss. Nothing is left out of what goes over it
/// but an end, which is lost together with the link.
#[derive(Clone)]
pub struct Redelivery(pub(super) Arc<Link>);

impl Redelivery {
    /// Queues a packet for clients; waits for room, at most 5 s: then the link is stuck and closed.
    /// False once it is lost.
    pub async fn push(&self, push: Push, packet: Bytes) -> bool {
        let frame = LinkFrame::with_payload(Kind::Push(push), packet);
        self.0.send(frame, PATIENCE).await.is_ok()
    }

    /// Tells the gateway that everything that a session missed has been pushed over this link, or
    /// cannot be read now. Where the link is lost, the gateway asks again.
    pub async fn done(&self, done: Redelivered) {
        let _ = self.0.send(Kind::Redelivered(done), PATIENCE).await;
    }
}
