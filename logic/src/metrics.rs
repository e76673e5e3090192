//! Metrics of a logic server, declared in one place.

use std::time::Duration;

imago_kit::meters! {
    /// Registers all metrics of a logic server except those of Redis.
    pub(crate) fn show;

    static HANDLER: HistogramBy = HistogramBy::new(
        "imago_handler_seconds",
        "Time that a handler takes, by command, in seconds.",
        "command",
    );
    static HANDLER_PANICS: Counter =
        Counter::new("imago_handler_panics_total", "Number of requests whose handler panicked.");
    static HANDLER_TIMEOUTS: Counter = Counter::new(
        "imago_handler_timeouts_total",
        "Number of requests whose handler took longer than limits.handler_timeout.",
    );
    static HANDLER_REFUSALS: CounterBy = CounterBy::new(
        "imago_handler_refusals_total",
        "Number of requests answered with an error before their handler ran, by reason.",
        "reason",
        &["server_busy", "session_busy", "session_unknown"],
    );
    static STORE_COMMIT: Histogram = Histogram::hot(
        "imago_store_commit_seconds",
        "Time of one commit of the message store with all of its writes, in seconds.",
    );
    static STORE_WRITES: Counter =
        Counter::hot("imago_store_writes_total", "Number of writes committed by the message store.");
    static STORE_FIT: Gauge = Gauge::new(
        "imago_store_fit",
        "Whether the message store can be written and read: 1 if so, 0 if not.",
    );
    static KICKS: Counter =
        Counter::new("imago_kicks_total", "Number of sessions ended by a newer login.");
    static REDELIVERED: Counter =
        Counter::new("imago_redelivered_messages_total", "Number of messages pushed again.");
    static PRUNED: Counter = Counter::new(
        "imago_pruned_messages_total",
        "Number of messages removed because they are older than store.retention.",
    );
    static PUSHES_TOO_LARGE: Counter = Counter::new(
        "imago_pushes_too_large_total",
        "Number of pushes of handlers dropped because they are larger than a packet may be.",
    );
    static FAN_OUTS_FAILED: Counter = Counter::new(
        "imago_fan_outs_failed_total",
        "Number of group messages not pushed because the members could not be read.",
    );
    static SESSIONS: Gauge =
        Gauge::hot("imago_directory_sessions", "Number of sessions in the directory.");
    static IN_FLIGHT: Gauge = Gauge::hot(
        "imago_requests_in_flight",
        "Number of requests that handlers work on or that wait for one.",
    );
    static REDIS_ERRORS: Counter = Counter::new(
        "imago_directory_redis_errors_total",
        "Number of times that Redis was lost or not found.",
    );
    static LEASES: Gauge = Gauge::new(
        "imago_directory_leases",
        "Number of gateways whose sessions this server writes to Redis.",
    );
    static PENDING_WRITES: Gauge = Gauge::new(
        "imago_directory_pending_writes",
        "Number of changes that wait to be written to Redis.",
    );
    static WRITES: Counter = Counter::new(
        "imago_directory_writes_total",
        "Number of commands by which sessions were written to Redis.",
    );
    static WRITES_DROPPED: Counter = Counter::new(
        "imago_directory_writes_dropped_total",
        "Number of changes that found the queue to Redis full, which writes everything again.",
    );
}

imago_kit::meters! {
    /// Registers the metrics of a directory in Redis. They are absent without one, because a gauge at 0 would
    /// mean an outage.
    pub(crate) fn show_redis;

    static REDIS_UP: Gauge = Gauge::new(
        "imago_directory_redis_up",
        "Whether Redis holds all sessions and is read: 1 if so, 0 if not.",
    );
}

pub(crate) fn handler_timer(command: &str) -> imago_kit::HistogramHandle {
    HANDLER.of(command)
}

pub(crate) fn handler_panic() {
    HANDLER_PANICS.increment(1);
}

pub(crate) fn handler_timeout() {
    HANDLER_TIMEOUTS.increment(1);
}

pub(crate) fn push_too_large() {
    PUSHES_TOO_LARGE.increment(1);
}

pub(crate) fn fan_out_failed() {
    FAN_OUTS_FAILED.increment(1);
}

pub(crate) fn refused(reason: &'static str) {
    HANDLER_REFUSALS.increment(reason, 1);
}

pub(crate) fn store_commit(writes: usize, took: Duration) {
    STORE_COMMIT.record(took.as_secs_f64());
    STORE_WRITES.increment(writes as u64);
}

pub(crate) fn store_fit(is_fit: bool) {
    STORE_FIT.set(if is_fit { 1.0 } else { 0.0 });
}

pub(crate) fn kicked() {
    KICKS.increment(1);
}

pub(crate) fn redelivered(messages: usize) {
    REDELIVERED.increment(messages as u64);
}

pub(crate) fn pruned(messages: usize) {
    PRUNED.increment(messages as u64);
}

pub(crate) fn sessions(count: usize) {
    SESSIONS.set(count as f64);
}

pub(crate) fn in_flight(count: usize) {
    IN_FLIGHT.set(count as f64);
}

pub(crate) fn directory_redis_up(is_up: bool) {
    REDIS_UP.set(if is_up { 1.0 } else { 0.0 });
}

pub(crate) fn directory_redis_error() {
    REDIS_ERRORS.increment(1);
}

pub(crate) fn directory_leases(count: usize) {
    LEASES.set(count as f64);
}

pub(crate) fn directory_pending_writes(count: usize) {
    PENDING_WRITES.set(count as f64);
}

pub(crate) fn directory_written(commands: usize) {
    WRITES.increment(commands as u64);
}

pub(crate) fn directory_write_dropped() {
    WRITES_DROPPED.increment(1);
}
