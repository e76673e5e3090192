//! When a session ends because its token does: a wall clock time, kept as a deadline.
//!
//! Timers do not follow the wall clock, which may be set, and which goes on while the machine sleeps. So
//! the deadline is never far away, and reckoned anew when it comes. It is small, for each client has one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// How far away a deadline is at most; clients ping as often.
const FAR: Duration = Duration::from_secs(60);

/// The end of a session, by the clock of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    /// In milliseconds since 1970.
    at: u64,
    /// When to look at the clock.
    due: Instant,
}

// === impl Expiry ===

impl Expiry {
    /// The session ends at `at`; `wall` is the time at `now`.
    pub(super) fn new(at: SystemTime, now: Instant, wall: SystemTime) -> Self {
        Self { at: millis(at), due: now }.reckoned(now, wall)
    }

    fn reckoned(self, now: Instant, wall: SystemTime) -> Self {
        let left = Duration::from_millis(self.at.saturating_sub(millis(wall)));
        Self { due: now + left.min(FAR), ..self }
    }

    /// When to ask again at the latest. The session is over where that is not after `now`.
    pub(super) fn due(&mut self, now: Instant, wall: impl FnOnce() -> SystemTime) -> Instant {
        if now >= self.due {
            *self = self.reckoned(now, wall());
        }
        self.due
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// A time of whole milliseconds.
    fn wall() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn it_is_due_when_the_wall_clock_says_so() {
        let start = Instant::now();
        let mut expiry = Expiry::new(wall() + 10 * SECOND, start, wall());
        let end = start + 10 * SECOND;
        assert_eq!(expiry.due(start, || unreachable!()), end);
        // The clocks may differ by a little.
        let early = expiry.due(end, || wall() + 9 * SECOND);
        assert_eq!(early, end + SECOND);
        assert!(expiry.due(early, || wall() + 10 * SECOND) <= early);
        let mut past = Expiry::new(wall() - HOUR, start, wall());
        assert!(past.due(start, wall) <= start);
    }

    #[test]
    fn a_clock_that_is_set_moves_it() {
        let start = Instant::now();
        let mut expiry = Expiry::new(wall() + HOUR, start, wall());
        let next = expiry.due(start, || unreachable!());
        assert_eq!(next, start + FAR);
        let mut back = expiry;
        assert!(expiry.due(next, || wall() + HOUR) <= next, "set forward");
        assert_eq!(back.due(next, || wall() - HOUR), next + FAR, "set back");
    }

    #[test]
    fn the_end_of_time_is_far_away() {
        let start = Instant::now();
        let at = UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
        assert_eq!(Expiry::new(at, start, wall()).due(start, wall), start + FAR);
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Expiry::new(before, start, wall()).due(start, wall), start);
    }
}
