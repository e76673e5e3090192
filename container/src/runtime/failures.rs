//! Why links do not come up: remembered by peer for reports, and logged at growing intervals.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use imago_kit::LogLimit;
use imago_proto::{ServiceId, link::RefusedReason};
use parking_lot::{Mutex, MutexGuard};

use crate::{link::HandshakeError, monitor::LinkFailure};

/// Peers whose failures are remembered. Overflow policy: the one that failed the longest ago is
/// forgotten.
const PEERS_MAX: usize = 1024;
/// Time until a failure of the same peer for the same reason is logged again, at first.
const LOG_FIRST: Duration = Duration::from_secs(10);
/// The same after many.
const LOG_LONGEST: Duration = Duration::from_secs(600);
/// Characters of a reason: the peer has a say in some.
const WHY_MAX: usize = 500;

/// A reason why a link does not come up.
pub(crate) trait LinkError: Display {
    /// One of a few words, for metrics, and to tell reasons apart.
    fn label(&self) -> &'static str;
}

/// Failed tries to link, by peer. Cheap to clone: all clones share them.
#[derive(Clone)]
pub(crate) struct Failures(Arc<Shared>);

struct Shared {
    peers: Mutex<BTreeMap<ServiceId, Failure>>,
    limit: LogLimit,
}

/// What happened since the last link with a peer.
struct Failure {
    address: String,
    why: String,
    labels: Vec<&'static str>,
    count: u64,
    first: Instant,
    last: Instant,
}

// === impl HandshakeError ===

impl LinkError for HandshakeError {
    fn label(&self) -> &'static str {
        match self {
            Self::Refused { reason, .. } | Self::RefusedByPeer { reason, .. } => {
                reason_label(*reason)
            }
            Self::Io(_) => "broken",
        }
    }
}

// === impl Failures ===

impl Default for Failures {
    fn default() -> Self {
        let limit = LogLimit::growing(LOG_FIRST, LOG_LONGEST);
        Self(Arc::new(Shared { peers: Mutex::default(), limit }))
    }
}

impl Failures {
    /// Takes a failure of a peer that is known, or says who it is. `address` is where it was
    /// dialled, or where it came from.
    pub(crate) fn failed(&self, peer: &ServiceId, address: &str, error: &impl LinkError) {
        let (why, label) = (printable(&error.to_string()), error.label());
        self.remember(peer, address, &why, label);
        if let Some(more) = self.0.limit.allow(&cause(peer.as_str(), label)) {
            tracing::warn!(%peer, address, reason = label, %why, "no link with this peer{more}");
        } else {
            tracing::debug!(%peer, address, reason = label, %why, "no link with this peer");
        }
    }

    /// Takes a failure of a peer that has not said who it is. Its host tells it from others.
    pub(crate) fn failed_unknown(&self, address: SocketAddr, error: &impl LinkError) {
        let (why, label) = (printable(&error.to_string()), error.label());
        if let Some(more) = self.0.limit.allow(&cause(&address.ip().to_string(), label)) {
            tracing::warn!(%address, reason = label, %why, "no link with an unknown peer{more}");
        } else {
            tracing::debug!(%address, reason = label, %why, "no link with an unknown peer");
        }
    }

    fn remember(&self, peer: &ServiceId, address: &str, why: &str, label: &'static str) {
        let (mut peers, now) = (self.peers(), Instant::now());
        if peers.len() >= PEERS_MAX && !peers.contains_key(peer) {
            let oldest = peers.iter().min_by_key(|(_, failure)| failure.last);
            let oldest = oldest.map(|(peer, _)| peer.clone());
            oldest.and_then(|oldest| peers.remove(&oldest));
        }
        let failure = peers.entry(peer.clone()).or_insert_with(|| Failure::new(now));
        address.clone_into(&mut failure.address);
        why.clone_into(&mut failure.why);
        if !failure.labels.contains(&label) {
            failure.labels.push(label);
        }
        failure.count += 1;
        failure.last = now;
    }

