//! Queues of requests, in the order of each session. A session with requests has a worker.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context as TaskContext, Poll, Waker},
};

use bytes::Bytes;
use dashmap::{DashMap, mapref::entry::Entry};
use foldhash::fast::RandomState;
use imago_container::PeerId;
use imago_kit::in_log_context;
use imago_proto::{Account, App, ChannelId, GroupId, SessionId, Status, link::Forward};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    WorkLimits,
    outlet::{self, Outlet},
    running::{Handled, Running},
    unpushed::UnpushedGroups,
};
use crate::{
    Reject, Session,
    context::{Outcome, Push, Receivers, Services},
    metrics,
    notes::Notes,
    router::Routes,
    store::Members,
};

/// Refusals that may wait for room in their link's queue. Overflow policy: no answer. The gateway answers the
/// request itself after its time limit.
const REFUSALS_MAX: usize = 4096;

/// The key of a session in requests.
type SessionKey = (PeerId, SessionId);

/// A request of a known session.
pub(super) struct Job {
    pub(super) session: Arc<Session>,
    pub(super) request: Forward,
    pub(super) body: Bytes,
}

/// What a session's worker does next.
enum Next {
    /// Begins this request.
    Begin(Job),
    /// Waits for running requests.
    Wait,
    /// Nothing is left.
    End,
}

/// Requests of one session that have not begun.
#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Wakes the session's worker, while that could begin another request.
    worker: Option<Waker>,
}

