//! What a gateway and a logic server do with what comes over links, and what they ask of the
//! container: the seam between the runtime and the two kinds of server.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use imago_proto::{Account, App, Incarnation, ServiceId, SessionId, Status, ToldSession, link};

/// One life of one server: a restart under the same service id is another peer.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PeerId {
    /// Id in the registry.
    pub service_id: ServiceId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.service_id, self.incarnation)
    }
}

/// What a logic server does with what its gateways send. The container calls these in the order
/// of arrival, one call at a time for each gateway; none may block.
#[async_trait]
pub trait LogicRole: Send + Sync + 'static {
    /// The gateway begins to stream all of its sessions. Until [`sync_end`](Self::sync_end),
    /// changes come in between, and a `session_down` may overtake its `session_up`: what was down
    /// once during a sync stays down.
    fn sync_begin(&self, gateway: &PeerId);
    /// A session lives. Told again for a session already known: the same session.
    fn session_up(&self, gateway: &PeerId, session: link::Session);
    /// Some sessions of a sync live. For each the same as [`session_up`](Self::session_up).
    fn sessions_up(&self, batch: SyncBatch<'_>) {
        for session in batch.sessions() {
            self.session_up(batch.gateway(), session);
        }
    }
    /// A session has ended.
    fn session_down(&self, gateway: &PeerId, session: SessionId);
    /// All sessions have been streamed: what was not mentioned since `sync_begin` is gone.
    fn sync_end(&self, gateway: &PeerId);
    /// The gateway will not come back in this life: all its sessions are gone.
    fn gateway_gone(&self, gateway: &PeerId);
    /// A client's request, with the packet's body. To be answered once with
    /// [`LogicHandle::reply`](crate::LogicHandle::reply), and in order for each session.
    fn forward(&self, gateway: &PeerId, request: link::Forward, body: Bytes);
    /// Push to these sessions of the gateway what they miss, and say of each when that is done, with
    /// [`Redelivery::done`](crate::Redelivery::done).
    fn redeliver(&self, gateway: &PeerId, missing: Vec<link::Missing>);
    /// This server is Adult: from now on requests come. Called again when a gateway that it was
    /// promoted without is back.
    fn promoted(&self) {}
    /// Resolves when no request is being worked on. Called while draining.
    async fn idle(&self);
}

/// Some sessions of a gateway's sync, told together.
#[derive(Clone, Copy, Debug)]
pub struct SyncBatch<'a> {
    gateway: &'a PeerId,
    packed: &'a [ToldSession<'a>],
    left: u64,
}

/// What a gateway does with what its logic servers send, and when to accept clients. Calls must
/// not block.
#[async_trait]
pub trait GatewayRole: Send + Sync + 'static {
    /// A packet for the clients of these sessions; unknown ones are skipped. `Some` where clients
    /// cannot keep up through no fault of theirs: nothing more comes over this link until it
    /// resolves, soon, and whatever the clients do.
    fn push(&self, push: link::Push, packet: Bytes) -> Option<BoxFuture<'static, ()>>;
    /// Pushes may be missing at these sessions, or at all where none is named: ask for them with
    /// [`GatewayHandle::redeliver`](crate::GatewayHandle::redeliver), where all are concerned after
    /// a random part of `within`, so that a fleet's gateways do not all ask at once.
    fn owed(&self, sessions: &[u64], within: Duration);
    /// What a session missed has been pushed, or cannot be read now.
    fn redelivered(&self, done: link::Redelivered);
    /// A newer login took the session's place: send the notice, then close. Unknown: nothing.
    fn kick(&self, session: SessionId, notice: Bytes);
    /// From now on clients may be accepted. May be called again after [`fence`](Self::fence).
    fn open_doors(&self);
    /// Accept nobody, and hand the clients over to other gateways (close code 1001), because
    /// logic servers work that this gateway cannot reach.
    fn fence(&self);
    /// Accept nobody, let every client have its outstanding answers, and close in small jittered
    /// batches with code 1001. Returns when all are closed, at the latest after `within`.
    async fn drain(&self, within: Duration);
}

/// Where a session's requests belong, for selectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Tenant of the session.
    pub app: App,
    /// Account of the session.
    pub account: Account,
}

/// A client's request on its way to a logic server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Command of the packet.
    pub command: String,
    /// The client's sequence number.
    pub sequence: u32,
    /// Destination of the packet.
    pub dest: String,
    /// The packet's body.
    pub body: Bytes,
    /// What its message id acknowledges, of what the session was given.
    pub acked: Vec<link::Given>,
}

/// Receives the answers of a session's requests. Called in the order of the answers, with the
/// lane locked: it must not block and not call the lane.
pub trait LaneOwner: Send + Sync + 'static {
    /// A logic server answered; `packet` is the whole packet for the client.
    fn answered(&self, request: &Request, reply: link::Reply, packet: Bytes);
    /// No server will answer: this is the answer to give, with words for a developer.
    fn refused(&self, request: &Request, status: Status, why: &str);
}

// === impl SyncBatch ===

impl<'a> SyncBatch<'a> {
    /// A batch of `gateway`, of about `left` sessions that are still to be told, with these.
    pub fn new(gateway: &'a PeerId, packed: &'a [ToldSession<'a>], left: u64) -> Self {
        Self { gateway, packed, left }
    }

    /// The gateway of all these sessions.
    pub fn gateway(&self) -> &'a PeerId {
        self.gateway
    }

    /// Returns about how many sessions of the sync are still to be told, with these.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Each session.
    pub fn sessions(&self) -> impl Iterator<Item = link::Session> + use<'a> {
        let gateway = self.gateway.service_id.as_str();
        self.packed.iter().map(move |told| told.view().to_session(gateway))
    }

    /// Each session as the link brought it, for a directory that unpacks it only when it is asked for.
    pub fn packed(&self) -> &'a [ToldSession<'a>] {
        self.packed
    }
}

#[cfg(test)]
mod tests {
    use imago_proto::{SessionBatch, SessionReader};

    use super::*;

    #[test]
    fn a_batch_unpacks_to_what_its_gateway_told() {
        let gateway = PeerId { service_id: "gate".into(), incarnation: Incarnation(1) };
        let session = |id| link::Session {
            id,
            channel_id: format!("gate_ann_{id}"),
            account: "ann".to_owned(),
            app: "kim".to_owned(),
            ..link::Session::default()
        };
        let (mut encoded, mut told) = (SessionBatch::default(), Vec::new());
        [session(1), session(2)].iter().for_each(|session| encoded.push(session));
        SessionReader::new(encoded.as_bytes(), 0).read(&mut told, 2).unwrap();
        let batch = SyncBatch::new(&gateway, &told, 7);
        assert_eq!(batch.sessions().collect::<Vec<_>>(), [session(1), session(2)]);
        assert_eq!((batch.gateway(), batch.left(), batch.packed().len()), (&gateway, 7, 2));
    }
}
