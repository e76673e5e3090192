//! Metrics as each crate declares them: in one table, from which all are shown from the start.
//!
//! A counter that appears with its first event has no value before it, so that neither `rate()` nor
//! an alert sees that event. [`meters!`](crate::meters) is therefore the one way to declare metrics.

use std::sync::OnceLock;

use crate::recorder::has_recorder;

/// Declares metrics as statics, and a function that describes all of them and shows those with known
/// labels with the value 0.
///
/// ```
/// imago_kit::meters! {
///     /// Shows the metrics of a kitchen.
///     fn show;
///
///     static DISHES: Counter = Counter::new("kitchen_dishes_total", "Number of dishes served.");
///     static RETURNED: CounterBy = CounterBy::new(
///         "kitchen_returned_total", "Number of dishes sent back, by reason.", "reason", &["cold"],
///     );
/// }
/// show();
/// DISHES.increment(1);
/// RETURNED.increment("cold", 1);
/// ```
#[macro_export]
macro_rules! meters {
    (
        $(#[$doc:meta])*
        $visibility:vis fn $show:ident;
        $($(#[$comment:meta])* static $name:ident: $kind:ident = $value:expr;)+
    ) => {
        $($(#[$comment])* static $name: $crate::$kind = { use $crate::$kind; $value };)+

        $(#[$doc])*
        $visibility fn $show() {
            $($name.show();)+
        }
    };
}

macro_rules! meter {
    ($(#[$doc:meta])* $name:ident, $find:ident, $describe:ident) => {
        $(#[$doc])*
        pub struct $name {
            name: &'static str,
            help: &'static str,
            is_hot: bool,
            found: OnceLock<metrics::$name>,
        }

        impl $name {
            /// Declares one by its name and what it counts, with the unit.
            pub const fn new(name: &'static str, help: &'static str) -> Self {
                Self { name, help, is_hot: false, found: OnceLock::new() }
            }

            /// Declares one that is used for every message: it is looked up by name only once.
            pub const fn hot(name: &'static str, help: &'static str) -> Self {
                Self { name, help, is_hot: true, found: OnceLock::new() }
            }

            /// Describes it, and shows it with the value that it has.
            pub fn show(&self) {
                metrics::$describe!(self.name, self.help);
                self.with(|_| ());
            }

            fn with(&self, act: impl FnOnce(&metrics::$name)) {
                if let Some(found) = self.found.get() {
                    return act(found);
                }
                let found = metrics::$find!(self.name);
                act(&found);
                // What is found before there is a recorder counts nothing, ever.
                if self.is_hot && has_recorder() {
                    let _ = self.found.set(found);
                }
            }
        }
    };
}

meter! {
    /// A counter without labels.
    Counter, counter, describe_counter
}
meter! {
    /// A gauge without labels.
    Gauge, gauge, describe_gauge
}
meter! {
    /// A histogram of seconds without labels.
    Histogram, histogram, describe_histogram
}

impl Counter {
    /// Counts `by` more.
    pub fn increment(&self, by: u64) {
        self.with(|counter| counter.increment(by));
    }
}

impl Gauge {
    /// Shows `value` from now on.
    pub fn set(&self, value: f64) {
        self.with(|gauge| gauge.set(value));
    }

    /// Adds to what is shown.
    pub fn add(&self, by: f64) {
        self.with(|gauge| gauge.increment(by));
    }
}

impl Histogram {
    /// Records one value.
    pub fn record(&self, value: f64) {
        self.with(|histogram| histogram.record(value));
    }
}

/// A counter with one label, whose values are known.
pub struct CounterBy {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: &'static [&'static str],
    found: OnceLock<Vec<metrics::Counter>>,
}

impl CounterBy {
    /// Declares one by its name, what it counts, its label, and all values of that.
    pub const fn new(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &'static [&'static str],
    ) -> Self {
        Self { name, help, label, values, found: OnceLock::new() }
    }

    /// Describes it, and shows it for each value of its label.
    pub fn show(&self) {
        metrics::describe_counter!(self.name, self.help);
        self.values.iter().for_each(|value| self.increment(value, 0));
    }

    /// Counts `by` more for a value of the label. A value that is not declared counts as well, and is
    /// shown from then on.
    pub fn increment(&self, value: &str, by: u64) {
        let at = self.values.iter().position(|known| *known == value);
        let found = self.found.get().zip(at).and_then(|(found, at)| found.get(at));
        if let Some(counter) = found {
            return counter.increment(by);
        }
        self.find(value).increment(by);
        if has_recorder() {
            self.found.get_or_init(|| self.values.iter().map(|value| self.find(value)).collect());
        }
    }

    fn find(&self, value: &str) -> metrics::Counter {
        metrics::counter!(self.name, self.label => value.to_owned())
    }
}

/// A histogram of seconds with one label, whose values are known only at run time.
pub struct HistogramBy {
    name: &'static str,
    help: &'static str,
    label: &'static str,
}

impl HistogramBy {
    /// Declares one by its name, what it measures, and its label.
    pub const fn new(name: &'static str, help: &'static str, label: &'static str) -> Self {
        Self { name, help, label }
    }

    /// Describes it.
    pub fn show(&self) {
        metrics::describe_histogram!(self.name, self.help);
    }

    /// Returns the histogram of a value of the label, shown from now on.
    pub fn of(&self, value: &str) -> metrics::Histogram {
        metrics::histogram!(self.name, self.label => value.to_owned())
    }
}

/// A gauge that is 1, whose labels tell something of the process.
pub struct Info {
    name: &'static str,
    help: &'static str,
}

impl Info {
    /// Declares one by its name and what its labels tell.
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help }
    }

    /// Describes it.
    pub fn show(&self) {
        metrics::describe_gauge!(self.name, self.help);
    }

    /// Shows it with these labels.
    pub fn tell(&self, labels: &[(&'static str, &'static str)]) {
        metrics::gauge!(self.name, labels).set(1.0);
    }
}

#[cfg(test)]
mod tests {
    meters! {
        /// Shows the metrics of these tests.
        fn show;

        static EVENTS: Counter = Counter::hot("meter_test_total", "Number of events.");
        static COLD: Counter = Counter::new("meter_cold_total", "Number of rare events.");
        static BY: CounterBy =
            CounterBy::new("meter_by_total", "Number of events, by kind.", "is", &["it", "other"]);
        static SIZE: Gauge = Gauge::hot("meter_test_size", "Size, in bytes.");
        static SECONDS: Histogram = Histogram::hot("meter_test_seconds", "Time, in seconds.");
        static TIMES: HistogramBy = HistogramBy::new("meter_by_seconds", "Time, by kind.", "is");
        static ABOUT: Info = Info::new("meter_test_info", "Kind of test, as labels.");
    }

    #[track_caller]
    fn assert_shown(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|shown| shown == *line), "{line} is not in {text}");
        }
    }

    #[test]
    fn what_is_declared_is_shown_at_0_and_counts() {
        let recorder = crate::recorder::metrics_recorder().unwrap();
        show();
        drop(TIMES.of("it"));
        ABOUT.tell(&[("kind", "unit")]);
        assert_shown(
            &recorder.render(),
            &[
                "# HELP meter_test_total Number of events.",
                "# TYPE meter_test_total counter",
                "meter_test_total 0",
                "meter_cold_total 0",
                "meter_by_total{is=\"it\"} 0",
                "meter_by_total{is=\"other\"} 0",
                "meter_test_size 0",
                "# HELP meter_test_seconds Time, in seconds.",
                "meter_test_seconds_count 0",
                "meter_by_seconds_count{is=\"it\"} 0",
                "meter_test_info{kind=\"unit\"} 1",
            ],
        );
        for _ in 0..3 {
            EVENTS.increment(2);
            COLD.increment(1);
            BY.increment("it", 1);
            BY.increment("undeclared", 1);
            SIZE.set(9.0);
            SIZE.add(-2.0);
            SECONDS.record(0.25);
            TIMES.of("it").record(0.5);
        }
        // Another server of the process shows them again.
        show();
        assert_shown(
            &recorder.render(),
            &[
                "meter_test_total 6",
                "meter_cold_total 3",
                "meter_by_total{is=\"it\"} 3",
                "meter_by_total{is=\"other\"} 0",
                "meter_by_total{is=\"undeclared\"} 3",
                "meter_test_size 7",
                "meter_test_seconds_count 3",
                "meter_by_seconds_count{is=\"it\"} 3",
            ],
        );
    }
}
