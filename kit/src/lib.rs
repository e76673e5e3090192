//! What any server program needs, without a word about messaging.

mod address;
pub mod bounded;
mod input;
mod log_limit;
mod redacted;
mod secret;

pub use address::{authority, check_host};
pub use input::{InputError, line, read_file, read_secret, read_text, variable};
pub use log_limit::{LogLimit, Suppressed};
pub use redacted::{HIDDEN, Parameter, Redacted, RedactedPath};
pub use secret::{Secret, SecretUrl};
