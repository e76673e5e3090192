//! Errors of a client's operations, each with its remedy.

use std::{borrow::Cow, time::Duration};

use imago_proto::Status;

use crate::CloseReason;

/// Error of a client's operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that cannot be a gateway's.
    #[error(
        "\"{url}\" is no gateway address: expected ws://host:port/path or tcp://host:port, an IPv6 address in brackets"
    )]
    Address {
        /// The address, without what may not be shown.
        url: String,
    },
    /// A builder without any gateway.
    #[error("no gateway was given: pass at least one address to Client::builder")]
    NoGateway,
    /// No gateway accepted the login within the connect timeout.
    #[error(
        "no gateway accepted the login within {waited:?} (last: {last}): check the addresses, and that a gateway runs there"
    )]
    Unreachable {
        /// Time that was spent on tries.
        waited: Duration,
        /// Outcome of the last try.
        last: String,
    },
    /// The login was refused: the same token will be refused again.
    #[error("login refused with status {status}{}: get a new token", colon(.message))]
    LoginRefused {
        /// Status of the answer.
        status: u32,
        /// Text of the answer, or empty.
        message: String,
    },
    /// The server refused this request: sending it again will not help.
    #[error("refused with status {status}{}", colon(.message))]
    Rejected {
        /// Status of the answer.
        status: u32,
        /// Text of the answer, or empty.
        message: String,
    },
    /// The deadline passed before the message was ever sent: it was not delivered.
    #[error(
        "not sent within {0:?}, because no gateway could be reached or earlier messages were not answered: it was not delivered, send it again"
    )]
    NotSent(Duration),
    /// The deadline passed without an answer: the message may be stored or not.
    #[error(
        "no answer within {waited:?}, the message may have been delivered: send it again with the client message id {client_message_id:?} to deliver it exactly once"
    )]
    Unconfirmed {
        /// Time that was spent on tries.
        waited: Duration,
        /// The id under which a repeat is recognised, see [`Outgoing::id`](crate::Outgoing::id).
        client_message_id: String,
    },
    /// A request without side effects got no answer.
    #[error("no answer within {0:?}: try again")]
    Timeout(Duration),
    /// A request that can never be sent: see [`Client::request`](crate::Client::request).
    #[error("not sent: {why}")]
    Unsendable {
        /// The part that is wrong, and what is expected of it.
        why: String,
    },
    /// The servers could not carry a request out now, and it is not repeated by itself. Part of its effects may have
    /// happened.
    #[error("failed with status {status}{}: try again later if a repeat does no harm", colon(.message))]
    Unavailable {
        /// Status of the answer.
        status: u32,
        /// Text of the answer, or empty.
        message: String,
    },
    /// A request was sent and not answered, and is not repeated by itself: it may have been carried out or not.
    #[error("no answer to {command}: {why}: it may have been carried out or not")]
    OutcomeUnknown {
        /// The command of the request.
        command: Cow<'static, str>,
        /// Why no answer will come.
        why: String,
    },
    /// The body of the server's answer or push cannot be read: it speaks another version than this client.
    #[error("the answer to {command} cannot be read: use a client that fits the server")]
    Answer {
        /// The command of the request or the push.
        command: Cow<'static, str>,
    },
    /// The client is closed and will not connect again.
    #[error("client is closed: {0}")]
    Closed(CloseReason),
}

impl Error {
    /// Returns whether the same call may succeed later. False for [`OutcomeUnknown`](Self::OutcomeUnknown): a repeat
    /// may do the same thing twice.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NotSent(_)
                | Self::Unavailable { .. }
                | Self::Unconfirmed { .. }
                | Self::Timeout(_)
        )
    }
}

/// Returns whether the request that was answered with this status may succeed later.
pub(crate) fn is_temporary(status: u32) -> bool {
    (300..400).contains(&status) && status != Status::NotImplemented.code()
        || status == Status::SessionNotFound.code()
}

fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
