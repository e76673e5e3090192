//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix nanoseconds; 0 before 1970.
pub fn unix_nanos() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
