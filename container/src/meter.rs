//! Metrics for what happens with every message: looked up by name once, not each time.

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::recorder::has_recorder;

macro_rules! meter {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $find:ident) => {
        $(#[$doc])*
        pub struct $name {
            name: &'static str,
            label: Option<(&'static str, &'static str)>,
            found: OnceLock<$kind>,
        }

        impl $name {
            /// Of this name, without labels.
            pub const fn new(name: &'static str) -> Self {
                Self { name, label: None, found: OnceLock::new() }
            }

            /// Of this name, with a label and its value.
            pub const fn labelled(
                name: &'static str,
                label: &'static str,
                value: &'static str,
            ) -> Self {
                Self { name, label: Some((label, value)), found: OnceLock::new() }
            }

            fn with(&self, act: impl FnOnce(&$kind)) {
                if let Some(found) = self.found.get() {
                    return act(found);
                }
                let found = match self.label {
                    Some((label, value)) => $find!(self.name, label => value),
                    None => $find!(self.name),
                };
                act(&found);
                // What is found before there is a recorder counts nothing, ever.
                if has_recorder() {
                    let _ = self.found.set(found);
                }
            }
        }
    };
}

meter! {
    /// A counter that is used for every message.
    HotCounter, Counter, counter
}
meter! {
    /// A gauge that is set for every message.
    HotGauge, Gauge, gauge
}
meter! {
    /// A histogram that is used for every message.
    HotHistogram, Histogram, histogram
}

impl HotCounter {
    /// Counts so many.
    pub fn increment(&self, by: u64) {
        self.with(|counter| counter.increment(by));
    }
}

impl HotGauge {
    /// Shows this from now on.
    pub fn set(&self, value: f64) {
        self.with(|gauge| gauge.set(value));
    }

    /// Adds to what is shown.
    pub fn add(&self, by: f64) {
        self.with(|gauge| gauge.increment(by));
    }
}

impl HotHistogram {
    /// Records one value.
    pub fn record(&self, value: f64) {
        self.with(|histogram| histogram.record(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        static COUNTER: HotCounter = HotCounter::new("meter_test_total");
        static LABELLED: HotCounter = HotCounter::labelled("meter_labelled_total", "is", "it");
        static GAUGE: HotGauge = HotGauge::new("meter_test_size");
        static HISTOGRAM: HotHistogram = HotHistogram::new("meter_test_seconds");
        let recorder = crate::recorder::metrics_recorder().unwrap();
        for _ in 0..3 {
            COUNTER.increment(2);
            LABELLED.increment(1);
            GAUGE.set(9.0);
            GAUGE.add(-2.0);
            HISTOGRAM.record(0.25);
        }
        let text = recorder.render();
        let labelled = "meter_labelled_total{is=\"it\"} 3";
        for line in
            ["meter_test_total 6", labelled, "meter_test_size 7", "meter_test_seconds_count 3"]
        {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
        }
    }
}
