//! When a session ends because its token does: a wall clock time, kept as a deadline.
//!
//! Timers do not follow the wall clock, which may be set, and which goes on while the machine sleeps. So
//! the deadline is reckoned anew while the client is heard, at most once in a while.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How old a deadline may be.
const FRESH: Duration = Duration::from_secs(1);
/// How far away a deadline is at most: it is reckoned anew then.
const FAR: Duration = Duration::from_secs(86_400);

/// The end of a session, by the clock of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    at: SystemTime,
    /// When the deadline was reckoned.
    looked: Instant,
    due: Instant,
}

// === impl Expiry ===

impl Expiry {
    /// The session ends at `at`; `wall` is the time at `now`.
    pub(super) fn new(at: SystemTime, now: Instant, wall: SystemTime) -> Self {
        let left = at.duration_since(wall).unwrap_or_default();
        Self { at, looked: now, due: now + left.min(FAR) }
    }

    /// The deadline: it has passed where it is not after `now`.
    pub(super) fn due(&mut self, now: Instant, wall: impl FnOnce() -> SystemTime) -> Instant {
        if now >= self.due || now.saturating_duration_since(self.looked) >= FRESH {
            *self = Self::new(self.at, now, wall());
        }
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn it_is_due_when_the_wall_clock_says_so() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut expiry = Expiry::new(wall + HOUR, start, wall);
        assert_eq!(expiry.due(start, || wall), start + HOUR);
        let end = start + HOUR;
        assert!(expiry.due(end, || wall + HOUR) <= end);
        let mut past = Expiry::new(wall - HOUR, start, wall);
        assert!(past.due(start, || wall) <= start);
    }

    #[test]
    fn a_clock_that_is_set_moves_it() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut expiry = Expiry::new(wall + HOUR, start, wall);
        let later = start + FRESH;
        assert!(expiry.due(later, || wall + 2 * HOUR) <= later, "set forward");
        assert_eq!(expiry.due(later, || wall - HOUR), later + 2 * HOUR, "set back");
    }

    #[test]
    fn the_clock_is_not_asked_at_every_turn() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let mut expiry = Expiry::new(wall + HOUR, start, wall);
        assert_eq!(expiry.due(start + FRESH / 2, || unreachable!()), start + HOUR);
    }

    #[test]
    fn the_end_of_time_is_looked_at_again_some_day() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX as u64);
        let mut expiry = Expiry::new(at, start, wall);
        assert_eq!(expiry.due(start, || wall), start + FAR);
        let again = start + FAR;
        assert!(expiry.due(again, || wall + FAR) > again);
    }
}
