//! Times of many clients, recorded by all of them and taken by one, second by second.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Parts of a recorder: clients of different parts never wait for each other.
const SHARDS: usize = 16;

/// Records times; cheap enough to be called for every message.
pub(crate) struct Recorder {
    shards: [Mutex<Histogram<u64>>; SHARDS],
}

/// A histogram of microseconds up to a minute, three digits exact.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3)
        .expect("bounds and digits are within what it takes")
}

impl Default for Recorder {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(histogram())) }
    }
}

impl Recorder {
    /// Records for one client.
    pub(crate) fn record(&self, client: usize, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(shard) = self.shards.get(client % SHARDS) {
            // A histogram stays whole whatever panicked while it was locked.
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.saturating_record(micros.max(1));
        }
    }

    /// What was recorded since the last time.
    pub(crate) fn take(&self) -> Histogram<u64> {
        let mut taken = histogram();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            taken.add(&*shard).expect("all have the same bounds");
            shard.reset();
        }
        taken
    }
}

/// Headings of a table of the usual percentiles.
pub(crate) const HEADINGS: [&str; 6] = ["MILLISECONDS UNTIL", "P50", "P90", "P99", "P99.9", "MAX"];
/// The usual percentiles.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// One of them, in milliseconds.
pub(crate) fn millis(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// All of them, in milliseconds, as a row of a table.
pub(crate) fn row(name: &str, histogram: &Histogram<u64>) -> Vec<String> {
    let values = PERCENTILES.iter().map(|(_, at)| format!("{:.2}", millis(histogram, *at)));
    std::iter::once(name.to_owned()).chain(values).collect()
}

/// All of them, in milliseconds, for a file.
pub(crate) fn percentiles(histogram: &Histogram<u64>) -> Value {
    let all = PERCENTILES
        .iter()
        .map(|(name, quantile)| ((*name).to_owned(), json!(millis(histogram, *quantile))));
    Value::Object(all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_clients_recorded_is_taken_once() {
        let recorder = Recorder::default();
        for client in 0..100 {
            recorder.record(client, Duration::from_millis(client as u64 + 1));
        }
        let taken = recorder.take();
        assert_eq!(taken.len(), 100);
        assert!((millis(&taken, 0.5) - 50.0).abs() < 0.1, "{}", millis(&taken, 0.5));
        assert!((millis(&taken, 1.0) - 100.0).abs() < 0.2, "{}", millis(&taken, 1.0));
        assert!(recorder.take().is_empty());
    }
}
