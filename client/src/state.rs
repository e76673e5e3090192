//! What a client is doing, for applications that watch it.

use std::fmt;

/// State of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Connecting for the first time.
    Connecting,
    /// Logged in.
    Online,
    /// The connection is gone, or could not be made; another try follows.
    Reconnecting {
        /// Tries since the client was last online, beginning with 1.
        attempt: u32,
        /// Why the last connection or try ended.
        why: String,
    },
    /// The end: nothing follows.
    Closed {
        /// Why.
        why: CloseReason,
    },
}

/// Why a client closed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The same account logged in elsewhere as the same device.
    Kicked,
    /// A gateway refused the token.
    Refused {
        /// Status of the refusal.
        status: u32,
        /// Text of the answer, or empty.
        message: String,
    },
    /// The token has expired. Build a new client with a new token: this one had all of its answers.
    Expired,
    /// The account has too many connections, and others of them are in use.
    Replaced,
    /// The application logged out or dropped the client.
    ClosedByUser,
}

/// Where the client is logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The account of the token.
    pub account: String,
    /// Id of this connection.
    pub channel_id: String,
    /// Address of the gateway.
    pub gateway: String,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kicked => f.write_str("the account logged in elsewhere as the same device"),
            Self::Refused { status, message } if message.is_empty() => {
                write!(f, "login refused with status {status}")
            }
            Self::Refused { status, message } => {
                write!(f, "login refused with status {status}: {message}")
            }
            Self::Expired => f.write_str("the token has expired: log in with a new one"),
            Self::Replaced => f.write_str(
                "the account has too many connections, and another one took the place of this one",
            ),
            Self::ClosedByUser => f.write_str("the application closed it"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Online => f.write_str("online"),
            Self::Reconnecting { attempt, why } => write!(f, "reconnecting (try {attempt}): {why}"),
            Self::Closed { why } => write!(f, "closed: {why}"),
        }
    }
}
