//! Bounds the log lines of libraries that log once for each thing that comes from outside.

use std::{cell::Cell, time::Duration};

use crate::{LogLimit, Suppressed};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::metrics;

/// Targets of such libraries: gossip has a line for each datagram that is none.
const LIBRARIES: [&str; 1] = ["chitchat"];
/// How often a line of one place in their code is logged.
const INTERVAL: Duration = Duration::from_secs(60);

thread_local! {
    /// Lines that were left out before the one that is about to be written.
    static LEFT_OUT: Cell<u64> = const { Cell::new(0) };
}

/// Lets one line a minute pass for each place in a library's code. Finer levels, which are not written unless
/// asked for, are not limited.
#[derive(Debug)]
pub(crate) struct LibraryLog(LogLimit);

impl Default for LibraryLog {
    fn default() -> Self {
        Self(LogLimit::every(INTERVAL))
    }
}

impl<S: Subscriber> Layer<S> for LibraryLog {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let place = event.metadata();
        let library = place.target().split("::").next().unwrap_or_default();
        if !LIBRARIES.contains(&library) || *place.level() > Level::INFO {
            return true;
        }
        match self.0.allow(place.name()) {
            Some(Suppressed(lines)) => {
                LEFT_OUT.set(lines);
                true
            }
            None => {
                metrics::log_line_left_out();
                false
            }
        }
    }
}

/// How many lines were left out before the one that is being written; asked once.
pub(crate) fn left_out() -> Suppressed {
    Suppressed(LEFT_OUT.take())
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::log_context::{JsonLines, Log, TextFields};

    /// Logs as the library does, and as others do.
    fn log_much(limit: LibraryLog, subscriber: impl Subscriber + Send + Sync + 'static) {
        let invalid = || tracing::warn!(target: "chitchat::transport", from = 1, "invalid");
        tracing::subscriber::with_default(subscriber.with(limit), || {
            for _ in 0..300 {
                invalid();
                tracing::warn!(target: "my_handlers", "own");
                tracing::debug!(target: "chitchat::server", "detail");
            }
            std::thread::sleep(Duration::from_millis(60));
            invalid();
            tracing::info!(target: "chitchat::server", "another place");
        });
    }

    fn short() -> LibraryLog {
        LibraryLog(LogLimit::every(Duration::from_millis(50)))
    }

    #[test]
    fn a_library_that_logs_without_end_is_heard_now_and_then() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_writer(log.clone())
            .with_ansi(false)
            .fmt_fields(TextFields(tracing_subscriber::fmt::format::DefaultFields::new()))
            .finish();
        log_much(short(), subscriber);
        let lines = log.lines();
        let count = |words: &str| lines.iter().filter(|line| line.contains(words)).count();
        assert_eq!((count(" own"), count(" detail"), count("another place")), (300, 300, 1));
        assert!((2..20).contains(&count("invalid")), "{}", count("invalid"));
        let last = lines.iter().rfind(|line| line.contains("invalid")).unwrap();
        assert!(last.contains("invalid from=1 … and ") && last.ends_with(" more"), "{last}");
    }

    #[test]
    fn lines_of_json_tell_how_many_were_left_out() {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .json()
            .map_event_format(JsonLines)
            .finish();
        log_much(short(), subscriber);
        let lines = log.lines();
        let last = lines.iter().rfind(|line| line.contains("invalid")).unwrap();
        let last: serde_json::Value = serde_json::from_str(last).unwrap();
        assert!(last["left_out"].as_u64().unwrap() > 100, "{last}");
    }
}
