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
    /// Some sessions of a sync live, of about `left` that are still to be told, with these. For
    /// each the same as [`session_up`](Self::session_up).
    fn sessions_up(&self, gateway: &PeerId, sessions: &[ToldSession<'_>], left: u64) {
        let _ = left;
        for session in sessions {
            self.session_up(gateway, session.view().to_session(gateway.service_id.as_str()));
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
