//! Pushes with many receivers: these are woken a few at a time.
//!
//! Ten thousand connections that are woken at once stand in the runtime's queue before everything
//! else, first of all before the answer to the sender of the message. Woken in slices, they leave
//! room in between; and what is pushed to a receiver before its turn comes is written in one go.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt, future::BoxFuture};
use imago_proto::SessionId;
use tokio::{runtime::Handle, sync::watch, task::yield_now};
use tokio_util::task::TaskTracker;

use crate::{
    answers::Sender,
    delivery::Pushed,
    outbox::{Deferred, Outbox},
    session::Sessions,
};

/// Receivers up to which a push wakes them itself.
pub(crate) const AT_ONCE: usize = 64;
/// Receivers that are woken before others have a turn, for each of the runtime's threads.
const SLICE: usize = 32;

/// Wakes the receivers of large pushes.
#[derive(Debug, Default)]
pub(crate) struct FanOut {
    state: Mutex<State>,
    /// How many have been woken since the start.
    woken: watch::Sender<u64>,
}

/// Each receiver is in it at most once, so that it is never longer than there are sessions.
#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<Outbox>>,
    /// How many have been put there since the start.
    listed: u64,
    /// A task is waking them.
    is_served: bool,
}

impl FanOut {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a packet for each of these sessions, and has them woken a slice at a time, behind the
    /// answer to its sender where that is here. Returns `Some` where a receiver is woken far behind what is
    /// queued for it: no more should be pushed until that resolves, or receivers would be cut off that are
    /// not slow.
    pub(crate) fn push(
        self: &Arc<Self>,
        sessions: &Sessions,
        receivers: &[u64],
        pushed: &Pushed<'_>,
        sender: Option<Sender>,
        tasks: &TaskTracker,
    ) -> Option<BoxFuture<'static, ()>> {
        let Queued { mut listed, is_behind } = queue(sessions, receivers, pushed);
        if let Some(sender) = sender.filter(|_| !is_behind) {
            listed = sender.lead(listed);
        }
        let until = self.list(listed, tasks);
        is_behind.then(|| {
            let mut woken = self.woken.subscribe();
            // The sender lives as long as `self`: once it is gone, the wait is over.
            async move { drop(woken.wait_for(|woken| *woken >= until).await) }.boxed()
        })
    }

    /// Wakes receivers that were kept waiting.
    pub(crate) fn wake(self: &Arc<Self>, outboxes: Vec<Arc<Outbox>>, tasks: &TaskTracker) {
        if outboxes.len() > AT_ONCE {
            self.list(outboxes, tasks);
        } else {
            outboxes.iter().for_each(|outbox| outbox.wake());
        }
    }

    /// Says how many will have been woken when all of these are.
    fn list(self: &Arc<Self>, outboxes: Vec<Arc<Outbox>>, tasks: &TaskTracker) -> u64 {
        let mut state = self.lock();
        state.listed += outboxes.len() as u64;
        state.waiting.extend(outboxes);
        if !state.is_served && !state.waiting.is_empty() {
            state.is_served = true;
            tasks.spawn(self.clone().serve());
        }
        state.listed
    }

    /// Wakes slice after slice until none is left.
    async fn serve(self: Arc<Self>) {
        let slice = SLICE * Handle::current().metrics().num_workers();
        while let Some(outboxes) = self.next(slice) {
            for outbox in &outboxes {
                outbox.wake();
            }
            self.woken.send_modify(|woken| *woken += outboxes.len() as u64);
            yield_now().await;
        }
    }

    fn next(&self, slice: usize) -> Option<Vec<Arc<Outbox>>> {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            state.is_served = false;
            // What one large group needed is not kept for ever.
            state.waiting.shrink_to(AT_ONCE);
            return None;
        }
        let len = slice.min(state.waiting.len());
        Some(state.waiting.drain(..len).collect())
    }
}

/// What was queued without waking a receiver.
struct Queued {
    /// Receivers that have to be woken.
    listed: Vec<Arc<Outbox>>,
    /// For some, much waits for them to be woken.
    is_behind: bool,
}

fn queue(sessions: &Sessions, receivers: &[u64], pushed: &Pushed<'_>) -> Queued {
    let mut queued = Queued { listed: Vec::new(), is_behind: false };
    for id in receivers {
        sessions.with(SessionId(*id), |client| match client.defer(pushed) {
            Deferred::First => queued.listed.push(client.outbox.clone()),
            Deferred::Again => {}
            Deferred::Behind => queued.is_behind = true,
        });
    }
    queued
}

