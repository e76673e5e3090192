//! What `/peers` tells, in a form that the command line tool reads back.

use serde::{Deserialize, Serialize};

/// A server and all of its peers. Fields that a server of another version does not send have their
/// default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeersReport {
    /// The server asked.
    #[serde(rename = "self")]
    pub own: SelfReport,
    /// The servers that it links with, registered or linked.
    pub peers: Vec<PeerReport>,
}

/// A server as it sees itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelfReport {
    /// Name of its service.
    pub service: String,
    /// Its id.
    pub id: String,
    /// 16 hexadecimal digits.
    pub incarnation: String,
    /// `gateway` or `logic`.
    pub role: String,
    /// `young`, `adult`, `unfit`, `fenced`, `isolated` or `leaving`.
    pub state: String,
    /// Its zone, or empty.
    pub zone: String,
    /// Where its service is reached, `host:port`.
    pub address: String,
    /// Seconds since its start.
    pub uptime_seconds: f64,
    /// Peers that it waits for.
    pub waiting_for: Vec<Waiting>,
    /// Gateways that it was promoted without.
    pub excluded: Vec<String>,
    /// Sessions of a gateway.
    pub sessions: Option<u64>,
    /// Why it cannot serve at the moment.
    pub trouble: Option<String>,
    /// Why the registry cannot be read at the moment.
    pub registry_error: Option<String>,
}

/// A peer that is waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// Its id.
    pub id: String,
    /// For how long, in seconds.
    pub since_seconds: f64,
}

/// A peer as the asked server sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerReport {
    /// Name of its service.
    pub service: String,
    /// Its id.
    pub id: String,
    /// 16 hexadecimal digits; of the link where there is one, else of the registry.
    pub incarnation: String,
    /// What it says of itself: over the link where there is one, else in the registry.
    pub state: String,
    /// Where its service is reached, `host:port`; empty where the registry forgot it.
    pub address: String,
    /// Base URL of its monitor port.
    pub monitor: Option<String>,
    /// `passing`, `warning`, `critical`, or `unregistered`.
    pub health: String,
    /// Whether a link is up.
    pub linked: bool,
    /// Whether all sessions went over it.
    pub synced: bool,
    /// Seconds since the link came up.
    pub link_age_seconds: Option<f64>,
    /// Frames that wait for the peer.
    pub queue_frames: usize,
    /// Bytes that wait for the peer.
    pub queue_bytes: usize,
    /// Requests that the peer has not answered.
    pub pending: usize,
    /// Why there is no link, as far as the asked server knows.
    pub failure: Option<LinkFailure>,
}

// === impl PeerReport ===

impl PeerReport {
    /// Says why there is no link, where the asked server knows.
    pub fn no_link(&self) -> Option<String> {
        let failure = self.failure.as_ref()?;
        let LinkFailure { address, why, count, since_seconds, age_seconds } = failure;
        let times = match count {
            1 => format!("once, {age_seconds:.1} s ago"),
            _ => format!("{count} times in {since_seconds:.1} s, last {age_seconds:.1} s ago"),
        };
        Some(format!("cannot link with {} at {address}: {why} ({times})", self.id))
    }
}

/// What came of the tries to link with a peer since its last link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkFailure {
    /// Where the peer was dialled, or where it came from: `host:port`.
    pub address: String,
    /// The reason of the last failure, in words.
    pub why: String,
    /// Number of failures.
    pub count: u64,
    /// Seconds since the first failure.
    pub since_seconds: f64,
    /// Seconds since the last failure.
    pub age_seconds: f64,
}
