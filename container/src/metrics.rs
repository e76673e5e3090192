//! Metrics of the container, named and described in one place.

use std::time::Duration;

use crate::{HotCounter, HotGauge, unix_nanos};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Describes every metric to the recorder, for the `# HELP` lines.
pub(crate) fn describe() {
    describe_gauge!("imago_links_open", "Links that are up");
    describe_counter!("imago_links_opened_total", "Links that came up");
    describe_counter!("imago_links_lost_total", "Links that ended");
    describe_counter!("imago_link_received_bytes_total", "Bytes received over links");
    describe_counter!("imago_link_sent_bytes_total", "Bytes sent over links");
    describe_counter!("imago_link_refused_total", "Handshakes refused by either side, by reason");
    describe_counter!("imago_link_dials_failed_total", "Dials without a link, by reason");
    describe_gauge!(
        "imago_link_handshakes_open",
        "Connections on the link port in their handshake"
    );
    describe_counter!(
        "imago_link_handshakes_evicted_total",
        "Handshakes broken off for want of room, for newer ones"
    );
    describe_gauge!("imago_monitor_connections_open", "Connections on the monitor port");
    describe_counter!(
        "imago_monitor_evicted_total",
        "Connections on the monitor port ended for want of room, for newer ones"
    );
    describe_counter!(
        "imago_monitor_misdirected_total",
        "Requests on the monitor port refused for their Host"
    );
    describe_counter!("imago_forwards_total", "Requests given to logic servers, retries included");
    describe_counter!("imago_forwards_held_total", "Requests that waited for an Adult server");
    describe_counter!(
        "imago_forwards_refused_total",
        "Requests answered \"busy\" because a logic server's answers are late"
    );
    describe_counter!("imago_answers_late_total", "Answers that nobody waited for any more");
    describe_counter!("imago_pushes_parked_total", "Pushes queued while their gateway was away");
    describe_counter!(
        "imago_pushes_dropped_total",
        "Pushes dropped for want of room, redelivered later"
    );
    describe_counter!("imago_registry_errors_total", "Failed operations of the registry");
    describe_counter!(
        "imago_registry_vanished_total",
        "Servers that left the registry while their link was alive"
    );
    describe_counter!("imago_promotions_total", "Times that this server became Adult");
    describe_counter!("imago_fences_total", "Times that this gateway was fenced");
    describe_counter!(
        "imago_freezes_total",
        "Times that this process stood still for longer than a link may be silent"
    );
    describe_counter!(
        "imago_isolations_total",
        "Times that this gateway handed its clients over because it reached no logic server"
    );
    describe_counter!(
        "imago_zone_fallbacks_total",
        "Requests that left their zone because it has no server"
    );
    describe_gauge!(
        "imago_adult_timestamp_seconds",
        "When this server became Adult, in seconds since 1970"
    );
    describe_histogram!(
        "imago_promotion_seconds",
        metrics::Unit::Seconds,
        "Time from start to Adult"
    );
    describe_histogram!(
        "imago_promotion_linked_seconds",
        metrics::Unit::Seconds,
        "Time from the first link to Adult"
    );
    describe_histogram!(
        "imago_link_sync_seconds",
        metrics::Unit::Seconds,
        "Time from the start of a link until its gateway has told all of its sessions"
    );
}

pub(crate) fn link_up() {
    counter!("imago_links_opened_total").increment(1);
    gauge!("imago_links_open").increment(1.0);
}

pub(crate) fn link_down() {
    counter!("imago_links_lost_total").increment(1);
    gauge!("imago_links_open").decrement(1.0);
}

pub(crate) fn link_bytes_received(bytes: usize) {
    static COUNTER: HotCounter = HotCounter::new("imago_link_received_bytes_total");
    COUNTER.increment(bytes as u64);
}

pub(crate) fn link_bytes_sent(bytes: usize) {
    static COUNTER: HotCounter = HotCounter::new("imago_link_sent_bytes_total");
    COUNTER.increment(bytes as u64);
}

pub(crate) fn handshake_refused(reason: &'static str) {
    counter!("imago_link_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn dial_failed(reason: &'static str) {
    counter!("imago_link_dials_failed_total", "reason" => reason).increment(1);
}

pub(crate) fn handshakes_open(count: usize) {
    static GAUGE: HotGauge = HotGauge::new("imago_link_handshakes_open");
    GAUGE.set(count as f64);
}

pub(crate) fn handshake_evicted() {
    counter!("imago_link_handshakes_evicted_total").increment(1);
}

pub(crate) fn monitor_open(count: usize) {
    static GAUGE: HotGauge = HotGauge::new("imago_monitor_connections_open");
    GAUGE.set(count as f64);
}

pub(crate) fn monitor_evicted() {
    counter!("imago_monitor_evicted_total").increment(1);
}

pub(crate) fn misdirected() {
    counter!("imago_monitor_misdirected_total").increment(1);
}

pub(crate) fn forwarded() {
    static COUNTER: HotCounter = HotCounter::new("imago_forwards_total");
    COUNTER.increment(1);
}

pub(crate) fn held() {
    counter!("imago_forwards_held_total").increment(1);
}

pub(crate) fn forward_refused() {
    static COUNTER: HotCounter = HotCounter::new("imago_forwards_refused_total");
    COUNTER.increment(1);
}

pub(crate) fn late_answer() {
    counter!("imago_answers_late_total").increment(1);
}

pub(crate) fn push_parked() {
    counter!("imago_pushes_parked_total").increment(1);
}

pub(crate) fn push_dropped() {
    counter!("imago_pushes_dropped_total").increment(1);
}

pub(crate) fn registry_error() {
    counter!("imago_registry_errors_total").increment(1);
}

pub(crate) fn registry_vanished() {
    counter!("imago_registry_vanished_total").increment(1);
}

/// `linked`: time since the first link, where there is one.
pub(crate) fn promoted(after: Duration, linked: Option<Duration>) {
    counter!("imago_promotions_total").increment(1);
    gauge!("imago_adult_timestamp_seconds").set(unix_nanos() as f64 / 1e9);
    histogram!("imago_promotion_seconds").record(after.as_secs_f64());
    if let Some(linked) = linked {
        histogram!("imago_promotion_linked_seconds").record(linked.as_secs_f64());
    }
}

pub(crate) fn link_synced(after: Duration) {
    histogram!("imago_link_sync_seconds").record(after.as_secs_f64());
}

pub(crate) fn fenced() {
    counter!("imago_fences_total").increment(1);
}

pub(crate) fn stood_still() {
    counter!("imago_freezes_total").increment(1);
}

pub(crate) fn isolated() {
    counter!("imago_isolations_total").increment(1);
}

pub(crate) fn zone_fallback() {
    counter!("imago_zone_fallbacks_total").increment(1);
}
