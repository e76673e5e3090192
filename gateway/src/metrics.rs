//! Metrics of a gateway, declared in one place.

use imago_proto::Status;

/// Codes of all statuses but success.
const REFUSALS: [&str; 8] = ["100", "101", "103", "105", "300", "301", "302", "404"];

imago_kit::meters! {
    /// Shows all metrics of a gateway.
    pub(crate) fn show;

    static CONNECTIONS_OPEN: Gauge =
        Gauge::new("imago_connections_open", "Number of open client connections.");
    static CONNECTIONS: Counter =
        Counter::new("imago_connections_total", "Number of client connections accepted.");
    static SESSIONS_OPEN: Gauge = Gauge::new(
        "imago_sessions_open",
        "Number of clients that are logged in or are logging in.",
    );
    static SESSIONS_EXPIRED: Counter = Counter::new(
        "imago_sessions_expired_total",
        "Number of sessions ended because the token of their client had expired.",
    );
    static SESSIONS_REPLACED: Counter = Counter::new(
        "imago_sessions_replaced_total",
        "Number of silent sessions ended to make room for a new one of their account.",
    );
    static REQUESTS: Counter =
        Counter::hot("imago_requests_total", "Number of requests received from clients.");
    static REQUESTS_REFUSED: CounterBy = CounterBy::new(
        "imago_requests_refused_total",
        "Number of client requests that this gateway answered with an error, by status code.",
        "status",
        &REFUSALS,
    );
    static LOGINS_REFUSED: CounterBy = CounterBy::new(
        "imago_logins_refused_total",
        "Number of logins that this gateway refused, by status code.",
        "status",
        &REFUSALS,
    );
    static PROTOCOL_ERRORS: Counter = Counter::new(
        "imago_protocol_errors_total",
        "Number of connections ended for an invalid frame, an invalid packet, or one over the limit.",
    );
    static UNAUTHENTICATED: Gauge = Gauge::hot(
        "imago_connections_unauthenticated",
        "Number of open client connections that have not logged in.",
    );
    static UNAUTHENTICATED_EVICTED: Counter = Counter::new(
        "imago_unauthenticated_evicted_total",
        "Number of connections closed before their login to make room (limits.unauthenticated).",
    );
    static INPUT_BYTES: Gauge = Gauge::hot(
        "imago_input_bytes",
        "Size of all packets that have arrived in part, in bytes.",
    );
    static INPUT_EVICTED: Counter = Counter::new(
        "imago_input_evicted_total",
        "Number of clients closed because packets that arrived in part are over limits.input_total.",
    );
    static QUEUED_BYTES: Gauge =
        Gauge::hot("imago_queued_bytes", "Size of all packets that wait for clients, in bytes.");
    static QUEUE_EVICTED: Counter = Counter::new(
        "imago_queue_evicted_total",
        "Number of clients cut off because what waits for all clients is over limits.queue_total.",
    );
    static SLOW_READERS: Counter = Counter::new(
        "imago_slow_readers_total",
        "Number of clients cut off because they read too slowly.",
    );
    static CLIENT_SENT: Counter =
        Counter::hot("imago_client_sent_bytes_total", "Number of bytes sent to clients.");
    static SESSIONS_OWED: Gauge = Gauge::hot(
        "imago_sessions_owed",
        "Number of sessions that may miss pushes until a redelivery.",
    );
    static REDELIVERIES: Counter = Counter::hot(
        "imago_redeliveries_total",
        "Number of redeliveries requested from logic servers, one for each session.",
    );
    static PUSHES_HELD: Counter = Counter::hot(
        "imago_pushes_held_total",
        "Number of pushes that waited for an earlier one of their conversation.",
    );
    static PUSHES_SKIPPED: CounterBy = CounterBy::new(
        "imago_pushes_skipped_total",
        "Number of pushes not given to a session, by reason: duplicate, or no_room to wait, which a \
         redelivery brings.",
        "reason",
        &["duplicate", "no_room"],
    );
}