    /// The link is up, or the peer is gone: the next failure is a first one.
    pub(crate) fn over(&self, peer: &ServiceId) {
        let Some(failure) = self.peers().remove(peer) else { return };
        for label in failure.labels {
            self.0.limit.reset(&cause(peer.as_str(), label));
        }
    }

    /// What happened since the last link with a peer.
    pub(crate) fn of(&self, peer: &ServiceId) -> Option<LinkFailure> {
        self.peers().get(peer).map(Failure::report)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Failure>> {
        self.0.peers.lock()
    }
}

// === impl Failure ===

impl Failure {
    fn new(now: Instant) -> Self {
        let (address, why) = (String::new(), String::new());
        Self { address, why, labels: Vec::new(), count: 0, first: now, last: now }
    }

    fn report(&self) -> LinkFailure {
        LinkFailure {
            address: self.address.clone(),
            why: self.why.clone(),
            count: self.count,
            since_seconds: self.first.elapsed().as_secs_f64(),
            age_seconds: self.last.elapsed().as_secs_f64(),
        }
    }
}

fn cause(peer: &str, label: &str) -> String {
    format!("{peer} {label}")
}

/// A text that a peer may have had a say in, for one line of a log.
fn printable(text: &str) -> String {
    let shown =
        |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    text.chars().map(shown).take(WHY_MAX).collect()
}

/// A bounded label for metrics.
fn reason_label(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::Unknown => "unknown",
        RefusedReason::Cluster => "cluster",
        RefusedReason::Version => "version",
        RefusedReason::Mac => "mac",
        RefusedReason::Role => "role",
        RefusedReason::Duplicate => "duplicate",
        RefusedReason::Malformed => "malformed",
        RefusedReason::Identity => "identity",
        RefusedReason::Held => "held",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_a_refusal_is_a_declared_label() {
        let reasons = (0..64).filter_map(|number| RefusedReason::try_from(number).ok());
        let mut labels: Vec<_> = reasons.map(reason_label).collect();
        let mut declared = crate::metrics::REFUSED_REASONS;
        labels.sort_unstable();
        declared.sort_unstable();
        assert_eq!(labels, declared);
    }

    struct Because(&'static str, &'static str);

    impl Display for Because {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.1)
        }
    }

    impl LinkError for Because {
        fn label(&self) -> &'static str {
            self.0
        }
    }

    fn id(text: &str) -> ServiceId {
        ServiceId::from(text)
    }

    #[test]
    fn failures_of_a_peer_are_counted_until_its_link_is_up() {
        let failures = Failures::default();
        let (one, other) = (id("logic-1"), id("logic-2"));
        failures.failed(&one, "h:1", &Because("resolve", "no such\nhost"));
        failures.failed(&one, "h:2", &Because("connect", "refused"));
        failures.failed(&other, "h:3", &Because("connect", "refused"));
        let failure = failures.of(&one).unwrap();
        assert_eq!((failure.address.as_str(), failure.count), ("h:2", 2));
        assert_eq!(failure.why, "refused");
        failures.over(&one);
        assert_eq!(failures.of(&one), None);
        assert_eq!(failures.of(&other).unwrap().count, 1);
        failures.failed(&one, "h:1", &Because("resolve", "no such\nhost"));
        let failure = failures.of(&one).unwrap();
        assert_eq!((failure.why.as_str(), failure.count), ("no such\u{fffd}host", 1));
    }

    #[test]
    fn a_failure_is_logged_once_for_each_reason_and_again_after_a_link() {
        let failures = Failures::default();
        let logged = |label: &'static str| failures.0.limit.allow(&cause("logic-1", label));
        failures.failed(&id("logic-1"), "h:1", &Because("resolve", ""));
        assert_eq!(logged("resolve"), None);
        assert!(logged("connect").is_some());
        failures.over(&id("logic-1"));
        assert!(logged("resolve").is_some());
    }

    #[test]
    fn as_many_peers_as_may_say_who_they_are_are_remembered() {
        let failures = Failures::default();
        for number in 0..=PEERS_MAX {
            failures.failed(&id(&number.to_string()), "h:1", &Because("mac", ""));
        }
        assert_eq!(failures.peers().len(), PEERS_MAX);
        assert!(failures.of(&id("0")).is_none());
    }
}
