//! What any server program needs, without a word about messaging.

mod address;
pub mod bounded;
mod clock;
mod input;
mod log_limit;
mod meter;
mod process;
mod recorder;
mod redacted;
mod secret;

pub use ::metrics::{Histogram as HistogramHandle, with_local_recorder};
pub use address::{authority, check_host, check_reachable, split_authority};
pub use clock::unix_nanos;
pub use input::{InputError, line, read_file, read_secret, read_text, variable};
pub use log_limit::{LogLimit, Suppressed};
pub use meter::{Counter, CounterBy, Gauge, Histogram, HistogramBy, Info};
pub use recorder::{Recorded, Recorder, metrics_recorder, recorder};
pub use redacted::{HIDDEN, Parameter, Redacted, RedactedPath};
pub use secret::{Secret, SecretUrl};
