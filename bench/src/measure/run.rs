//! One run: what all of its clients share, its time line, and what was measured.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use imago_proto::Status;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::{
    cpu::{Spent, Watched},
    meter::{Meter, Second, Times},
    recorder::Recorder,
};

/// How long what is on its way has to arrive after the end.
const GRACE: Duration = Duration::from_secs(10);
/// How often a client looks then whether all has.
const LOOK: Duration = Duration::from_millis(50);

/// What the clients of a run share.
pub(crate) struct Run {
    started: Instant,
    /// What its messages carry, so that those of earlier runs are not taken for them.
    pub(crate) mark: String,
    over: CancellationToken,
    /// Messages that arrived, of those that a receiver had not seen before.
    delivery: Meter,
    answer: Recorder,
    /// Answers other than success, by status.
    refused: Mutex<BTreeMap<u32, u64>>,
    sent: AtomicU64,
    answers: AtomicU64,
    accepted: AtomicU64,
    /// Those of them that were accepted while it was measured.
    measured_accepted: AtomicU64,
    /// How many receive each message.
    fan_out: u64,
    /// Gets a permit for each message that has arrived everywhere, or never will.
    room: Semaphore,
}

/// Counts over a whole run, warm-up and end included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) answers: u64,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    /// Deliveries that the accepted messages make.
    pub(crate) expected: u64,
    /// Answers other than success, by status.
    pub(crate) refused: BTreeMap<u32, u64>,
}

/// What was measured.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) delivery: Histogram<u64>,
    pub(crate) answer: Histogram<u64>,
    pub(crate) timeline: Vec<Second>,
    /// What each watched process used.
    pub(crate) cpu: Vec<Spent>,
}

/// What the messages of one run carry.
pub(crate) fn new_mark() -> String {
    format!("{:08x}", rand::random::<u32>())
}

/// Whether an answer says that the message was accepted.
pub(crate) fn is_accepted(status: u32) -> bool {
    status == Status::Success.code()
}

impl Run {
    /// `fan_out`: how many receive each message.
    pub(crate) fn new(fan_out: u64) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            mark: new_mark(),
            over: CancellationToken::new(),
            delivery: Meter::default(),
            answer: Recorder::default(),
            refused: Mutex::default(),
            sent: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            measured_accepted: AtomicU64::new(0),
            fan_out,
            room: Semaphore::new(0),
        })
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether nothing more is to be sent.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Resolves when nothing more is to be sent.
    pub(crate) fn over(&self) -> WaitForCancellationFuture<'_> {
        self.over.cancelled()
    }

    /// Resolves when nothing more is to be sent and everything has arrived, or had its time to.
    pub(crate) async fn ended(&self) {
        self.ended_within(GRACE).await;
    }

    /// The same, with so much time to arrive.
    pub(crate) async fn ended_within(&self, grace: Duration) {
        self.over().await;
        let give_up = Instant::now() + grace;
        while !self.is_settled() && Instant::now() < give_up {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A message goes out.
    pub(crate) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    /// A message arrived that was due then.
    pub(crate) fn delivered(&self, client: usize, due: Duration) {
        let count = self.delivery.record(client, self.now().saturating_sub(due));
        if count.is_multiple_of(self.fan_out) {
            self.room.add_permits(1);
        }
    }

    /// Gets a permit for each message that has arrived everywhere, or never will.
    pub(crate) fn room(&self) -> &Semaphore {
        &self.room
    }

    /// A request was answered that was due then.
    pub(crate) fn answered(&self, client: usize, due: Duration, status: u32) {
        let measuring = self.delivery.is_measuring();
        if measuring {
            self.answer.record(client, self.now().saturating_sub(due));
        }
        if is_accepted(status) {
            self.accepted.fetch_add(1, Ordering::SeqCst);
            self.measured_accepted.fetch_add(u64::from(measuring), Ordering::SeqCst);
        } else {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused.entry(status).or_default() += 1;
            self.room.add_permits(1);
        }
        self.answers.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether every message was answered, and every accepted one has arrived everywhere.
    fn is_settled(&self) -> bool {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        count(&self.answers) == count(&self.sent)
            && self.delivery.count() >= count(&self.accepted) * self.fan_out
    }

    /// All that was counted so far, measured or not.
    pub(crate) fn totals(&self) -> Totals {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Totals {
            sent: count(&self.sent),
            answers: count(&self.answers),
            accepted: count(&self.accepted),
            delivered: self.delivery.count(),
            expected: count(&self.accepted) * self.fan_out,
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Warms up, measures with live progress, and tells the clients to end.
    pub(crate) async fn measure(
        &self,
        warm_up: Duration,
        duration: Duration,
        watched: &[Watched],
    ) -> anyhow::Result<Measured> {
        let times = Times { warm_up, duration };
        let metered = self.delivery.measure("messages", times, watched).await?;
        self.over.cancel();
        Ok(Measured {
            seconds: metered.seconds,
            accepted: self.measured_accepted.load(Ordering::SeqCst),
            delivered: metered.count,
            delivery: metered.times,
            answer: self.answer.take(),
            timeline: metered.timeline,
            cpu: metered.cpu,
        })
    }
}
