//! The hybrid logical clock of a server: its stamps follow everything that the server has heard of.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use imago_proto::Stamp;

/// Stamps above this are of no clock: they are taken for this one, so that later ones exist.
const CEILING: Stamp = Stamp(1 << 62);

/// A hybrid logical clock (Kulkarni et al., Logical Physical Clocks, 2014). The wall clock only
/// moves it forward: one that is set back, or is behind those of others, changes no order.
#[derive(Debug, Default)]
pub(crate) struct Hlc {
    last: AtomicU64,
}

// === impl Hlc ===

impl Hlc {
    /// A stamp after all that were given or observed before; `now` is the wall clock in Unix
    /// nanoseconds.
    pub(crate) fn tick(&self, now: i64) -> Stamp {
        let wall = Stamp::at(now);
        let mut last = Stamp(self.last.load(Ordering::SeqCst));
        loop {
            let next = wall.max(last.next());
            let set =
                self.last.compare_exchange_weak(last.0, next.0, Ordering::SeqCst, Ordering::SeqCst);
            match set {
                Ok(_) => return next,
                Err(other) => last = Stamp(other),
            }
        }
    }

    /// Takes a stamp of another server into account. Returns how far that was ahead of this clock
    /// and of the wall clock.
    pub(crate) fn observe(&self, remote: Stamp, now: i64) -> Duration {
        let remote = remote.min(CEILING);
        let before = Stamp(self.last.fetch_max(remote.0, Ordering::SeqCst));
        let own = before.max(Stamp::at(now)).unix_millis();
        Duration::from_millis(remote.unix_millis().saturating_sub(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn stamps_rise_whatever_the_wall_clock_does() {
        let clock = Hlc::default();
        let walls = [10, 10, 11, 3, 0, -5, 11, 12].map(|seconds| seconds * SECOND);
        let stamps = walls.map(|now| clock.tick(now));
        assert!(stamps.windows(2).all(|two| two[0] < two[1]), "{stamps:?}");
        assert_eq!(stamps[7], Stamp::at(12 * SECOND), "ahead again, the wall clock counts");
        assert_eq!(stamps[4].unix_millis(), 11_000, "behind, it does not");
    }

    #[test]
    fn what_was_observed_is_before_what_is_given_next() {
        let (ahead, behind) = (Hlc::default(), Hlc::default());
        let theirs = ahead.tick(3600 * SECOND);
        assert_eq!(behind.observe(theirs, 5 * SECOND), Duration::from_secs(3595));
        let ours = behind.tick(5 * SECOND);
        assert!(ours > theirs);
        assert_eq!(behind.observe(theirs, 5 * SECOND), Duration::ZERO, "no news");
        assert!(behind.tick(6 * SECOND) > ours);
        assert_eq!(ahead.observe(ours, 3600 * SECOND), Duration::ZERO);
        assert!(ahead.tick(3600 * SECOND) > ours);
    }

    #[test]
    fn a_stamp_that_the_wall_clock_has_passed_is_not_ahead() {
        let clock = Hlc::default();
        assert_eq!(clock.observe(Stamp::at(7 * SECOND), 9 * SECOND), Duration::ZERO);
        assert_eq!(clock.tick(SECOND), Stamp::at(7 * SECOND).next());
    }

    #[test]
    fn after_a_stamp_of_no_clock_there_are_still_later_ones() {
        let clock = Hlc::default();
        clock.observe(Stamp(u64::MAX), SECOND);
        let (one, two) = (clock.tick(SECOND), clock.tick(SECOND));
        assert!(CEILING < one && one < two);
    }
}
