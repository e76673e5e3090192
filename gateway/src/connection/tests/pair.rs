//! A connection with its client, over a pipe.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use imago_container::{Container, GatewayHandle, ServerInfo, Slots};
use imago_proto::link;
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};

use super::{Client, Connection, LOGIN, Prepared, answer, login_body, soon, token};
use crate::{
    Address, Authenticator, Framing, JwtAuthenticator, TlsPeer, TokenBuckets, Transport,
    UpgradeRequest,
    config::LOGIN_GRACE,
    context::ConnectionContext,
    lifecycle::{Doors, Lifecycle},
    memory::Memory,
    session::{Client as Session, Sessions},
    tests::support::{JWT_SECRET, config},
};

fn handle() -> GatewayHandle {
    let (sender, receiver) = std::sync::mpsc::channel();
    let role = move |handle| -> Arc<dyn imago_container::GatewayRole> {
        sender.send(handle).unwrap();
        Arc::new(NoRole)
    };
    let container = Container::builder(ServerInfo::new("gateway", "gate01"))
        .cluster("imago", b"a secret of this test")
        .naming(Arc::new(imago_naming::Memory::new()))
        .depends_on("chat")
        .gateway(0, "tcp", role)
        .build();
    assert!(container.is_ok());
    receiver.recv().unwrap()
}

/// Never called: the container does not run.
struct NoRole;

#[async_trait]
impl imago_container::GatewayRole for NoRole {
    fn push(&self, _: link::Push, _: Bytes) -> Option<BoxFuture<'static, ()>> {
        None
    }
    fn owed(&self, _: &[u64], _: Duration) {}
    fn redelivered(&self, _: link::Redelivered) {}
    fn kick(&self, _: imago_proto::SessionId, _: Bytes) {}
    fn open_doors(&self) {}
    fn fence(&self) {}
    async fn drain(&self, _: Duration) {}
}

/// A transport in memory.
struct Pipe;

impl Transport for Pipe {
    type Accepted = DuplexStream;
    type Stream = DuplexStream;

    fn name(&self) -> &str {
        "pipe"
    }

    fn local_address(&self) -> Address {
        Address::named("pipe")
    }

    fn framing(&self) -> Framing {
        Framing::LengthPrefixed
    }

    async fn accept(&mut self) -> io::Result<(DuplexStream, Address)> {
        std::future::pending().await
    }

    async fn handshake(accepted: DuplexStream) -> io::Result<(DuplexStream, Option<TlsPeer>)> {
        Ok((accepted, None))
    }
}

/// What the connections of these tests use, with this authenticator or that for tokens.
fn context(authenticator: Option<Arc<dyn Authenticator>>) -> ConnectionContext {
    let config = config(&[("limits.queue_messages", "20")]);
    let jwt = || Arc::new(JwtAuthenticator::new(JWT_SECRET.as_bytes(), &config.algorithms));
    let limits = config.limits;
    ConnectionContext {
        handle: handle(),
        sessions: Arc::new(Sessions::new(limits.connections_per_account, limits.silent_after)),
        fan_out: Arc::default(),
        authenticator: authenticator.unwrap_or_else(|| jwt()),
        rate_limit: Arc::new(TokenBuckets::new(
            config.messages_per_second,
            config.message_burst,
            None,
        )),
        memory: Memory::new(limits.input_total, limits.queue_total),
        limits,
        life: Arc::new(Lifecycle::new()),
    }
}

/// A connection with its client.
pub(super) struct Pair {
    pub(super) client: Client,
    pub(super) context: Arc<ConnectionContext>,
    pub(super) slots: Arc<Slots>,
    pub(super) connection: JoinHandle<()>,
    pub(super) begun: Instant,
}

impl Pair {
    pub(super) fn new(framing: Framing) -> Self {
        Self::with(framing, 1 << 20, None, None)
    }

    /// The pipe holds `pipe` bytes in either direction.
    pub(super) fn with(
        framing: Framing,
        pipe: usize,
        authenticator: Option<Arc<dyn Authenticator>>,
        upgrade: Option<UpgradeRequest>,
    ) -> Self {
        let context = Arc::new(context(authenticator));
        context.life.doors.send_replace(Doors::Open);
        let (near, far): (DuplexStream, DuplexStream) = duplex(pipe);
        let remote = Address::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let begun = Instant::now();
        let login_by = begun + context.limits.login_timeout;
        let slots = Slots::new(context.limits.unauthenticated, LOGIN_GRACE, |_| {});
        let (own, entered) = (context.clone(), slots.clone());
        let connection = tokio::spawn(async move {
            let slot = entered.enter(remote.ip()).await;
            let prepared = Prepared { stream: near, received: BytesMut::new(), upgrade, tls: None };
            Connection::<Pipe>::new(prepared, framing, remote, slot, login_by, own).run().await;
        });
        Self { client: Client::over(far, framing), context, slots, connection, begun }
    }

    /// Logs in, without an answer.
    pub(super) async fn logging_in(framing: Framing, pipe: usize) -> (Self, Arc<Session>) {
        let mut pair = Self::with(framing, pipe, None, None);
        pair.client.request(LOGIN, login_body(&token("alice"))).await;
        soon(|| pair.context.sessions.len() == 1).await;
        let session = pair.context.sessions.all().remove(0);
        (pair, session)
    }

    pub(super) async fn online(framing: Framing, pipe: usize) -> (Self, Arc<Session>) {
        let (mut pair, session) = Self::logging_in(framing, pipe).await;
        session.outbox.login_answered(answer("welcome"));
        assert_eq!(pair.client.recv_logic().await.body, "welcome");
        (pair, session)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}
