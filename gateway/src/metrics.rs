//! Metrics of a gateway, named and described in one place.

use imago_container::{HotCounter, HotGauge};
use imago_proto::Status;
use metrics::{counter, describe_counter, describe_gauge, gauge};

/// Describes every metric to the recorder, for the `# HELP` lines.
pub(crate) fn describe() {
    describe_gauge!("imago_connections_open", "Clients connected");
    describe_counter!("imago_connections_total", "Clients that connected");
    describe_gauge!("imago_sessions_open", "Clients logged in or logging in");
    describe_counter!(
        "imago_sessions_expired_total",
        "Sessions ended because the token of their client had expired"
    );
    describe_counter!(
        "imago_sessions_replaced_total",
        "Sessions ended because their account had too many, and they were silent"
    );
    describe_counter!("imago_requests_total", "Requests of clients");
    describe_counter!(
        "imago_requests_refused_total",
        "Requests that this gateway refused, by status"
    );
    describe_counter!("imago_logins_refused_total", "Logins that this gateway refused, by status");
    describe_counter!(
        "imago_protocol_errors_total",
        "Connections ended because a client sent no frame, no packet, or too large a one"
    );
    describe_gauge!("imago_connections_unauthenticated", "Connections that have not logged in");
    describe_counter!(
        "imago_unauthenticated_evicted_total",
        "Connections closed for want of room because they had not logged in"
    );
    describe_gauge!("imago_input_bytes", "Bytes of packets that have not arrived in whole");
    describe_counter!(
        "imago_input_evicted_total",
        "Clients closed because all of them hold too much of packets that have not arrived in whole"
    );
    describe_gauge!("imago_queued_bytes", "Bytes that wait for clients");
    describe_counter!(
        "imago_queue_evicted_total",
        "Clients cut off because too much waits for all of them together"
    );
    describe_counter!("imago_slow_readers_total", "Clients cut off because they read too slowly");
    describe_counter!("imago_client_sent_bytes_total", "Bytes sent to clients");
    describe_gauge!("imago_sessions_owed", "Sessions that pushes may be missing at");
    describe_counter!("imago_redeliveries_total", "Redeliveries of a session asked for");
    describe_counter!(
        "imago_pushes_held_total",
        "Pushes that waited for one before them in their conversation"
    );
    describe_counter!(
        "imago_pushes_skipped_total",
        "Pushes not given to a session: duplicates, and those that had no room to wait, which a \
         redelivery brings"
    );
}

/// Counts a connection for as long as it is kept, however it ends.
pub(crate) struct OpenConnection(());

impl OpenConnection {
    pub(crate) fn new() -> Self {
        counter!("imago_connections_total").increment(1);
        gauge!("imago_connections_open").increment(1.0);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        gauge!("imago_connections_open").decrement(1.0);
    }
}

pub(crate) fn session_opened() {
    gauge!("imago_sessions_open").increment(1.0);
}

pub(crate) fn session_closed() {
    gauge!("imago_sessions_open").decrement(1.0);
}

pub(crate) fn session_expired() {
    counter!("imago_sessions_expired_total").increment(1);
}

pub(crate) fn session_replaced() {
    counter!("imago_sessions_replaced_total").increment(1);
}

pub(crate) fn request() {
    static COUNTER: HotCounter = HotCounter::new("imago_requests_total");
    COUNTER.increment(1);
}

/// Under overload, "busy" is said more often than anything else.
pub(crate) fn refused(status: Status) {
    static BUSY: HotCounter = HotCounter::labelled("imago_requests_refused_total", "status", "300");
    if status == Status::SystemException {
        return BUSY.increment(1);
    }
    counter!("imago_requests_refused_total", "status" => status.code().to_string()).increment(1);
}

pub(crate) fn login_refused(status: Status) {
    counter!("imago_logins_refused_total", "status" => status.code().to_string()).increment(1);
}

pub(crate) fn protocol_error() {
    counter!("imago_protocol_errors_total").increment(1);
}

pub(crate) fn unauthenticated(count: usize) {
    static GAUGE: HotGauge = HotGauge::new("imago_connections_unauthenticated");
    GAUGE.set(count as f64);
}

pub(crate) fn unauthenticated_evicted() {
    counter!("imago_unauthenticated_evicted_total").increment(1);
}

pub(crate) fn input_bytes(by: f64) {
    static GAUGE: HotGauge = HotGauge::new("imago_input_bytes");
    GAUGE.add(by);
}

pub(crate) fn input_evicted() {
    counter!("imago_input_evicted_total").increment(1);
}

pub(crate) fn queued_bytes(by: f64) {
    static GAUGE: HotGauge = HotGauge::new("imago_queued_bytes");
    GAUGE.add(by);
}

pub(crate) fn queue_evicted() {
    counter!("imago_queue_evicted_total").increment(1);
}

pub(crate) fn slow_reader() {
    counter!("imago_slow_readers_total").increment(1);
}

pub(crate) fn sent(bytes: usize) {
    static COUNTER: HotCounter = HotCounter::new("imago_client_sent_bytes_total");
    COUNTER.increment(bytes as u64);
}

pub(crate) fn sessions_owed(sessions: usize) {
    static GAUGE: HotGauge = HotGauge::new("imago_sessions_owed");
    GAUGE.set(sessions as f64);
}

pub(crate) fn redeliveries(sessions: usize) {
    static COUNTER: HotCounter = HotCounter::new("imago_redeliveries_total");
    COUNTER.increment(sessions as u64);
}

pub(crate) fn push_held() {
    static COUNTER: HotCounter = HotCounter::new("imago_pushes_held_total");
    COUNTER.increment(1);
}

pub(crate) fn push_skipped() {
    static COUNTER: HotCounter =
        HotCounter::labelled("imago_pushes_skipped_total", "reason", "duplicate");
    COUNTER.increment(1);
}

pub(crate) fn push_without_room() {
    static COUNTER: HotCounter =
        HotCounter::labelled("imago_pushes_skipped_total", "reason", "no_room");
    COUNTER.increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_counted_where_every_other_refusal_is() {
        let recorder = imago_container::metrics_recorder().unwrap();
        let count = |status: Status| {
            let line = format!("imago_requests_refused_total{{status=\"{}\"}} ", status.code());
            let text = recorder.render();
            let shown = text.lines().find_map(|shown| shown.strip_prefix(&line)?.parse().ok());
            shown.unwrap_or(0_u64)
        };
        for status in [Status::SystemException, Status::InvalidCommand] {
            let before = count(status);
            refused(status);
            assert!(count(status) > before, "{status:?}");
        }
    }
}
