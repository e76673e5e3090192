//! What any server program needs, without a word about messaging: configuration, command line, logs, metrics,
//! addresses, secrets.

mod address;
mod backoff;
pub mod bounded;
mod build_info;
pub mod cli;
mod clock;
#[cfg(feature = "http")]
pub mod http;
mod input;
pub mod io;
#[cfg(feature = "jwt")]
pub mod jwt;
mod library_log;
mod log_context;
mod log_limit;
mod meter;
mod metrics;
mod open_files;
mod process;
mod recorder;
mod redacted;
pub mod scheduling;
mod secret;
pub mod settings;
pub mod telemetry;

pub use ::metrics::{Histogram as HistogramHandle, with_local_recorder};
pub use address::{authority, check_host, check_reachable, split_authority};
pub use backoff::Backoff;
pub use build_info::{COMMIT, VERSION};
pub use clock::unix_nanos;
pub use input::{InputError, line, read_file, read_secret, read_text, variable};
pub use log_context::{LogContext, in_log_context};
pub use log_limit::{LogLimit, Suppressed};
pub use meter::{Counter, CounterBy, Gauge, Histogram, HistogramBy, Info};
pub use open_files::{FILES_RESERVED, raise_open_files};
pub use recorder::{Recorded, Recorder, metrics_recorder, recorder};
pub use redacted::{HIDDEN, Parameter, Redacted, RedactedPath};
pub use secret::{Secret, SecretUrl};
