//! What a logic server's handlers ask of the container.

use std::sync::Arc;

use bytes::Bytes;
use imago_proto::{
    Incarnation, LinkFrame, ServiceId, SessionId,
    link::{Kick, Push, Reply, frame::Kind},
};
use tokio::sync::mpsc;

use super::{
    gateways::Gateways,
    redelivery::Redelivery,
    trouble::{Trouble, TroubleCell},
};
use crate::{
    PeerId,
    promotion::{Fitness, LogicEvent},
};

/// The logic server's links, for its handlers. Cheap to clone.
#[derive(Clone)]
pub struct LogicHandle {
    pub(crate) own: PeerId,
    pub(super) gateways: Arc<Gateways>,
    pub(super) trouble: TroubleCell,
    pub(super) events: mpsc::Sender<LogicEvent>,
}

impl LogicHandle {
    /// Id of this server.
    pub fn service_id(&self) -> &ServiceId {
        &self.own.service_id
    }

    /// Which life of this server.
    pub fn incarnation(&self) -> Incarnation {
        self.own.incarnation
    }

    /// Tells gateways and people whether this server can do its work: while it cannot, requests go to
    /// servers that can, where there are any.
    pub async fn set_trouble(&self, trouble: Option<Trouble>) {
        let fitness = if trouble.is_some() { Fitness::Unfit } else { Fitness::Fit };
        self.trouble.set(trouble);
        // The runtime is gone only when the server ends.
        let _ = self.events.send(LogicEvent::Fitness(fitness)).await;
    }

    /// Answers a request. Waits for room in the link's queue; where the link is lost, the answer
    /// is dropped, because the gateway asks another server.
    pub async fn reply(&self, gateway: &PeerId, reply: Reply, packet: Bytes) {
        self.gateways.reply(gateway, LinkFrame::with_payload(Kind::Reply(reply), packet)).await;
    }

    /// Queues a packet for clients of one gateway; never waits. While the gateway's link is down
    /// it is parked. Overflow policy: dropped and counted, and the gateway is told that pushes are
    /// [owed](Self::owed) once there is room again.
    pub fn push(&self, gateway: &PeerId, push: Push, packet: Bytes) {
        self.gateways.push(gateway, LinkFrame::with_payload(Kind::Push(push), packet));
    }

    /// Tells a gateway that pushes to these of its sessions, or to all where none is named, may be
    /// missing: it asks for a redelivery.
    pub fn owed(&self, gateway: &PeerId, sessions: Vec<u64>) {
        self.gateways.owed(gateway, sessions);
    }

    /// Tells all gateways that pushes to any of their sessions may be missing.
    pub fn owed_everywhere(&self) {
        self.gateways.owed_everywhere();
    }

    /// The way of a redelivery to a gateway: its present link, if it has one.
    pub fn redelivery(&self, gateway: &PeerId) -> Option<Redelivery> {
        self.gateways.redelivery(gateway)
    }

    /// Asks a gateway to end a session whose place a newer login took; never waits.
    pub fn kick(&self, gateway: &PeerId, session: SessionId, notice: Bytes) {
        let kick = Kind::Kick(Kick { session: session.0 });
        self.gateways.kick(gateway, LinkFrame::with_payload(kick, notice));
    }
}
