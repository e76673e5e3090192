//! A logic server without sockets, for the tests of this crate.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use imago_container::{LogicRole, PeerId};
use imago_proto::{
    Incarnation, LogicPacket, Packet, SessionId, Status, command,
    link::{self, Forward, Given, Place, Push, Redelivered, Reply},
    msg::{MessageAckReq, MessageIndexReq},
};
use parking_lot::Mutex;
use prost::Message;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod broken;

pub(crate) use self::broken::Broken;
use crate::{
    GroupRules, Replicated, Router, SessionDirectory, WorkLimits, handlers,
    service::{Dependencies, LogicService, Outlet, RedeliveryWay},
    store::{
        MessageStore, StoreState,
        sqlite::{SqliteOptions, SqliteStore},
    },
};

/// The packets that have left the server, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sent {
    Reply { reply: Reply, packet: LogicPacket },
    Push { gateway: PeerId, push: Push, packet: LogicPacket },
    Owed { gateway: PeerId, sessions: Vec<u64> },
    OwedEverywhere,
    Redelivered { gateway: PeerId, done: Redelivered },
    Kick { gateway: PeerId, session: u64, packet: LogicPacket },
}

/// Records what leaves the server.
#[derive(Default)]
pub(crate) struct FakeOutlet {
    this: Weak<Self>,
    sent: Mutex<Vec<Sent>>,
    changed: Notify,
    /// How long a kickout takes to be queued.
    pub(crate) kick_takes: Mutex<Duration>,
}

impl FakeOutlet {
    fn record(&self, sent: Sent) {
        self.sent.lock().push(sent);
        self.changed.notify_waiters();
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().clone()
    }

    /// Waits until something that was sent gives an answer.
    pub(crate) async fn find<T>(&self, find: impl Fn(&[Sent]) -> Option<T>) -> T {
        let found = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = find(&self.sent()) {
                    return found;
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        found.unwrap_or_else(|_| panic!("never sent; this was: {:#?}", self.sent()))
    }
}

pub(crate) fn packet(bytes: Bytes) -> LogicPacket {
    match Packet::decode(bytes).unwrap() {
        Packet::Logic(packet) => packet,
        Packet::Basic(packet) => panic!("expected a logic packet, got {packet:?}"),
    }
}

#[async_trait]
impl Outlet for FakeOutlet {
    async fn reply(&self, _: &PeerId, reply: Reply, bytes: Bytes) {
        self.record(Sent::Reply { reply, packet: packet(bytes) });
    }

    fn push(&self, gateway: &PeerId, push: Push, bytes: Bytes) {
        self.record(Sent::Push { gateway: gateway.clone(), push, packet: packet(bytes) });
    }

    fn owed(&self, gateway: &PeerId, sessions: Vec<u64>) {
        self.record(Sent::Owed { gateway: gateway.clone(), sessions });
    }

    fn owed_everywhere(&self) {
        self.record(Sent::OwedEverywhere);
    }

    fn redelivery(&self, gateway: &PeerId) -> Option<Arc<dyn RedeliveryWay>> {
        let outlet = self.this.upgrade()?;
        Some(Arc::new(FakeWay { outlet, gateway: gateway.clone() }))
    }

    fn kick(&self, gateway: &PeerId, session: SessionId, notice: Bytes) {
        let packet = packet(notice);
        let kick_takes = *self.kick_takes.lock();
        std::thread::sleep(kick_takes);
        self.record(Sent::Kick { gateway: gateway.clone(), session: session.0, packet });
    }
}

/// A link that takes everything.
struct FakeWay {
    outlet: Arc<FakeOutlet>,
    gateway: PeerId,
}

#[async_trait]
impl RedeliveryWay for FakeWay {
    async fn push(&self, push: Push, packet: Bytes) -> bool {
        self.outlet.push(&self.gateway, push, packet);
        true
    }

