//! Metrics of a logic server, named and described in one place.

use std::time::Duration;

use imago_container::{HotCounter, HotGauge, HotHistogram};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Describes every metric to the recorder, for the `# HELP` lines.
pub(crate) fn describe() {
    describe_histogram!(
        "imago_handler_seconds",
        metrics::Unit::Seconds,
        "Time in a handler, by command"
    );
    describe_counter!("imago_handler_panics_total", "Requests whose handler panicked");
    describe_counter!(
        "imago_requests_refused_total",
        "Requests refused before their handler, by reason"
    );
    describe_histogram!(
        "imago_store_commit_seconds",
        metrics::Unit::Seconds,
        "Time of one commit of the message store, with all its writes"
    );
    describe_counter!("imago_store_writes_total", "Writes in these commits");
    describe_gauge!("imago_store_fit", "Whether the message store can be written and read");
    describe_counter!("imago_kicks_total", "Sessions ended for a newer login");
    describe_counter!("imago_redelivered_messages_total", "Messages pushed again");
    describe_counter!("imago_pruned_messages_total", "Messages removed after the retention");
    describe_counter!("imago_handler_timeouts_total", "Requests whose handler took too long");
    describe_counter!(
        "imago_pushes_too_large_total",
        "Pushes of handlers that were dropped for their size"
    );
    describe_counter!(
        "imago_fan_outs_failed_total",
        "Group messages that were not pushed because the members could not be read"
    );
    describe_gauge!("imago_directory_sessions", "Sessions in the directory");
    describe_gauge!(
        "imago_directory_redis_up",
        "Whether Redis holds all sessions and is read, where the directory is there"
    );
    describe_counter!(
        "imago_directory_redis_errors_total",
        "Times that Redis was lost or not found"
    );
    describe_gauge!(
        "imago_directory_leases",
        "Gateways whose sessions this server writes to Redis"
    );
    describe_gauge!("imago_directory_pending_writes", "Changes that wait to be written to Redis");
    describe_counter!("imago_directory_writes_total", "Commands by which sessions were written");
    describe_counter!(
        "imago_directory_writes_dropped_total",
        "Changes that found the queue full, and were made good by writing everything again"
    );
    describe_gauge!("imago_requests_in_flight", "Requests being worked on");
}

pub(crate) fn handler_timer(command: &str) -> metrics::Histogram {
    histogram!("imago_handler_seconds", "command" => command.to_owned())
}

pub(crate) fn handler_panic() {
    counter!("imago_handler_panics_total").increment(1);
}

pub(crate) fn handler_timeout() {
    counter!("imago_handler_timeouts_total").increment(1);
}

pub(crate) fn push_too_large() {
    counter!("imago_pushes_too_large_total").increment(1);
}

pub(crate) fn fan_out_failed() {
    counter!("imago_fan_outs_failed_total").increment(1);
}

pub(crate) fn refused(reason: &'static str) {
    counter!("imago_requests_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn store_commit(writes: usize, took: Duration) {
    static SECONDS: HotHistogram = HotHistogram::new("imago_store_commit_seconds");
    static COUNTER: HotCounter = HotCounter::new("imago_store_writes_total");
    SECONDS.record(took.as_secs_f64());
    COUNTER.increment(writes as u64);
}

pub(crate) fn store_fit(is_fit: bool) {
    gauge!("imago_store_fit").set(if is_fit { 1.0 } else { 0.0 });
}

pub(crate) fn kicked() {
    counter!("imago_kicks_total").increment(1);
}

pub(crate) fn redelivered(messages: usize) {
    counter!("imago_redelivered_messages_total").increment(messages as u64);
}

pub(crate) fn pruned(messages: usize) {
    counter!("imago_pruned_messages_total").increment(messages as u64);
}

pub(crate) fn sessions(count: usize) {
    static GAUGE: HotGauge = HotGauge::new("imago_directory_sessions");
    GAUGE.set(count as f64);
}

pub(crate) fn in_flight(count: usize) {
    static GAUGE: HotGauge = HotGauge::new("imago_requests_in_flight");
    GAUGE.set(count as f64);
}

pub(crate) fn directory_redis_up(is_up: bool) {
    gauge!("imago_directory_redis_up").set(if is_up { 1.0 } else { 0.0 });
}

pub(crate) fn directory_redis_error() {
    counter!("imago_directory_redis_errors_total").increment(1);
}

pub(crate) fn directory_leases(count: usize) {
    gauge!("imago_directory_leases").set(count as f64);
}

pub(crate) fn directory_pending_writes(count: usize) {
    gauge!("imago_directory_pending_writes").set(count as f64);
}

pub(crate) fn directory_written(commands: usize) {
    counter!("imago_directory_writes_total").increment(commands as u64);
}

pub(crate) fn directory_write_dropped() {
    counter!("imago_directory_writes_dropped_total").increment(1);
}