/// Counts a connection for as long as it is kept, however it ends.
pub(crate) struct OpenConnection(());

impl OpenConnection {
    pub(crate) fn new() -> Self {
        CONNECTIONS.increment(1);
        CONNECTIONS_OPEN.add(1.0);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        CONNECTIONS_OPEN.add(-1.0);
    }
}

pub(crate) fn session_opened() {
    SESSIONS_OPEN.add(1.0);
}

pub(crate) fn session_closed() {
    SESSIONS_OPEN.add(-1.0);
}

pub(crate) fn session_expired() {
    SESSIONS_EXPIRED.increment(1);
}

pub(crate) fn session_replaced() {
    SESSIONS_REPLACED.increment(1);
}

pub(crate) fn request() {
    REQUESTS.increment(1);
}

pub(crate) fn refused(status: Status) {
    REQUESTS_REFUSED.increment(code(status), 1);
}

pub(crate) fn login_refused(status: Status) {
    LOGINS_REFUSED.increment(code(status), 1);
}

/// A status as a label.
fn code(status: Status) -> &'static str {
    match status {
        Status::Success => "0",
        Status::NoDestination => "100",
        Status::InvalidPacketBody => "101",
        Status::InvalidCommand => "103",
        Status::Unauthorized => "105",
        Status::SystemException => "300",
        Status::NotImplemented => "301",
        Status::ServiceNotFound => "302",
        Status::SessionNotFound => "404",
    }
}

pub(crate) fn protocol_error() {
    PROTOCOL_ERRORS.increment(1);
}

pub(crate) fn unauthenticated(count: usize) {
    UNAUTHENTICATED.set(count as f64);
}

pub(crate) fn unauthenticated_evicted() {
    UNAUTHENTICATED_EVICTED.increment(1);
}

pub(crate) fn input_bytes(by: f64) {
    INPUT_BYTES.add(by);
}

pub(crate) fn input_evicted() {
    INPUT_EVICTED.increment(1);
}

pub(crate) fn queued_bytes(by: f64) {
    QUEUED_BYTES.add(by);
}

pub(crate) fn queue_evicted() {
    QUEUE_EVICTED.increment(1);
}

pub(crate) fn slow_reader() {
    SLOW_READERS.increment(1);
}

pub(crate) fn sent(bytes: usize) {
    CLIENT_SENT.increment(bytes as u64);
}

pub(crate) fn sessions_owed(sessions: usize) {
    SESSIONS_OWED.set(sessions as f64);
}

pub(crate) fn redeliveries(sessions: usize) {
    REDELIVERIES.increment(sessions as u64);
}

pub(crate) fn push_held() {
    PUSHES_HELD.increment(1);
}

pub(crate) fn push_skipped() {
    PUSHES_SKIPPED.increment("duplicate", 1);
}

pub(crate) fn push_without_room() {
    PUSHES_SKIPPED.increment("no_room", 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_counted_by_its_code_and_shown_before() {
        let recorder = imago_container::metrics_recorder().unwrap();
        show();
        let count = |metric: &str, status: Status| {
            let line = format!("{metric}{{status=\"{}\"}} ", status.code());
            let text = recorder.render();
            text.lines().find_map(|shown| shown.strip_prefix(&line)?.parse::<u64>().ok())
        };
        let statuses = (1..1000).filter_map(Status::from_code);
        for status in statuses {
            for (metric, increment) in [
                ("imago_requests_refused_total", refused as fn(Status)),
                ("imago_logins_refused_total", login_refused),
            ] {
                let before = count(metric, status);
                increment(status);
                // Other tests refuse, too.
                let shown = before.is_some_and(|before| count(metric, status) > Some(before));
                assert!(shown, "{metric} of {status:?}: {before:?}");
            }
        }
    }
}
