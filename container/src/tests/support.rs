//! Servers of both kinds in one process, with roles that note what they are told.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use imago_naming::{Memory, Naming};
use imago_proto::{SessionId, Status, link};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ContainerConfig, Error, GatewayHandle, GatewayRole, LaneOwner, LinkConfig, LogicHandle,
    LogicRole, PeerId, Request, ServerInfo, SyncBatch,
    gateway_side::{self, GatewayReport, Links},
    link::{Credentials, Link},
    logic_side::{self, LogicReport},
    monitor::MonitorSource,
    runtime::Common,
    selector::Hash,
};

pub(super) const SOON: Duration = Duration::from_secs(10);

/// Resolves when `reached` holds.
pub(super) async fn eventually(what: &str, reached: impl Fn() -> bool) {
    let reached = timeout(SOON, async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "not in time: {what}");
}

/// Fails when `holds` does not hold at some moment of `time`.
pub(super) async fn always(time: Duration, what: &str, holds: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < until {
        assert!(holds(), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn config() -> ContainerConfig {
    ContainerConfig {
        link: LinkConfig {
            ping_interval: Duration::from_millis(100),
            ping_timeout: Duration::from_secs(1),
            ..LinkConfig::default()
        },
        redeliver_jitter: Duration::from_millis(10),
        drain_timeout: Duration::from_millis(300),
        ..ContainerConfig::default()
    }
}

pub(super) fn credentials() -> Credentials {
    Credentials { cluster: "test".into(), secret: (*b"a secret of the cluster").into() }
}

pub(super) fn session(number: u64) -> link::Session {
    link::Session { id: number, ..link::Session::default() }
}

/// A logic server's role: answers each request with its body.
#[derive(Default)]
pub(super) struct LogicNotes {
    handle: Mutex<Option<LogicHandle>>,
    pub(super) sessions: Mutex<BTreeSet<(PeerId, u64)>>,
    /// How many it was told of at a time, and how many were left then, with these.
    pub(super) batches: Mutex<Vec<(usize, u64)>>,
    pub(super) redeliveries: AtomicUsize,
    pub(super) requests: AtomicUsize,
    pub(super) is_never_idle: AtomicBool,
    /// Answers wait until it is not.
    pub(super) is_stuck: watch::Sender<bool>,
}

#[async_trait]
impl LogicRole for LogicNotes {
    fn sync_begin(&self, gateway: &PeerId) {
        self.sessions.lock().unwrap().retain(|(of, _)| of != gateway);
    }

    fn session_up(&self, gateway: &PeerId, session: link::Session) {
        self.sessions.lock().unwrap().insert((gateway.clone(), session.id));
    }

    fn sessions_up(&self, batch: SyncBatch<'_>) {
        self.batches.lock().unwrap().push((batch.packed().len(), batch.left()));
        batch.sessions().for_each(|session| self.session_up(batch.gateway(), session));
    }

    fn session_down(&self, gateway: &PeerId, session: SessionId) {
        self.sessions.lock().unwrap().remove(&(gateway.clone(), session.0));
    }

    fn sync_end(&self, _: &PeerId) {}

    fn gateway_gone(&self, gateway: &PeerId) {
        self.sessions.lock().unwrap().retain(|(of, _)| of != gateway);
    }

    fn forward(&self, gateway: &PeerId, request: link::Forward, body: Bytes) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let Some(handle) = self.handle.lock().unwrap().clone() else { return };
        let gateway = gateway.clone();
        let reply = link::Reply {
            request: request.request,
            session: request.session,
            ..link::Reply::default()
        };
        let mut is_stuck = self.is_stuck.subscribe();
        tokio::spawn(async move {
            // The sender lives as long as the role.
            let _ = is_stuck.wait_for(|is_stuck| !is_stuck).await;
            handle.reply(&gateway, reply, body).await;
        });
    }

    fn redeliver(&self, _: &PeerId, _: Vec<link::Missing>) {
        self.redeliveries.fetch_add(1, Ordering::SeqCst);
    }

    async fn idle(&self) {
        if self.is_never_idle.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

/// A gateway's role without clients.
#[derive(Default)]
pub(super) struct GatewayNotes {
    pub(super) pushed: Mutex<Vec<Bytes>>,
    /// Sessions that pushes may be missing at, each time that it was told; none: all of them.
    pub(super) owed: Mutex<Vec<Vec<u64>>>,
    pub(super) is_open: AtomicBool,
    pub(super) drains_for_ever: AtomicBool,
}

#[async_trait]
impl GatewayRole for GatewayNotes {
    fn push(&self, _: link::Push, packet: Bytes) -> Option<BoxFuture<'static, ()>> {
        self.pushed.lock().unwrap().push(packet);
        None
    }

    fn owed(&self, sessions: &[u64], _: Duration) {
        self.owed.lock().unwrap().push(sessions.to_vec());
    }

    fn redelivered(&self, _: link::Redelivered) {}

    fn kick(&self, _: SessionId, _: Bytes) {}

    fn open_doors(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    fn fence(&self) {
        self.is_open.store(false, Ordering::SeqCst);
    }

    async fn drain(&self, _: Duration) {
        if self.drains_for_ever.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

/// Notes the status of each answer.
#[derive(Default)]
pub(super) struct Answers(pub(super) Mutex<Vec<(u32, u32)>>);

impl LaneOwner for Answers {
    fn answered(&self, request: &Request, reply: link::Reply, _: Bytes) {
        self.0.lock().unwrap().push((request.sequence, reply.status));
    }

    fn refused(&self, request: &Request, status: Status, _: &str) {
        self.0.lock().unwrap().push((request.sequence, status as u32));
    }
}

pub(super) fn request(sequence: u32) -> Request {
    let (command, dest) = ("chat.user.talk".into(), "bob".into());
    Request { command, sequence, dest, body: Bytes::from_static(b"body"), acked: Vec::new() }
}

/// A running server.
pub(super) struct Running {
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start(
        tasks: TaskTracker,
        run: impl FnOnce(CancellationToken) -> JoinHandle<Result<(), Error>>,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let task = run(shutdown.clone());
        Self { tasks, shutdown, task }
    }

    /// Has it leave, and waits until it has.
    pub(super) async fn leave(self) {
        self.shutdown.cancel();
        self.ended().await.unwrap();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it has ended; says how.
    pub(super) async fn ended(self) -> Result<(), Error> {
        self.ended_within(SOON).await
    }

    pub(super) async fn ended_within(self, time: Duration) -> Result<(), Error> {
        let ended = timeout(time, self.task).await.expect("it ends in time").unwrap();
        assert_eq!(self.tasks.len(), 0, "tasks are left running");
        ended
    }
}

pub(super) struct Gateway {
    pub(super) role: Arc<GatewayNotes>,
    pub(super) handle: GatewayHandle,
    pub(super) links: Arc<Links>,
    pub(super) report: Arc<GatewayReport>,
    pub(super) running: Running,
}

pub(super) struct Logic {
    pub(super) role: Arc<LogicNotes>,
    pub(super) handle: LogicHandle,
    pub(super) report: Arc<LogicReport>,
    pub(super) running: Running,
}

fn common(
    service: &str,
    id: &str,
    peers: &str,
    naming: Arc<dyn Naming>,
    config: ContainerConfig,
) -> Common {
    Common {
        info: ServerInfo::new(service, id),
        config,
        credentials: credentials(),
        naming,
        peer_service: peers.to_owned(),
        health_url: None,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    }
}

impl Gateway {
    pub(super) fn start(id: &str, naming: Arc<dyn Naming>) -> Self {
        Self::configured(id, naming, config())
    }

    pub(super) fn configured(id: &str, naming: Arc<dyn Naming>, config: ContainerConfig) -> Self {
        let common = common("gateway", id, "chat", naming, config);
        let tasks = common.tasks.clone();
        let (runtime, handle) = gateway_side::gateway(common, 1, "ws".into(), Arc::new(Hash));
        let role = Arc::new(GatewayNotes::default());
        let (links, report) = (runtime.links.clone(), runtime.report.clone());
        let running =
            Running::start(tasks, |shutdown| tokio::spawn(runtime.run(role.clone(), shutdown)));
        Self { role, handle, links, report, running }
    }

    pub(super) async fn grown_up(&self) {
        eventually("the gateway is adult", || self.role.is_open.load(Ordering::SeqCst)).await;
    }

    pub(super) fn link(&self, server: &str) -> Option<Arc<Link>> {
        self.links.get(&server.into())
    }

    /// What `/peers` says of a server's health.
    pub(super) fn health(&self, server: &str) -> String {
        let peers = self.report.peers().peers;
        let peer = peers.into_iter().find(|peer| peer.id == server);
        peer.map(|peer| peer.health).unwrap_or_default()
    }
}

impl Logic {
    pub(super) async fn start(id: &str, naming: Arc<dyn Naming>) -> Self {
        Self::configured(id, naming, config()).await
    }

    pub(super) async fn configured(
        id: &str,
        naming: Arc<dyn Naming>,
        config: ContainerConfig,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let common = common("chat", id, "gateway", naming, config);
        let tasks = common.tasks.clone();
        let (runtime, acceptor, handle) = logic_side::logic(common, listener).unwrap();
        let (role, report) = (Arc::new(LogicNotes::default()), runtime.report.clone());
        *role.handle.lock().unwrap() = Some(handle.clone());
        let running = Running::start(tasks, |shutdown| {
            tokio::spawn(runtime.run(acceptor, role.clone(), shutdown))
        });
        Self { role, handle, report, running }
    }
}

/// A gateway and a logic server that have grown up together.
pub(super) async fn pair(memory: &Memory) -> (Gateway, Logic) {
    let logic = Logic::start("logic-1", Arc::new(memory.clone())).await;
    let gateway = Gateway::start("gateway-1", Arc::new(memory.clone()));
    gateway.grown_up().await;
    (gateway, logic)
}
