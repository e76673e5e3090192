//! Why a client is not let in, or is cut off: in few enough words that they can be counted.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt, io,
    sync::{Mutex, PoisonError},
};

use imago_kit::Redacted;
use tokio_tungstenite::tungstenite;

/// How a connection ended that was logged in, or nearly.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The gateway said so; 0: without a code.
    Closed(u16),
    /// Without a word.
    Cut(io::Error),
    /// The gateway sent what is no packet.
    Wrong(String),
}

/// What kept a client from being logged in.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The URL is none.
    Url,
    /// No connection.
    Connect(io::Error),
    /// A connection, but no WebSocket.
    Upgrade(String),
    /// The login was answered with another status than success.
    Refused(u32),
    /// The connection ended before the answer.
    Ended(Ended),
    /// Nothing came in time.
    NoAnswer,
}

/// A gateway that a client could not log in at.
#[derive(Debug)]
pub(crate) struct NotIn {
    pub(crate) url: String,
    pub(crate) failure: Failure,
}

/// How often each thing happened.
#[derive(Debug, Default)]
pub(crate) struct Kinds(Mutex<BTreeMap<String, u64>>);

// === impl Ended ===

impl Ended {
    pub(crate) fn wrong(error: impl fmt::Display) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code) => write!(f, "closed by the gateway, code {code}"),
            Self::Cut(error) => write!(f, "connection cut: {}", error.kind()),
            Self::Wrong(why) => write!(f, "the gateway sent what is no packet: {why}"),
        }
    }
}

impl Error for Ended {}

// === impl Failure ===

impl Failure {
    pub(crate) fn upgrade(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(answer) => Self::Upgrade(format!("HTTP {}", answer.status())),
            tungstenite::Error::Io(error) => Self::Ended(Ended::Cut(error)),
            // Its words may repeat the URL.
            tungstenite::Error::Url(_) => Self::Url,
            other => Self::Upgrade(other.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str("expected ws://…"),
            Self::Connect(error) => write!(f, "cannot connect: {}", error.kind()),
            Self::Upgrade(why) => write!(f, "no WebSocket: {why}"),
            Self::Refused(status) => write!(f, "login refused with status {status}"),
            Self::Ended(ended) => ended.fmt(f),
            Self::NoAnswer => f.write_str("no answer in time"),
        }
    }
}

impl fmt::Display for NotIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Redacted(&self.url), self.failure)
    }
}

impl Error for NotIn {}

// === impl Kinds ===

impl Kinds {
    /// It happened once more.
    pub(crate) fn add(&self, kind: impl fmt::Display) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kinds.entry(kind.to_string()).or_default() += 1;
    }

    /// All so far.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_at_different_gateways_is_counted_as_one_kind() {
        let kinds = Kinds::default();
        for _ in 0..3 {
            kinds.add(Failure::Connect(io::ErrorKind::ConnectionRefused.into()));
        }
        kinds.add(Failure::Refused(302));
        kinds.add(Failure::Ended(Ended::Closed(1013)));
        let counts: Vec<_> = kinds.counts().into_iter().collect();
        let expected = [
            ("cannot connect: connection refused", 3),
            ("closed by the gateway, code 1013", 1),
            ("login refused with status 302", 1),
        ];
        assert_eq!(counts, expected.map(|(kind, times)| (kind.to_owned(), times)));
    }

    #[test]
    fn whoever_is_not_let_in_is_told_where() {
        let not_in = NotIn { url: "ws://a:1".to_owned(), failure: Failure::Refused(105) };
        assert_eq!(not_in.to_string(), "ws://a:1: login refused with status 105");
    }
}
