//! The outlet to gateways, which tests replace, and the packets that go out.

use std::{collections::HashMap, iter, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use foldhash::fast::RandomState;
use imago_container::{LogicHandle, PeerId, Redelivery};
use imago_proto::{
    Limits, LogicPacket, SessionId, Status,
    link::{Forward, Place, Push, Redelivered, Reply},
    msg::Header,
};

use crate::{Reject, Session, metrics, notes::Notes};

/// The part of the container that the service uses: see [`LogicHandle`].
#[async_trait]
pub(crate) trait Outlet: Send + Sync + 'static {
    async fn reply(&self, gateway: &PeerId, reply: Reply, packet: Bytes);
    fn push(&self, gateway: &PeerId, push: Push, packet: Bytes);
    fn owed(&self, gateway: &PeerId, sessions: Vec<u64>);
    fn owed_everywhere(&self);
    fn redelivery(&self, gateway: &PeerId) -> Option<Arc<dyn RedeliveryWay>>;
    fn kick(&self, gateway: &PeerId, session: SessionId, notice: Bytes);
}

#[async_trait]
impl Outlet for LogicHandle {
    async fn reply(&self, gateway: &PeerId, reply: Reply, packet: Bytes) {
        Self::reply(self, gateway, reply, packet).await;
    }

    fn push(&self, gateway: &PeerId, push: Push, packet: Bytes) {
        Self::push(self, gateway, push, packet);
    }

    fn owed(&self, gateway: &PeerId, sessions: Vec<u64>) {
        Self::owed(self, gateway, sessions);
    }

    fn owed_everywhere(&self) {
        Self::owed_everywhere(self);
    }

    fn redelivery(&self, gateway: &PeerId) -> Option<Arc<dyn RedeliveryWay>> {
        Self::redelivery(self, gateway).map(|way| Arc::new(way) as _)
    }

    fn kick(&self, gateway: &PeerId, session: SessionId, notice: Bytes) {
        Self::kick(self, gateway, session, notice);
    }
}

/// The link of a redelivery: see [`Redelivery`].
#[async_trait]
pub(crate) trait RedeliveryWay: Send + Sync + 'static {
    async fn push(&self, push: Push, packet: Bytes) -> bool;
    async fn done(&self, done: Redelivered);
}

#[async_trait]
impl RedeliveryWay for Redelivery {
    async fn push(&self, push: Push, packet: Bytes) -> bool {
        Self::push(self, push, packet).await
    }

    async fn done(&self, done: Redelivered) {
        Self::done(self, done).await;
    }
}

/// Returns the answer to a request, for the gateway and for the client.
pub(super) fn answer(
    channel: &str,
    request: &Forward,
    answer: Result<Bytes, Reject>,
    notes: Notes,
) -> (Reply, Bytes) {
    let header = || Header {
        command: request.command.clone(),
        sequence: request.sequence,
        dest: request.dest.clone(),
        ..Header::default()
    };
    let packet = |answer: Result<Bytes, Reject>| match answer {
        Ok(body) => {
            (Status::Success, LogicPacket::response(header(), channel, Status::Success, body))
        }
        Err(Reject { status, body: Some(body), .. }) => {
            (status, LogicPacket::response(header(), channel, status, body))
        }
        Err(Reject { status, message, body: None }) => {
            (status, LogicPacket::refusal(header(), channel, status, &message))
        }
    };
    let (mut status, mut response) = packet(answer);
    // A larger frame would end the link.
    if response.encoded_len() > Limits::OUTBOUND_PAYLOAD {
        tracing::warn!(command = request.command, "answer is too large to be sent");
        (status, response) = packet(Err(Reject::failed("the answer is too large")));
    }
    let Notes { place, given, mark, acked } = notes;
    let place = place.map(Arc::unwrap_or_clone);
    let reply = Reply {
        request: request.request,
        session: request.session,
        status: status.code(),
        place,
        given,
        mark,
        acked,
    };
    (reply, response.encode())
}

/// Pushes a packet to sessions, in one frame for each gateway. `place` is the position of a stored message.
pub(super) fn push<'a>(
    outlet: &dyn Outlet,
    sessions: impl IntoIterator<Item = &'a Session>,
    place: Option<&Place>,
    packet: &Bytes,
) {
    if packet.len() > Limits::OUTBOUND_PAYLOAD {
        metrics::push_too_large();
        return tracing::warn!(bytes = packet.len(), "push is too large to be sent");
    }
    let mut sessions = sessions.into_iter().peekable();
    let Some(first) = sessions.next() else { return };
    if sessions.peek().is_none() {
        let push = Push { sessions: vec![first.id.0], place: place.cloned(), again: false };
        return outlet.push(&first.gateway, push, packet.clone());
    }
    for (gateway, sessions) in by_gateway(iter::once(first).chain(sessions)) {
        let push = Push { sessions, place: place.cloned(), again: false };
        outlet.push(gateway, push, packet.clone());
    }
}

/// Groups the numbers of sessions by gateway.
pub(super) fn by_gateway<'a>(
    sessions: impl IntoIterator<Item = &'a Session>,
) -> HashMap<&'a PeerId, Vec<u64>, RandomState> {
    let mut by_gateway: HashMap<&PeerId, Vec<u64>, RandomState> = HashMap::default();
    for session in sessions {
        by_gateway.entry(&session.gateway).or_default().push(session.id.0);
    }
    by_gateway
}
