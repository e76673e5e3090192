//! Works on what gateways send: requests in the order of each session, redelivery, the directory.

mod redelivery;

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use dashmap::{DashMap, mapref::entry::Entry};
use imago_container::{LogicHandle, LogicRole, PeerId};
use imago_proto::{
    ChannelId, LogicPacket, SessionId, Status, command,
    link::{self, Forward, Reply},
    msg::{ErrorResp, Header, KickoutNotify},
};
use prost::Message;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::redelivery::Redelivery;
use crate::{
    Context, Reject, Replicated, Router, Session, SessionDirectory, context::Push, directory::Kick,
    metrics, router::Routes, store::MessageStore,
};

/// Bounds of the work.
#[derive(Clone, Copy, Debug)]
pub struct WorkLimits {
    /// Requests being worked on or waiting. Overflow policy: answered 300, "busy".
    pub in_flight: usize,
    /// Requests of one session being worked on or waiting. Overflow policy: answered 300, "busy".
    pub session_queue: usize,
    /// How long a handler may take before its request is answered 300.
    pub handler_timeout: Duration,
}

impl Default for WorkLimits {
    fn default() -> Self {
        Self { in_flight: 16_384, session_queue: 256, handler_timeout: Duration::from_secs(4) }
    }
}

/// A session, as requests name it.
type SessionKey = (PeerId, SessionId);

/// A logic server's role in its container.
pub(crate) struct LogicService {
    shared: Arc<Shared>,
    redelivery: Redelivery,
}

struct Shared {
    handle: LogicHandle,
    routes: Routes,
    directory: Arc<Replicated>,
    store: Arc<dyn MessageStore>,
    limits: WorkLimits,
    /// Requests that wait, by session; an entry stands for a running worker.
    queues: DashMap<SessionKey, VecDeque<Job>>,
    in_flight: AtomicUsize,
    settled: Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Job {
    session: Arc<Session>,
    request: Forward,
    body: Bytes,
}

impl LogicService {
    pub(crate) fn new(
        handle: LogicHandle,
        router: Router,
        store: Arc<dyn MessageStore>,
        limits: WorkLimits,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let directory = Arc::new(Replicated::default());
        let redelivery = Redelivery::new(
            handle.clone(),
            directory.clone(),
            store.clone(),
            tasks.clone(),
            stop.clone(),
        );
        let shared = Shared {
            handle,
            routes: router.build(),
            directory,
            store,
            limits,
            queues: DashMap::new(),
            in_flight: AtomicUsize::new(0),
            settled: Notify::new(),
            tasks,
            stop,
        };
        Self { shared: Arc::new(shared), redelivery }
    }
}

impl Shared {
    /// Puts a request behind the others of its session.
    fn enqueue(self: &Arc<Self>, job: Job) {
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst);
        if in_flight >= self.limits.in_flight {
            return self.turn_away(job, "server");
        }
        let key = (job.session.gateway.clone(), job.session.id);
        match self.queues.entry(key.clone()) {
            Entry::Occupied(entry) if entry.get().len() >= self.limits.session_queue => {
                drop(entry);
                self.turn_away(job, "session");
            }
            Entry::Occupied(mut entry) => entry.get_mut().push_back(job),
            Entry::Vacant(entry) => {
                entry.insert(VecDeque::from([job]));
                self.tasks.spawn(self.clone().work(key));
            }
        }
    }

    fn turn_away(self: &Arc<Self>, job: Job, reason: &'static str) {
        metrics::refused(reason);
        let shared = self.clone();
        self.tasks.spawn(async move {
            let busy = Err(Reject::failed("busy, try again later"));
            shared.reply(&job.session.gateway, &job.session.channel, &job.request, busy).await;
            shared.done();
        });
    }

    fn done(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.settled.notify_waiters();
    }

    /// Works on a session's requests one after the other, until there is none.
    async fn work(self: Arc<Self>, key: SessionKey) {
        loop {
            let next = self.queues.get_mut(&key).and_then(|mut queue| queue.pop_front());
            match next {
                Some(job) => {
                    tokio::select! {
                        () = self.answer(job) => {}
                        () = self.stop.cancelled() => {}
                    }
                    self.done();
                }
                None if self.queues.remove_if(&key, |_, queue| queue.is_empty()).is_some() => {
                    return;
                }
                // One came in between.
                None => {}
            }
        }
    }

