//! Close codes of ours, of the range that RFC 6455 §7.4.2 leaves to applications.
//!
//! Beside them a gateway sends those of the RFC and its registry. What a client does about a code:
//!
//! | codes | what it does |
//! | --- | --- |
//! | 1001, 1013 | connects again, best to another gateway, and logs in with the same token |
//! | 1000, 1008 | gives up: it was kicked out, has signed out, or its login was refused |
//! | 1002, 1007, 1009 | sent what cannot be read: the same will end the same way |
//! | 4401 | fetches a new token, and logs in with that |
//! | 4409 | gives up: the account has too many connections, and others are in use |

/// The token has expired. The client has all of its answers; it needs a new token to log in again.
pub const TOKEN_EXPIRED: u16 = 4401;

/// Another connection of the account took the place of this one, which was silent for the longest.
/// A client that connects again at once would take the place of yet another one.
pub const REPLACED: u16 = 4409;
