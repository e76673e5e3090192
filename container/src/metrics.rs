//! Metrics of the container, declared in one place.

use std::time::Duration;

use imago_kit::Recorded;

use imago_kit::unix_nanos;

/// Reasons for which a handshake is refused, as `reason_label` writes them.
pub(crate) const REFUSED_REASONS: [&str; 9] =
    ["unknown", "cluster", "version", "mac", "role", "duplicate", "malformed", "identity", "held"];

/// Reasons for which a dial does not become a link, as `LinkError::label` writes them.
pub(crate) const DIAL_FAILURES: [&str; 14] = [
    "address",
    "resolve",
    "connect",
    "timeout",
    "broken",
    "unknown",
    "cluster",
    "version",
    "mac",
    "role",
    "duplicate",
    "malformed",
    "identity",
    "held",
];

imago_kit::meters! {
    /// Shows all metrics of the container.
    fn show;

    static LINKS_OPEN: Gauge =
        Gauge::new("imago_links_open", "Number of links that are up.");
    static LINKS_OPENED: Counter =
        Counter::new("imago_links_opened_total", "Number of links that came up.");
    static LINKS_LOST: Counter =
        Counter::new("imago_links_lost_total", "Number of links that ended.");
    static LINK_RECEIVED: Counter = Counter::hot(
        "imago_link_received_bytes_total",
        "Number of bytes received over links.",
    );
    static LINK_SENT: Counter =
        Counter::hot("imago_link_sent_bytes_total", "Number of bytes sent over links.");
    static LINK_REFUSED: CounterBy = CounterBy::new(
        "imago_link_refused_total",
        "Number of link handshakes refused by either side, by reason.",
        "reason",
        &REFUSED_REASONS,
    );
    static DIALS_FAILED: CounterBy = CounterBy::new(
        "imago_link_dials_failed_total",
        "Number of dials that did not become a link, by reason.",
        "reason",
        &DIAL_FAILURES,
    );
    static LINK_SYNC: Histogram = Histogram::new(
        "imago_link_sync_seconds",
        "Time from the start of a link until its gateway has told all of its sessions, in seconds.",
    );
    static HANDSHAKES_OPEN: Gauge = Gauge::hot(
        "imago_link_handshakes_open",
        "Number of connections on the link port that are in their handshake.",
    );
    static HANDSHAKES_EVICTED: Counter = Counter::new(
        "imago_link_handshakes_evicted_total",
        "Number of handshakes broken off to make room for newer ones (link.handshakes).",
    );
    static MONITOR_OPEN: Gauge = Gauge::hot(
        "imago_monitor_connections_open",
        "Number of open connections on the monitor port.",
    );
    static MONITOR_EVICTED: Counter = Counter::new(
        "imago_monitor_evicted_total",
        "Number of monitor connections ended to make room for newer ones (monitor.connections).",
    );
    static MONITOR_MISDIRECTED: Counter = Counter::new(
        "imago_monitor_misdirected_total",
        "Number of monitor requests refused for their Host (monitor.hosts).",
    );
    static FORWARDS: Counter = Counter::hot(
        "imago_forwards_total",
        "Number of requests that were queued for a logic server, retries included.",
    );
    static FORWARDS_HELD: Counter = Counter::new(
        "imago_forwards_held_total",
        "Number of requests that waited because no logic server could take them.",
    );
    static FORWARDS_REFUSED: Counter = Counter::hot(
        "imago_forwards_refused_total",
        "Number of requests answered \"busy\" because answers of the logic server are late.",
    );
    static ANSWERS_LATE: Counter = Counter::new(
        "imago_answers_late_total",
        "Number of answers of logic servers to requests that were no longer waiting.",
    );
    static PUSHES_PARKED: Counter = Counter::new(
        "imago_pushes_parked_total",
        "Number of pushes queued while the link with their gateway was down.",
    );
    static PUSHES_DROPPED: Counter = Counter::new(
        "imago_pushes_dropped_total",
        "Number of pushes dropped because a queue was full; they are redelivered later.",
    );
    static REGISTRY_ERRORS: Counter =
        Counter::new("imago_registry_errors_total", "Number of failed registry operations.");
    static REGISTRY_VANISHED: Counter = Counter::new(
        "imago_registry_vanished_total",
        "Number of servers that left the registry while their link was up.",
    );
    static REGISTRY_FOREIGN: Counter = Counter::new(
        "imago_registry_foreign_entries_total",
        "Number of registry entries that were ignored because they are no servers of this project.",
    );
    static PROMOTIONS: Counter =
        Counter::new("imago_promotions_total", "Number of times that this server became Adult.");
    static PROMOTION: Histogram = Histogram::new(
        "imago_promotion_seconds",
        "Time from the start of this server until it became Adult, in seconds.",
    );
    static PROMOTION_LINKED: Histogram = Histogram::new(
        "imago_promotion_linked_seconds",
        "Time from the first link of this server until it became Adult, in seconds.",
    );
    static ADULT_AT: Gauge = Gauge::new(
        "imago_adult_timestamp_seconds",
        "Time at which this server became Adult, in seconds since 1970; 0 before that.",
    );
    static FENCES: Counter =
        Counter::new("imago_fences_total", "Number of times that this gateway was fenced.");
    static FREEZES: Counter = Counter::new(
        "imago_freezes_total",
        "Number of times that this process stood still for longer than link.ping_timeout.",
    );
    static ISOLATIONS: Counter = Counter::new(
        "imago_isolations_total",
        "Number of times that this gateway handed its clients over because it reached no logic server.",
    );
    static ZONE_FALLBACKS: Counter = Counter::new(
        "imago_zone_fallbacks_total",
        "Number of requests that left their zone because it had no logic server.",
    );
}