/// Runs the requests of all sessions.
pub(super) struct Queues {
    outlet: Arc<dyn Outlet>,
    routes: Routes,
    services: Arc<Services>,
    limits: WorkLimits,
    /// Waiting requests by session. Each entry has a running worker.
    waiting: DashMap<SessionKey, Waiting, RandomState>,
    in_flight: AtomicUsize,
    idle: Notify,
    refusals: Arc<Semaphore>,
    unpushed: UnpushedGroups,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Queues {
    pub(super) fn new(
        outlet: Arc<dyn Outlet>,
        routes: Routes,
        services: Arc<Services>,
        limits: WorkLimits,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let unpushed =
            UnpushedGroups::new(outlet.clone(), services.clone(), tasks.clone(), stop.clone());
        Self {
            outlet,
            unpushed,
            routes,
            services,
            limits,
            waiting: DashMap::default(),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            tasks,
            stop,
        }
    }

    /// Queues a request behind the others of its session.
    pub(super) fn enqueue(self: &Arc<Self>, job: Job) {
        if self.begin() > self.limits.in_flight {
            metrics::refused("server_busy");
            self.turn_away(job);
            return self.done();
        }
        let key = (job.session.gateway.clone(), job.session.id);
        match self.waiting.entry(key.clone()) {
            Entry::Occupied(entry) if entry.get().jobs.len() >= self.limits.session_queue => {
                drop(entry);
                metrics::refused("session_busy");
                self.turn_away(job);
                self.done();
            }
            Entry::Occupied(mut entry) => {
                let waiting = entry.get_mut();
                waiting.jobs.push_back(job);
                if let Some(worker) = waiting.worker.take() {
                    worker.wake();
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(Waiting::default());
                self.tasks.spawn(self.clone().work(key, job));
            }
        }
    }

    fn turn_away(self: &Arc<Self>, job: Job) {
        let Job { session, request, .. } = job;
        let busy = Reject::failed("busy, try again later");
        self.refuse(session.gateway.clone(), session.channel().into(), request, busy);
    }

    /// Refuses a request of an unknown session, which was kicked out or has ended. The gateway knows whether
    /// its client still waits.
    pub(super) fn refuse_unknown(self: &Arc<Self>, gateway: PeerId, request: Forward) {
        metrics::refused("session_unknown");
        let unknown = Reject::new(Status::SessionNotFound, "");
        // Old clients know this answer without a body (docs/wire.md, "Test vectors").
        let unknown = Reject { body: Some(Bytes::new()), ..unknown };
        self.refuse(gateway, ChannelId::from(""), request, unknown);
    }

    /// Refuses a request in a task of its own, so that a full link does not block the caller.
    fn refuse(
        self: &Arc<Self>,
        gateway: PeerId,
        channel: ChannelId,
        request: Forward,
        why: Reject,
    ) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        self.begin();
        let queues = self.clone();
        self.tasks.spawn(async move {
            let (reply, packet) =
                outlet::answer(channel.as_str(), &request, Err(why), Notes::default());
            tokio::select! {
                () = queues.outlet.reply(&gateway, reply, packet) => {}
                () = queues.stop.cancelled() => {}
            }
            drop(permit);
            queues.done();
        });
    }

    fn begin(&self) -> usize {
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        metrics::in_flight(in_flight);
        in_flight
    }

    fn done(&self) {
        let in_flight = self.in_flight.fetch_sub(1, Ordering::SeqCst) - 1;
        metrics::in_flight(in_flight);
        if in_flight == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Returns the number of requests that run or wait.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Resolves once no request runs or waits.
    pub(super) async fn idle(&self) {
        loop {
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Runs a session's requests, in their order, until none is left.
    async fn work(self: Arc<Self>, key: SessionKey, first: Job) {
        let mut running = Running::default();
        let mut first = Some(first);
        loop {
            let next = poll_fn(|cx| {
                if let Some(first) = first.take() {
                    self.start(&mut running, first, cx);
                }
                self.poll_next(&key, &mut running, cx)
            });
            let handled = tokio::select! {
                biased;
                handled = next => handled,
                () = self.stop.cancelled() => return self.abandon(&key, &running),
            };
            let Some(handled) = handled else { return };
            let context = handled.ctx.log_context();
            tokio::select! {
                biased;
                () = in_log_context(context, self.answer(handled)) => {}
                () = self.stop.cancelled() => {}
            }
            self.done();
        }
    }

    /// Begins the requests that may begin, and polls for the oldest one. Returns `None` once none is left, and
    /// the session's entry is removed.
    fn poll_next(
        &self,
        key: &SessionKey,
        running: &mut Running,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Handled>> {
        loop {
            match self.take(key, running, cx) {
                Next::Begin(job) => self.start(running, job, cx),
                Next::Wait => return running.poll_next(cx).map(Some),
                Next::End => return Poll::Ready(None),
            }
        }
    }

    fn start(&self, running: &mut Running, job: Job, cx: &mut TaskContext<'_>) {
        running.begin(job, &self.routes, &self.services, self.limits.handler_timeout, cx);
    }

    /// Returns what the worker does next. At its end, the session's entry is removed, so that the next request
    /// starts another worker.
    fn take(&self, key: &SessionKey, running: &Running, cx: &TaskContext<'_>) -> Next {
        let Entry::Occupied(mut entry) = self.waiting.entry(key.clone()) else { return Next::End };
        let waiting = entry.get_mut();
        let may_begin = |job: &mut Job| running.takes(self.routes.overlaps(&job.request.command));
        if let Some(job) = waiting.jobs.pop_front_if(may_begin) {
            return Next::Begin(job);
        }
        if waiting.jobs.is_empty() {
            if running.len() == 0 {
                entry.remove();
                return Next::End;
            }
            waiting.worker = Some(cx.waker().clone());
        }
        Next::Wait
    }

    /// Drops the remaining requests without an answer, because the server stops.
    fn abandon(&self, key: &SessionKey, running: &Running) {
        let waiting = self.waiting.remove(key).map_or(0, |(_, waiting)| waiting.jobs.len());
        for _ in 0..running.len() + waiting {
            self.done();
        }
    }

    /// Sends the answer of a request, then the pushes of its handler.
    async fn answer(&self, Handled { ctx, answer }: Handled) {
        let has_succeeded = answer.is_ok();
        let session = ctx.session();
        let Outcome { pushes, notes } = ctx.take_outcome();
        let notes = if has_succeeded { notes } else { Notes::default() };
        let (reply, packet) = outlet::answer(session.channel(), ctx.request(), answer, notes);
        self.outlet.reply(&session.gateway, reply, packet).await;
        if has_succeeded {
            self.push(session, pushes).await;
        }
    }

    async fn push(&self, caller: &Session, pushes: Vec<Push>) {
        let is_caller =
            |session: &Session| session.id == caller.id && session.gateway == caller.gateway;
        for push in pushes {
            let is_for_caller = matches!(push.to, Receivers::Account(_) | Receivers::Sessions(_));
            let sessions = self.receivers(&caller.app, push.to).await;
            let sessions = sessions.iter().map(|session| &**session);
            let mut receivers =
                sessions.filter(|session| is_for_caller || !is_caller(session)).peekable();
            if receivers.peek().is_some() {
                outlet::push(
                    &*self.outlet,
                    receivers,
                    push.place.as_deref(),
                    &push.packet.encode(),
                );
            }
        }
    }

    async fn receivers(&self, app: &App, to: Receivers) -> Vec<Arc<Session>> {
        let directory = &self.services.directory;
        match to {
            Receivers::Account(account) | Receivers::Others(account) => {
                directory.locate(app, &account).await
            }
            Receivers::Accounts(accounts) => directory.locate_all(app, &accounts).await,
            Receivers::Members { group, version, seq } => {
                let Some(members) = self.members(app, &group, version).await else {
                    return Vec::new();
                };
                let sees = members.since.iter().filter(|(_, since)| *since < seq);
                let accounts: Vec<Account> = sees.map(|(account, _)| account.clone()).collect();
                directory.locate_all(app, &accounts).await
            }
            Receivers::Sessions(sessions) => sessions,
        }
    }

    /// Returns the members that see a message. Where they cannot be read, the message, which is stored and
    /// answered, is pushed later.
    async fn members(&self, app: &App, group: &GroupId, version: u64) -> Option<Arc<Members>> {
        let Services { members, store, .. } = &*self.services;
        match members.at(&**store, app, group, version).await {
            Ok(found) => found,
            Err(error) => {
                metrics::fan_out_failed();
                tracing::warn!(%group, %error, "cannot read a group's members, its message is pushed later");
                self.unpushed.remember(app, group);
                None
            }
        }
    }
}
