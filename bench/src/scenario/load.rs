//! How much is sent, how, and for how long.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::ensure;
use imago_kit::bounded;
use serde_json::{Value, json};

use crate::{
    client::pace::Pace,
    measure::{meter::Times, stamp},
};

/// Longest run: the times of all its messages fit their sequence numbers.
const DURATION_MAX: Duration = Duration::from_secs(3600);
/// How long may be measured.
const DURATIONS: RangeInclusive<Duration> = Duration::from_millis(1)..=DURATION_MAX;
/// Most messages that a sender may have unanswered.
const WINDOW_MAX: usize = 65_536;

/// Flags of scenarios that take a while.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TimeArgs {
    /// How long is measured
    #[arg(long, default_value = "10s", value_parser = bounded::duration(DURATIONS))]
    duration: Duration,
    /// How long is not measured before
    #[arg(long, default_value = "2s", value_parser = bounded::duration(Duration::ZERO..=DURATION_MAX))]
    warm_up: Duration,
}

impl TimeArgs {
    pub(crate) fn checked(&self) -> anyhow::Result<Times> {
        let Self { duration, warm_up } = *self;
        ensure!(
            duration.saturating_add(warm_up) <= DURATION_MAX,
            "--duration and --warm-up: expected 1h or less together"
        );
        Ok(Times { warm_up, duration })
    }

    /// For a file.
    pub(crate) fn json(&self) -> Value {
        json!({
            "duration_s": self.duration.as_secs_f64(),
            "warm_up_s": self.warm_up.as_secs_f64(),
        })
    }
}

/// Flags of scenarios that send messages.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Closed loop: messages that each sender may have unanswered
    #[arg(long, default_value_t = 1, conflicts_with = "rate")]
    window: usize,
    /// Closed loop: a message makes room for the next when all of its receivers have it, not when
    /// it is answered
    #[arg(long, conflicts_with = "rate")]
    whole: bool,
    /// Open loop: messages a second of all senders together, sent when they are due whatever the
    /// answers do; times count from when a message was due
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// How long is measured
    #[arg(long, default_value = "10s", value_parser = bounded::duration(DURATIONS))]
    pub(crate) duration: Duration,
    /// How long is not measured before
    #[arg(long, default_value = "2s", value_parser = bounded::duration(Duration::ZERO..=DURATION_MAX))]
    pub(crate) warm_up: Duration,
    /// Bytes of each message's body
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,
}

impl LoadArgs {
    /// A closed loop.
    pub(crate) fn closed(
        window: usize,
        (warm_up, duration): (Duration, Duration),
        size: usize,
    ) -> Self {
        Self { window, whole: false, rate: None, duration, warm_up, size }
    }

    /// Returns the pace of each sender.
    pub(crate) fn pace(&self, senders: usize) -> anyhow::Result<Pace> {
        ensure!((1..=WINDOW_MAX).contains(&self.window), "--window: expected 1 to {WINDOW_MAX}");
        ensure!(
            (stamp::SIZE_MIN..=4000).contains(&self.size),
            "--size: expected {} to 4000",
            stamp::SIZE_MIN
        );
        TimeArgs { duration: self.duration, warm_up: self.warm_up }.checked()?;
        let Some(rate) = self.rate else {
            let pace = if self.whole { Pace::Whole } else { Pace::Window };
            return Ok(pace(self.window));
        };
        let range = 0.001..=10_000_000.0;
        ensure!(range.contains(&rate), "--rate: expected 0.001 to 10000000 messages a second");
        Ok(Pace::Every(Duration::from_secs_f64(senders as f64 / rate)))
    }

    /// The pace for a title.
    pub(crate) fn pace_in_words(&self) -> String {
        match self.rate {
            Some(rate) => format!("{rate} messages a second due"),
            None if self.whole => format!("window {} until all have it", self.window),
            None => format!("window {}", self.window),
        }
    }

    /// For a file.
    pub(crate) fn json(&self) -> Value {
        json!({
            "window": self.rate.is_none().then_some(self.window),
            "whole": self.whole,
            "rate": self.rate,
            "duration_s": self.duration.as_secs_f64(),
            "warm_up_s": self.warm_up.as_secs_f64(),
            "size": self.size,
        })
    }
}
