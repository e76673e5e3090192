//! The recorder behind `/metrics`, for everything that is counted through the `metrics` facade.

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

use ::metrics::{Counter, Gauge, Key, KeyName, Label, Metadata, SharedString, Unit};
use metrics_prometheus::failure::{self, strategy::Strategy};
use parking_lot::{Mutex, MutexGuard};
use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry, TextEncoder};

use crate::{build_info, metrics, process};

/// Bounds of the buckets of all histograms, in seconds.
const BUCKETS: [f64; 16] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
    120.0,
];

/// The recorder is of the process, not of a container: the metrics facade knows only one, and the
/// containers of a process share it.
static RECORDER: OnceLock<Option<Recorded>> = OnceLock::new();

/// What the recorder of this process has counted.
#[derive(Clone, Debug)]
pub struct Recorded(Registry);

impl Recorded {
    /// Returns all metrics, with those of the process, in the text format of Prometheus, version
    /// 0.0.4. It may take some milliseconds.
    pub fn render(&self) -> String {
        let shown = TextEncoder::new().encode_to_string(&self.0.gather());
        let shown = shown.unwrap_or_else(|error| format!("# cannot show the metrics: {error}\n"));
        shown + &process::render()
    }
}

/// Installs the recorder once a process, and returns what reads it; `None` where the process brought
/// a recorder of its own. What was counted before is lost, so this belongs at the start; the monitor
/// port calls it.
pub fn metrics_recorder() -> Option<Recorded> {
    let recorded = RECORDER.get_or_init(|| {
        let (recorder, recorded) = recorder();
        let installed = ::metrics::set_global_recorder(recorder);
        metrics::show();
        build_info::show();
        installed.ok().map(|()| recorded)
    });
    recorded.clone()
}

/// Whether [`metrics_recorder`] was called: what is counted from then on is kept.
pub(crate) fn has_recorder() -> bool {
    RECORDER.get().is_some()
}

/// A recorder, and what reads it.
pub fn recorder() -> (Recorder, Recorded) {
    let registry = Registry::new();
    let inner = metrics_prometheus::Recorder::builder()
        .with_registry(&registry)
        .with_failure_strategy(LeaveOut)
        .build();
    (Recorder { inner, histograms: Mutex::default() }, Recorded(registry))
}

/// A metric that cannot be, as one whose labels are others than before, is left out, and said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaveOut;

impl Strategy for LeaveOut {
    fn decide(&self, error: &prometheus::Error) -> failure::Action {
        tracing::error!(%error, "a metric is not counted");
        failure::Action::NoOp
    }
}

/// Gives histograms their buckets: by themselves, they would have those of the library, from 5 ms on.
#[derive(Debug)]
pub struct Recorder {
    inner: metrics_prometheus::Recorder<LeaveOut>,
    histograms: Mutex<Histograms>,
}

/// Histograms by name.
#[derive(Debug, Default)]
struct Histograms {
    descriptions: HashMap<String, String>,
    have_buckets: HashSet<String>,
}

impl Recorder {
    fn histograms(&self) -> MutexGuard<'_, Histograms> {
        self.histograms.lock()
    }

    /// Registers a histogram under this key's name and labels, unless one of the name is there.
    fn give_buckets(&self, key: &Key) -> prometheus::Result<()> {
        let mut histograms = self.histograms();
        let name = key.name();
        if !histograms.have_buckets.insert(name.to_owned()) {
            return Ok(());
        }
        // The library refuses an empty one.
        let description = histograms.descriptions.get(name).map_or(name, String::as_str);
        let options = HistogramOpts::new(name, description).buckets(BUCKETS.to_vec());
        let labels: Vec<&str> = key.labels().map(Label::key).collect();
        if labels.is_empty() {
            self.inner.try_register_metric(Histogram::with_opts(options)?)
        } else {
            self.inner.try_register_metric(HistogramVec::new(options, &labels)?)
        }
    }
}

impl ::metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_counter(name, unit, description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_gauge(name, unit, description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        let mut histograms = self.histograms();
        histograms.descriptions.insert(name.as_str().to_owned(), description.to_string());
        self.inner.describe_histogram(name, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.inner.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.inner.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> ::metrics::Histogram {
        // What is wrong with it, the next line says.
        let _ = self.give_buckets(key);
        self.inner.register_histogram(key, metadata)
    }
}

#[cfg(test)]
mod tests {
    use ::metrics::{counter, describe_histogram, histogram, with_local_recorder};

    use super::*;

    #[test]
    fn the_recorder_is_shared_by_all_of_the_process() {
        let (one, other) = (metrics_recorder().unwrap(), metrics_recorder().unwrap());
        histogram!("shared_seconds").record(0.02);
        for recorder in [one, other] {
            let text = recorder.render();
            assert!(text.contains("shared_seconds_bucket"), "{text}");
        }
    }

    #[test]
    fn histograms_have_our_buckets_and_their_descriptions_whenever_those_come() {
        let (recorder, recorded) = recorder();
        with_local_recorder(&recorder, || {
            describe_histogram!("before", "Said before");
            for command in ["a", "b"] {
                histogram!("before", "command" => command).record(0.0004);
            }
            histogram!("after").record(0.0004);
            describe_histogram!("after", "Said after");
            histogram!("silent").record(200.0);
        });
        let text = recorded.render();
        for line in [
            "# HELP before Said before",
            "before_bucket{command=\"a\",le=\"0.0001\"} 0",
            "before_bucket{command=\"a\",le=\"0.0005\"} 1",
            "before_count{command=\"b\"} 1",
            "# HELP after Said after",
            "after_bucket{le=\"0.0005\"} 1",
            "silent_bucket{le=\"120\"} 0",
            "silent_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_metric_with_other_labels_than_before_is_left_out_and_harms_nobody() {
        let (recorder, recorded) = recorder();
        with_local_recorder(&recorder, || {
            counter!("calls", "reason" => "a").increment(2);
            counter!("calls", "status" => "b").increment(3);
            histogram!("times", "reason" => "a").record(1.0);
            histogram!("times").record(1.0);
            counter!("not a name").increment(1);
        });
        let text = recorded.render();
        assert!(text.contains("calls{reason=\"a\"} 2"), "{text}");
        assert!(text.contains("times_count{reason=\"a\"} 1"), "{text}");
        assert!(!text.contains("status") && !text.contains("not a name"), "{text}");
    }
}
