//! Logs to standard error, and the recorder behind `/metrics`.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::{metrics, settings::Settings};

/// How a server logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Level, or a filter such as `info,imago_container=debug`.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl LogConfig {
    /// Reads the `log` section. Errors are collected in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let level = settings.text("log.level");
        if let Err(error) = EnvFilter::try_new(&level) {
            let why = format!(
                "expected off, error, warn, info, debug, trace, or a filter of them ({error})"
            );
            settings.reject("log.level", &why);
        }
        Self { level, json: settings.choice("log.format", &["text", "json"]) == "json" }
    }

    /// Starts logging to standard error. A second call in one process changes nothing.
    pub fn init(&self) {
        let filter = EnvFilter::try_new(&self.level).unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // Another container of this process logs already.
        let _ = if self.json { logs.json().try_init() } else { logs.try_init() };
    }
}

/// The recorder is of the process, not of a container: the metrics facade knows only one.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Bounds of the buckets of all histograms, in seconds.
const BUCKETS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Installs the recorder once a process, and returns it; `None` where the process brought a
/// recorder of its own.
pub fn metrics_recorder() -> Option<PrometheusHandle> {
    let recorder = RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?;
        let handle = builder.install_recorder().ok()?;
        metrics::describe();
        Some(handle)
    });
    recorder.clone()
}