    async fn answer(&self, job: Job) {
        let Job { session, request, body } = job;
        let ctx = Context::new(
            session.clone(),
            request.clone(),
            self.directory.clone(),
            self.store.clone(),
        );
        let handled = self.routes.answer(ctx.clone(), body);
        let answer = match tokio::time::timeout(self.limits.handler_timeout, handled).await {
            Ok(answer) => answer,
            Err(_) => Err(Reject::failed("the server took too long, try again")),
        };
        tracing::trace!(
            channel = %session.channel,
            command = request.command,
            seq = request.sequence,
            ok = answer.is_ok(),
            "answered"
        );
        let succeeded = answer.is_ok();
        self.reply(&session.gateway, &session.channel, &request, answer).await;
        if succeeded {
            for push in ctx.take_pushes() {
                self.push(&session, push).await;
            }
        }
    }

    async fn reply(
        &self,
        gateway: &PeerId,
        channel: &ChannelId,
        request: &Forward,
        answer: Result<Bytes, Reject>,
    ) {
        let (status, body) = match answer {
            Ok(body) => (Status::Success, body),
            Err(reject) => {
                let message = ErrorResp { message: reject.message };
                (reject.status, reject.body.unwrap_or_else(|| message.encode_to_vec().into()))
            }
        };
        let header = Header {
            command: request.command.clone(),
            sequence: request.sequence,
            dest: request.dest.clone(),
            ..Header::default()
        };
        let packet = LogicPacket::response(&header, channel.as_str(), status, body).encode();
        let reply =
            Reply { request: request.request, session: request.session, status: status.code() };
        self.handle.reply(gateway, reply, packet).await;
    }

    /// One frame for each gateway, whatever the number of sessions there.
    async fn push(&self, caller: &Session, push: Push) {
        let mut by_gateway: HashMap<&PeerId, Vec<u64>> = HashMap::new();
        let sessions = self.directory.locate(&caller.app, &push.account).await;
        for session in &sessions {
            let is_caller = session.id == caller.id && session.gateway == caller.gateway;
            if !(push.except_caller && is_caller) {
                by_gateway.entry(&session.gateway).or_default().push(session.id.0);
            }
        }
        for (gateway, sessions) in by_gateway {
            self.handle.push(gateway, sessions, push.packet.clone());
        }
    }

    /// Tells the gateways of sessions that a newer login replaced.
    fn kick(&self, kicks: Vec<Kick>) {
        for Kick { loser, winner } in kicks {
            metrics::kicked();
            tracing::info!(account = %loser.account, channel = %loser.channel, by = %winner.channel, "kicked out");
            let notify = KickoutNotify { channel_id: loser.channel.to_string() };
            let mut packet =
                LogicPacket::push(command::LOGIN_SIGNIN, "", notify.encode_to_vec().into());
            packet.header.channel_id = winner.channel.to_string();
            self.handle.kick(&loser.gateway, loser.id, packet.encode());
        }
    }
}

#[async_trait]
impl LogicRole for LogicService {
    fn sync_begin(&self, gateway: &PeerId) {
        self.shared.directory.change(|core| core.sync_begin(gateway));
    }

    fn session_up(&self, gateway: &PeerId, session: link::Session) {
        let session = Session::from_link(gateway, session);
        let kicks = self.shared.directory.change(|core| core.session_up(session));
        self.shared.kick(kicks);
        metrics::sessions(self.shared.directory.len());
    }

    fn session_down(&self, gateway: &PeerId, session: SessionId) {
        self.shared.directory.change(|core| core.session_down(gateway, session));
        metrics::sessions(self.shared.directory.len());
    }

    fn sync_end(&self, gateway: &PeerId) {
        self.shared.directory.change(|core| core.sync_end(gateway));
        metrics::sessions(self.shared.directory.len());
    }

    fn gateway_gone(&self, gateway: &PeerId) {
        self.shared.directory.change(|core| core.gateway_gone(gateway));
        metrics::sessions(self.shared.directory.len());
    }

    fn forward(&self, gateway: &PeerId, request: Forward, body: Bytes) {
        let found = self.shared.directory.session(gateway, SessionId(request.session));
        metrics::in_flight(self.shared.in_flight.load(Ordering::Relaxed));
        if let Some(session) = found {
            return self.shared.enqueue(Job { session, request, body });
        }
        // Kicked, or gone meanwhile: the gateway knows whether anybody still waits.
        metrics::refused("session_unknown");
        let (shared, gateway) = (self.shared.clone(), gateway.clone());
        self.shared.tasks.spawn(async move {
            let unknown =
                Err(Reject::new(Status::SessionNotFound, "session is over, log in again"));
            shared.reply(&gateway, &ChannelId::from(""), &request, unknown).await;
        });
    }

    fn redeliver(&self, gateway: &PeerId) {
        self.redelivery.ask(gateway);
    }

    async fn idle(&self) {
        loop {
            let mut settled = pin!(self.shared.settled.notified());
            settled.as_mut().enable();
            if self.shared.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            settled.await;
        }
    }
}
