//! Result codes of a request, as old clients know them.

use std::fmt;

/// Status of a response. Old clients know only these; anything else reads as success to one of
/// them, so new meanings go into the text of an `ErrorResp`, not into new numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Success = 0,
    /// A talk request without a receiver.
    NoDestination = 100,
    /// The body does not decode, a field is over its limit, or a list is empty or too long.
    InvalidPacketBody = 101,
    /// The first packet is not a login, a second login, or a command clients may not send.
    InvalidCommand = 103,
    /// Token bad or expired, or not allowed.
    Unauthorized = 105,
    /// Failure or overload on our side: may be retried.
    SystemException = 300,
    /// Unknown command.
    NotImplemented = 301,
    /// No grown-up logic server for the command.
    ServiceNotFound = 302,
    /// The server does not know the session: log in again.
    SessionNotFound = 404,
}

impl Status {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The status of a number on the wire; `None` for one that no server of ours sends.
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            100 => Self::NoDestination,
            101 => Self::InvalidPacketBody,
            103 => Self::InvalidCommand,
            105 => Self::Unauthorized,
            300 => Self::SystemException,
            301 => Self::NotImplemented,
            302 => Self::ServiceNotFound,
            404 => Self::SessionNotFound,
            _ => return None,
        })
    }

    /// Returns whether a client may send the same request again later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::SystemException | Self::ServiceNotFound)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_a_round_trip_and_strangers_are_told_apart() {
        let known: Vec<u32> = (0..1000).filter(|&code| Status::from_code(code).is_some()).collect();
        assert_eq!(known, [0, 100, 101, 103, 105, 300, 301, 302, 404]);
        for code in known {
            assert_eq!(Status::from_code(code).map(Status::code), Some(code));
        }
    }
}
