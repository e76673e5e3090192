//! Counts what happens and how long it took, and measures it second by second.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{
    cpu::{self, Spent, Watched},
    recorder::{Recorder, histogram, millis},
};

/// What is measured: many report to it.
#[derive(Default)]
pub(crate) struct Meter {
    measuring: AtomicBool,
    count: AtomicU64,
    times: Recorder,
}

/// One second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second {
    /// How often it happened, a second.
    pub(crate) rate: f64,
    /// Milliseconds that it took.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// What was measured.
pub(crate) struct Metered {
    pub(crate) seconds: f64,
    pub(crate) count: u64,
    pub(crate) times: Histogram<u64>,
    pub(crate) timeline: Vec<Second>,
    /// What each watched process used.
    pub(crate) cpu: Vec<Spent>,
}

/// How long something is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

impl Meter {
    /// It happened, and took so long. Says how often it has happened, measured or not.
    pub(crate) fn record(&self, client: usize, time: Duration) -> u64 {
        if self.is_measuring() {
            self.times.record(client, time);
        }
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How often it has happened, measured or not.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether it is measured just now.
    pub(crate) fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    /// Warms up, then measures; shows meanwhile how many of `what` happen.
    pub(crate) async fn measure(
        &self,
        what: &str,
        times: Times,
        watched: &[Watched],
    ) -> anyhow::Result<Metered> {
        let progress = ProgressBar::new_spinner();
        progress.enable_steady_tick(Duration::from_millis(200));
        progress.set_message("warming up");
        tokio::time::sleep(times.warm_up).await;
        self.measuring.store(true, Ordering::SeqCst);
        let cpu_before = cpu::seconds(watched)?;
        let before = self.count();
        let (begun, mut last) = (Instant::now(), before);
        let (mut all, mut timeline) = (histogram(), Vec::new());
        while begun.elapsed() < times.duration {
            let step = Instant::now();
            let left = times.duration.saturating_sub(begun.elapsed());
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
            let now = self.count();
            let taken = self.times.take();
            let seconds = step.elapsed().as_secs_f64().max(0.001);
            let second = Second {
                rate: (now - last) as f64 / seconds,
                p50: millis(&taken, 0.5),
                p99: millis(&taken, 0.99),
            };
            progress.set_message(format!(
                "{:.0} of {:.0} s: {:.0} {what} a second, p50 {:.1} ms, p99 {:.1} ms",
                begun.elapsed().as_secs_f64(),
                times.duration.as_secs_f64(),
                second.rate,
                second.p50,
                second.p99
            ));
            all.add(taken).expect("all have the same bounds");
            timeline.push(second);
            last = now;
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.measuring.store(false, Ordering::SeqCst);
        progress.finish_and_clear();
        let cpu = cpu::spent(watched, &cpu_before)?;
        Ok(Metered { seconds, count: last - before, times: all, timeline, cpu })
    }
}

impl Metered {
    /// How often it happened, a second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.seconds.max(0.001)
    }
}

/// One value of each second.
pub(crate) fn curve(timeline: &[Second], value: fn(&Second) -> f64) -> Vec<f64> {
    timeline.iter().map(value).collect()
}

/// The seconds, for a file.
pub(crate) fn timeline_json(timeline: &[Second]) -> Value {
    let seconds = timeline.iter().map(
        |second| json!({ "per_second": second.rate, "p50_ms": second.p50, "p99_ms": second.p99 }),
    );
    seconds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_happens_after_the_warm_up_is_measured() {
        let meter = Meter::default();
        meter.record(0, Duration::from_secs(9));
        let times = Times { warm_up: Duration::ZERO, duration: Duration::from_millis(300) };
        let (metered, ()) = tokio::join!(meter.measure("things", times, &[]), async {
            while !meter.is_measuring() {
                tokio::task::yield_now().await;
            }
            meter.record(1, Duration::from_millis(7));
        });
        let metered = metered.unwrap();
        assert_eq!((metered.count, metered.times.len(), meter.count()), (1, 1, 2));
        assert!((millis(&metered.times, 1.0) - 7.0).abs() < 0.1);
        assert_eq!(curve(&metered.timeline, |second| second.p50).len(), 1);
    }
}