/// Installs the recorder of this process unless it has one, and shows what containers and registries
/// count. Returns what reads the recorder; `None` where the process brought one of its own. What was
/// counted before is lost, so this belongs at the start; the monitor port calls it.
pub fn metrics_recorder() -> Option<Recorded> {
    let recorded = imago_kit::metrics_recorder();
    show();
    imago_naming::show_metrics();
    recorded
}

pub(crate) fn link_up() {
    LINKS_OPENED.increment(1);
    LINKS_OPEN.add(1.0);
}

pub(crate) fn link_down() {
    LINKS_LOST.increment(1);
    LINKS_OPEN.add(-1.0);
}

pub(crate) fn link_bytes_received(bytes: usize) {
    LINK_RECEIVED.increment(bytes as u64);
}

pub(crate) fn link_bytes_sent(bytes: usize) {
    LINK_SENT.increment(bytes as u64);
}

pub(crate) fn handshake_refused(reason: &'static str) {
    LINK_REFUSED.increment(reason, 1);
}

pub(crate) fn dial_failed(reason: &'static str) {
    DIALS_FAILED.increment(reason, 1);
}

pub(crate) fn handshakes_open(count: usize) {
    HANDSHAKES_OPEN.set(count as f64);
}

pub(crate) fn handshake_evicted() {
    HANDSHAKES_EVICTED.increment(1);
}

pub(crate) fn monitor_open(count: usize) {
    MONITOR_OPEN.set(count as f64);
}

pub(crate) fn monitor_evicted() {
    MONITOR_EVICTED.increment(1);
}

pub(crate) fn misdirected() {
    MONITOR_MISDIRECTED.increment(1);
}

pub(crate) fn forwarded() {
    FORWARDS.increment(1);
}

pub(crate) fn held() {
    FORWARDS_HELD.increment(1);
}

pub(crate) fn forward_refused() {
    FORWARDS_REFUSED.increment(1);
}

pub(crate) fn late_answer() {
    ANSWERS_LATE.increment(1);
}

pub(crate) fn push_parked() {
    PUSHES_PARKED.increment(1);
}

pub(crate) fn push_dropped() {
    PUSHES_DROPPED.increment(1);
}

pub(crate) fn registry_error() {
    REGISTRY_ERRORS.increment(1);
}

pub(crate) fn registry_vanished() {
    REGISTRY_VANISHED.increment(1);
}

pub(crate) fn foreign_entry() {
    REGISTRY_FOREIGN.increment(1);
}

/// `linked`: time since the first link, where there is one.
pub(crate) fn promoted(after: Duration, linked: Option<Duration>) {
    PROMOTIONS.increment(1);
    ADULT_AT.set(unix_nanos() as f64 / 1e9);
    PROMOTION.record(after.as_secs_f64());
    if let Some(linked) = linked {
        PROMOTION_LINKED.record(linked.as_secs_f64());
    }
}

pub(crate) fn link_synced(after: Duration) {
    LINK_SYNC.record(after.as_secs_f64());
}

pub(crate) fn fenced() {
    FENCES.increment(1);
}

pub(crate) fn stood_still() {
    FREEZES.increment(1);
}

pub(crate) fn isolated() {
    ISOLATIONS.increment(1);
}

pub(crate) fn zone_fallback() {
    ZONE_FALLBACKS.increment(1);
}
