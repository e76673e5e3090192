//! Requests in the order of each session: one worker for each session that has any.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use dashmap::{DashMap, mapref::entry::Entry};
use foldhash::fast::RandomState;
use futures::FutureExt;
use imago_container::{PeerId, in_log_context};
use imago_proto::{Account, App, ChannelId, GroupId, SessionId, Status, link::Forward};
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    WorkLimits,
    debts::Debts,
    outlet::{self, Outlet},
};
use crate::{
    Context, Reject, Session,
    context::{Notes, Outcome, Push, Receivers, Services},
    metrics,
    router::Routes,
    store::Members,
};

/// Refusals that may wait for room in their link's queue. Overflow policy: no answer; the gateway
/// answers the request itself when its time is over.
const REFUSALS_MAX: usize = 4096;

/// A session, as requests name it.
type SessionKey = (PeerId, SessionId);

/// A request of a known session.
pub(super) struct Job {
    pub(super) session: Arc<Session>,
    pub(super) request: Forward,
    pub(super) body: Bytes,
}

/// Works on requests.
pub(super) struct Queues {
    outlet: Arc<dyn Outlet>,
    routes: Routes,
    services: Arc<Services>,
    limits: WorkLimits,
    /// Requests that wait behind the one that is worked on, by session; an entry stands for a running
    /// worker.
    waiting: DashMap<SessionKey, VecDeque<Job>, RandomState>,
    in_flight: AtomicUsize,
    settled: Notify,
    refusals: Arc<Semaphore>,
    debts: Debts,
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
        let debts = Debts::new(outlet.clone(), services.clone(), tasks.clone(), stop.clone());
        Self {
            outlet,
            debts,
            routes,
            services,
            limits,
            waiting: DashMap::default(),
            in_flight: AtomicUsize::new(0),
            settled: Notify::new(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            tasks,
            stop,
        }
    }

    /// Puts a request behind the others of its session.
    pub(super) fn enqueue(self: &Arc<Self>, job: Job) {
        if self.begin() > self.limits.in_flight {
            metrics::refused("server_busy");
            self.turn_away(job);
            return self.done();
        }
        let key = (job.session.gateway.clone(), job.session.id);
        match self.waiting.entry(key.clone()) {
            Entry::Occupied(entry) if entry.get().len() >= self.limits.session_queue => {
                drop(entry);
                metrics::refused("session_busy");
                self.turn_away(job);
                self.done();
            }
            Entry::Occupied(mut entry) => entry.get_mut().push_back(job),
            Entry::Vacant(entry) => {
                entry.insert(VecDeque::new());
                self.tasks.spawn(self.clone().work(key, job));
            }
        }
    }

    fn turn_away(self: &Arc<Self>, job: Job) {
        let Job { session, request, .. } = job;
        let busy = Reject::failed("busy, try again later");
        self.refuse(session.gateway.clone(), session.channel().into(), request, busy);
    }

    /// Answers a request of a session that is not known: kicked out, or gone meanwhile. The
    /// gateway knows whether anybody still waits.
    pub(super) fn refuse_unknown(self: &Arc<Self>, gateway: PeerId, request: Forward) {
        metrics::refused("session_unknown");
        let unknown = Reject::new(Status::SessionNotFound, "");
        // Old clients know this answer without a body (client wire, section 2).
        let unknown = Reject { body: Some(Bytes::new()), ..unknown };
        self.refuse(gateway, ChannelId::from(""), request, unknown);
    }

    /// Answers beside the session's queue, so that nobody waits for a full link.
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
            self.settled.notify_waiters();
        }
    }

    /// Resolves when no request is being worked on.
    pub(super) async fn idle(&self) {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Works on a session's requests one after the other, until there is none.
    async fn work(self: Arc<Self>, key: SessionKey, first: Job) {
        let mut next = Some(first);
        while let Some(Job { session, request, body }) = next {
            let ctx = Context::new(session, request, self.services.clone());
            let answered = in_log_context(ctx.log_context(), self.answer(ctx, body));
            tokio::select! {
                biased;
                () = answered => {}
                () = self.stop.cancelled() => {}
            }
            self.done();
            next = self.next(key.clone());
        }
    }

    /// The request that has waited longest; the worker ends where there is none.
    fn next(&self, key: SessionKey) -> Option<Job> {
        let Entry::Occupied(mut queue) = self.waiting.entry(key) else { return None };
        let next = queue.get_mut().pop_front();
        if next.is_none() {
            queue.remove();
        }
        next
    }

    /// Answers a request, then sends the pushes of its handler.
    async fn answer(&self, ctx: Context, body: Bytes) {
        // Whatever the layers are: a panic must not end the session's worker.
        let handled = AssertUnwindSafe(self.routes.answer(ctx.clone(), body)).catch_unwind();
        let answer = match tokio::time::timeout(self.limits.handler_timeout, handled).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Reject::failed("the server failed on this request")),
            Err(_) => {
                metrics::handler_timeout();
                tracing::warn!("handler took too long; its request is answered with 300");
                Err(Reject::failed("the server took too long, try again later"))
            }
        };
        let has_succeeded = answer.is_ok();
        tracing::trace!(ok = has_succeeded, "answered");
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
                outlet::push(&*self.outlet, receivers, push.place, &push.packet.encode());
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

    /// The message is stored and answered: where its receivers cannot be read, it is owed to them.
    async fn members(&self, app: &App, group: &GroupId, version: u64) -> Option<Arc<Members>> {
        let Services { members, store, .. } = &*self.services;
        match members.at(&**store, app, group, version).await {
            Ok(found) => found,
            Err(error) => {
                metrics::fan_out_failed();
                tracing::warn!(%group, %error, "cannot read a group's members, its message is pushed later");
                self.debts.remember(app, group);
                None
            }
        }
    }
}