    async fn done(&self, done: Redelivered) {
        self.outlet.record(Sent::Redelivered { gateway: self.gateway.clone(), done });
    }
}

pub(crate) fn gateway(name: &str) -> PeerId {
    PeerId { service_id: name.into(), incarnation: Incarnation(7) }
}

/// Creates a session of app `kim`; its channel is named after account and number.
pub(crate) fn session(id: u64, account: &str, device: &str) -> link::Session {
    link::Session {
        id,
        channel_id: format!("gate_{account}_{id}"),
        account: account.to_owned(),
        app: "kim".to_owned(),
        device: device.to_owned(),
        login_time: 1_700_000_000_000_000_000,
        ..link::Session::default()
    }
}

/// A logic server on a store of its own.
pub(crate) struct World {
    pub(crate) service: LogicService,
    pub(crate) outlet: Arc<FakeOutlet>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) store_state: Arc<StoreState>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    requests: AtomicU64,
    _folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(handlers::router(), WorkLimits::default())
    }

    pub(crate) fn with(router: Router, limits: WorkLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&SqliteOptions::new(folder.path().join("imago.db"))).unwrap();
        Self::on(Arc::new(store), folder, router, limits)
    }

    pub(crate) fn on(
        store: Arc<dyn MessageStore>,
        folder: TempDir,
        router: Router,
        limits: WorkLimits,
    ) -> Self {
        let groups = GroupRules { members_max: 10_000, open_talk: false };
        Self::ruled(store, folder, router, limits, groups)
    }

    pub(crate) fn ruled(
        store: Arc<dyn MessageStore>,
        folder: TempDir,
        router: Router,
        limits: WorkLimits,
        groups: GroupRules,
    ) -> Self {
        let outlet =
            Arc::new_cyclic(|this| FakeOutlet { this: this.clone(), ..Default::default() });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let directory: Arc<dyn SessionDirectory> = Arc::new(Replicated::default());
        let store_state = Arc::<StoreState>::default();
        let dependencies = Dependencies {
            outlet: outlet.clone(),
            directory,
            store: store.clone(),
            store_state: store_state.clone(),
        };
        let service = LogicService::new(router, dependencies, limits, groups, &tasks, &stop);
        let requests = AtomicU64::new(1);
        Self { service, outlet, store, store_state, stop, tasks, requests, _folder: folder }
    }

    /// Lets these sessions live on a gateway.
    pub(crate) fn link(&self, gateway: &PeerId, sessions: &[link::Session]) {
        self.service.sync_begin(gateway);
        for session in sessions {
            self.service.session_up(gateway, session.clone());
        }
        self.service.sync_end(gateway);
    }

    /// Translates a message id as a gateway does: into the parts that the session was given up to the last push
    /// of that message.
    fn acked(&self, (gateway, session): (&PeerId, u64), message_id: i64) -> Vec<Given> {
        let given_of = |sent: Sent| -> Vec<Given> {
            match sent {
                Sent::Push { gateway: to, push, .. } if to == *gateway => {
                    let place = push.place.filter(|_| push.sessions.contains(&session));
                    let given = |Place { conversation, seq, message_id, .. }: Place| Given {
                        conversation,
                        from: seq,
                        to: seq,
                        message_id,
                    };
                    place.map(given).into_iter().collect()
                }
                Sent::Reply { reply, .. } if reply.session == session => reply.given,
                _ => Vec::new(),
            }
        };
        let mut given: Vec<Given> = Vec::new();
        for given_now in self.outlet.sent().into_iter().flat_map(given_of) {
            given.retain(|given| given.message_id != given_now.message_id);
            given.push(given_now);
        }
        let until = given.iter().position(|given| given.message_id == message_id);
        given.into_iter().take(until.map_or(0, |last| last + 1)).collect()
    }

    /// Forwards a request without waiting. Returns its number.
    pub(crate) fn forward(
        &self,
        from: (&PeerId, u64),
        command: &str,
        dest: &str,
        body: Bytes,
    ) -> u64 {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let message_id = match command {
            command::CHAT_TALK_ACK => {
                MessageAckReq::decode(body.clone()).map_or(0, |ack| ack.message_id)
            }
            command::CHAT_OFFLINE_INDEX => {
                MessageIndexReq::decode(body.clone()).map_or(0, |index| index.message_id)
            }
            _ => 0,
        };
        let forward = Forward {
            acked: self.acked(from, message_id),
            request,
            session: from.1,
            command: command.to_owned(),
            sequence: request as u32,
            dest: dest.to_owned(),
        };
        self.service.forward(from.0, forward, body);
        request
    }

    /// Returns the answer to a request.
    pub(crate) async fn answer(&self, request: u64) -> LogicPacket {
        self.outlet
            .find(|sent| {
                sent.iter().find_map(|sent| match sent {
                    Sent::Reply { reply, packet } if reply.request == request => {
                        assert_eq!(reply.status, packet.header.status);
                        Some(packet.clone())
                    }
                    _ => None,
                })
            })
            .await
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(
        &self,
        from: (&PeerId, u64),
        command: &str,
        dest: &str,
        body: &impl Message,
    ) -> LogicPacket {
        let request = self.forward(from, command, dest, body.encode_to_vec().into());
        self.answer(request).await
    }

    /// Sends a request that must succeed.
    pub(crate) async fn success<Resp: Message + Default>(
        &self,
        from: (&PeerId, u64),
        command: &str,
        dest: &str,
        body: &impl Message,
    ) -> Resp {
        let answer = self.call(from, command, dest, body).await;
        assert_eq!(answer.header.status, Status::Success.code(), "{answer:?}");
        Resp::decode(answer.body).unwrap()
    }

    /// Waits until the server is idle, and returns all pushes so far: gateway, sessions, packet.
    pub(crate) async fn pushes(&self) -> Vec<(String, Vec<u64>, LogicPacket)> {
        self.service.idle().await;
        let pushes = self.outlet.sent().into_iter().filter_map(|sent| match sent {
            Sent::Push { gateway, mut push, packet } => {
                push.sessions.sort_unstable();
                Some((gateway.service_id.to_string(), push.sessions, packet))
            }
            _ => None,
        });
        pushes.collect()
    }
}
