//! One run: what all of its clients share, its time line, and what was measured.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::{
    client::is_accepted,
    cpu::{self, Watched},
    recorder::{Recorder, histogram, millis},
};

/// How long what is on its way has to arrive after the end.
const GRACE: Duration = Duration::from_secs(10);
/// How often a client looks then whether all has.
const LOOK: Duration = Duration::from_millis(50);

/// What the clients of a run share.
pub(super) struct Run {
    started: Instant,
    measuring: AtomicBool,
    over: CancellationToken,
    /// Messages that arrived, of those that a receiver had not seen before.
    delivered: AtomicU64,
    delivery: Recorder,
    answer: Recorder,
    /// Answers other than success, by status.
    refused: Mutex<BTreeMap<u32, u64>>,
    sent: AtomicU64,
    answers: AtomicU64,
    accepted: AtomicU64,
    /// How many receive each message.
    fan_out: u64,
}

/// Counts over a whole run, warm-up and end included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) answers: u64,
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    /// Deliveries that the accepted messages make.
    pub(super) expected: u64,
    /// Answers other than success, by status.
    pub(super) refused: BTreeMap<u32, u64>,
}

/// One second of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Second {
    /// Messages delivered a second.
    pub(super) rate: f64,
    /// Milliseconds until delivery.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// What was measured.
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    pub(super) delivery: Histogram<u64>,
    pub(super) answer: Histogram<u64>,
    pub(super) timeline: Vec<Second>,
    /// CPU seconds of each watched process.
    pub(super) cpu: Vec<(String, f64)>,
}

impl Run {
    /// `fan_out`: how many receive each message.
    pub(super) fn new(fan_out: u64) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            measuring: AtomicBool::new(false),
            over: CancellationToken::new(),
            delivered: AtomicU64::new(0),
            delivery: Recorder::default(),
            answer: Recorder::default(),
            refused: Mutex::default(),
            sent: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            fan_out,
        })
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether nothing more is to be sent.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Resolves when nothing more is to be sent.
    pub(super) fn over(&self) -> WaitForCancellationFuture<'_> {
        self.over.cancelled()
    }

    /// Resolves when nothing more is to be sent and everything has arrived, or had its time to.
    pub(super) async fn ended(&self) {
        self.over().await;
        let give_up = Instant::now() + GRACE;
        while !self.is_settled() && Instant::now() < give_up {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A message goes out.
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    /// A message arrived that was due then.
    pub(super) fn delivered(&self, client: usize, due: Duration) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        if self.measuring.load(Ordering::Relaxed) {
            self.delivery.record(client, self.now().saturating_sub(due));
        }
    }

    /// A request was answered that was due then.
    pub(super) fn answered(&self, client: usize, due: Duration, status: u32) {
        if self.measuring.load(Ordering::Relaxed) {
            self.answer.record(client, self.now().saturating_sub(due));
        }
        if is_accepted(status) {
            self.accepted.fetch_add(1, Ordering::SeqCst);
        } else {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused.entry(status).or_default() += 1;
        }
        self.answers.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether every message was answered, and every accepted one has arrived everywhere.
    fn is_settled(&self) -> bool {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        count(&self.answers) == count(&self.sent)
            && count(&self.delivered) >= count(&self.accepted) * self.fan_out
    }

    /// All that was counted so far, measured or not.
    pub(super) fn totals(&self) -> Totals {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Totals {
            sent: count(&self.sent),
            answers: count(&self.answers),
            accepted: count(&self.accepted),
            delivered: count(&self.delivered),
            expected: count(&self.accepted) * self.fan_out,
            refused: self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Warms up, measures with live progress, and tells the clients to end.
    pub(super) async fn measure(
        &self,
        warm_up: Duration,
        duration: Duration,
        watched: &[Watched],
    ) -> anyhow::Result<Measured> {
        let progress = ProgressBar::new_spinner();
        progress.enable_steady_tick(Duration::from_millis(200));
        progress.set_message("warming up");
        tokio::time::sleep(warm_up).await;
        self.measuring.store(true, Ordering::SeqCst);
        let cpu_before = cpu::seconds(watched)?;
        let before = self.delivered.load(Ordering::SeqCst);
        let accepted_before = self.accepted.load(Ordering::SeqCst);
        let (begun, mut last) = (Instant::now(), before);
        let (mut delivery, mut timeline) = (histogram(), Vec::new());
        while begun.elapsed() < duration {
            let step = Instant::now();
            tokio::time::sleep(Duration::from_secs(1).min(duration - begun.elapsed())).await;
            let now = self.delivered.load(Ordering::SeqCst);
            let seconds = step.elapsed().as_secs_f64().max(0.001);
            let times = self.delivery.take();
            let second = Second {
                rate: (now - last) as f64 / seconds,
                p50: millis(&times, 0.5),
                p99: millis(&times, 0.99),
            };
            progress.set_message(format!(
                "{:.0} of {:.0} s: {:.0} messages a second, p50 {:.1} ms, p99 {:.1} ms",
                begun.elapsed().as_secs_f64(),
                duration.as_secs_f64(),
                second.rate,
                second.p50,
                second.p99
            ));
            delivery.add(times).expect("all have the same bounds");
            timeline.push(second);
            last = now;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let accepted = self.accepted.load(Ordering::SeqCst) - accepted_before;
        self.measuring.store(false, Ordering::SeqCst);
        self.over.cancel();
        progress.finish_and_clear();
        Ok(Measured {
            seconds,
            accepted,
            delivered: last - before,
            delivery,
            answer: self.answer.take(),
            timeline,
            cpu: cpu::spent(watched, &cpu_before)?,
        })
    }
}