/// Queues a packet for each of a few sessions, and has them woken behind the answer to its sender.
pub(crate) fn push_behind(
    sessions: &Sessions,
    receivers: &[u64],
    pushed: &Pushed<'_>,
    sender: &Sender,
) {
    let Queued { listed, .. } = queue(sessions, receivers, pushed);
    sender.lead(listed).iter().for_each(|outbox| outbox.wake());
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque as Batch, future::poll_fn, task::Poll, time::Duration};

    use bytes::Bytes;
    use imago_proto::{
        Stamp,
        link::Push,
        msg::{Header, LoginReq},
    };

    use super::*;
    use crate::{
        auth::Identity,
        outbox::{Next, Packet},
        session::Login,
    };

    /// Returns `count` sessions, and their outboxes by number.
    fn sessions(count: usize, max_frames: usize) -> (Sessions, Vec<u64>, Vec<Arc<Outbox>>) {
        let sessions = Sessions::new(count, Duration::ZERO);
        let (mut ids, mut outboxes) = (Vec::new(), Vec::new());
        for number in 0..count {
            let outbox = Arc::new(Outbox::new(max_frames, 1 << 20));
            outbox.login_answered(Bytes::from_static(b"welcome"));
            outbox.look(Some(&mut Batch::new()), false);
            let identity = Identity {
                account: format!("account{number}").into(),
                app: "kim".into(),
                device: String::new(),
                expires: None,
            };
            let login = Login {
                request: &LoginReq::default(),
                header: &Header::default(),
                remote: String::new(),
                order: Stamp::default(),
            };
            let opened = sessions.open(&identity, &login, outbox.clone(), "gate01");
            ids.push(opened.unwrap().session.id);
            outboxes.push(outbox);
        }
        (sessions, ids, outboxes)
    }

    async fn is_woken(outbox: &Outbox) -> bool {
        poll_fn(|cx| Poll::Ready(outbox.poll_changed(cx, false).is_ready())).await
    }

    #[tokio::test]
    async fn others_have_their_turn_between_the_receivers() {
        let (sessions, ids, outboxes) = sessions(10 * SLICE, 100);
        let (fan_out, tasks) = (Arc::<FanOut>::default(), TaskTracker::new());
        let push = Push::default();
        let pushed = Pushed::new(&push, Packet::Shared(Bytes::from_static(b"x")));
        assert!(fan_out.push(&sessions, &ids, &pushed, None, &tasks).is_none());
        let mut turns = 0;
        while fan_out.lock().is_served {
            yield_now().await;
            turns += 1;
        }
        assert!(turns >= 10, "only {turns} turns for all of them");
        for outbox in &outboxes {
            assert!(is_woken(outbox).await);
        }
    }

    #[tokio::test]
    async fn a_push_too_many_waits_until_all_receivers_were_woken() {
        let (sessions, ids, outboxes) = sessions(3 * SLICE, 1000);
        let (fan_out, tasks) = (Arc::<FanOut>::default(), TaskTracker::new());
        let push = Push::default();
        let pushed = Pushed::new(&push, Packet::Shared(Bytes::from_static(b"x")));
        let push = || fan_out.push(&sessions, &ids, &pushed, None, &tasks);
        let mut packets = 0;
        let behind = (0..1000).find_map(|_| {
            packets += 1;
            push()
        });
        behind.unwrap().await;
        for outbox in &outboxes {
            assert!(is_woken(outbox).await);
            let mut batch = Batch::new();
            assert_eq!(outbox.look(Some(&mut batch), false).next, Next::Write);
            assert_eq!(batch.len(), packets, "in one go");
        }
        assert!(push().is_none(), "no receiver is behind any more");
    }

    #[tokio::test]
    async fn no_push_waits_for_sessions_that_have_gone() {
        let (sessions, ids, outboxes) = sessions(AT_ONCE, 100);
        let (fan_out, tasks) = (Arc::<FanOut>::default(), TaskTracker::new());
        let gone: Vec<u64> = ids.iter().map(|id| id + 1_000_000).collect();
        let push = Push::default();
        let pushed = Pushed::new(&push, Packet::Shared(Bytes::from_static(b"x")));
        assert!(fan_out.push(&sessions, &gone, &pushed, None, &tasks).is_none());
        assert!(!fan_out.lock().is_served);
        for outbox in &outboxes {
            outbox.finish(None, crate::outbox::Close::new(1000, ""));
            is_woken(outbox).await;
        }
        assert!(fan_out.push(&sessions, &ids, &pushed, None, &tasks).is_none());
        assert!(!fan_out.lock().is_served);
    }
}
