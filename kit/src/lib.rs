//! What any server program needs, without a word about messaging.

mod address;
mod log_limit;
mod redacted;

pub use address::{authority, check_host, check_reachable, split_authority};
pub use log_limit::{LogLimit, Suppressed};
pub use redacted::{HIDDEN, Redacted};
