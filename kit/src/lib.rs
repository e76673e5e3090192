//! What any server program needs, without a word about messaging.

mod address;
mod clock;
mod log_limit;
mod meter;
mod process;
mod recorder;
mod redacted;

pub use ::metrics::{Histogram as HistogramHandle, with_local_recorder};
pub use address::{authority, check_host, check_reachable, split_authority};
pub use clock::unix_nanos;
pub use log_limit::{LogLimit, Suppressed};
pub use meter::{Counter, CounterBy, Gauge, Histogram, HistogramBy, Info};
pub use recorder::{Recorded, Recorder, metrics_recorder, recorder};
pub use redacted::{HIDDEN, Redacted};
