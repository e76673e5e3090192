//! How long bytes of a client have waited that are not taken yet.

use std::time::Duration;

use tokio::time::Instant;

/// How far back the rate is looked at by which bytes arrive, at least.
const MEMORY: Duration = Duration::from_secs(1);

/// Counts what is read while more is waiting.
#[derive(Debug)]
pub(super) struct Backlog {
    /// When everything that had arrived was taken.
    since: Instant,
    /// Bytes read since then.
    read: usize,
}

// === impl Backlog ===

impl Backlog {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, read: 0 }
    }

    /// All that has arrived is taken.
    pub(super) fn clear(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Counts `bytes` that were read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.read = self.read.saturating_add(bytes);
    }

    /// The longest time that anything can have been waiting.
    pub(super) fn most(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Returns how long the first byte has waited, of `read` bytes that are read and not taken, and
    /// `unread` bytes behind them: as long as all of them took to arrive (Little's law).
    pub(super) fn wait(&self, now: Instant, read: usize, unread: usize) -> Duration {
        let most = self.most(now);
        let arrived = self.read.max(read).saturating_add(unread);
        if arrived == 0 {
            return Duration::ZERO;
        }
        most.mul_f64(read.saturating_add(unread) as f64 / arrived as f64)
    }

    /// Forgets the rate of long ago; waits of up to `patience` are still told from longer ones.
    pub(super) fn forget(&mut self, now: Instant, patience: Duration) {
        let most = self.most(now);
        if most > 2 * MEMORY.max(patience) {
            self.since = now.checked_sub(most / 2).unwrap_or(now);
            self.read /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_waits_has_waited_for_as_long_as_it_took_to_arrive() {
        let start = Instant::now();
        let mut backlog = Backlog::new(start);
        backlog.read(900);
        // 1000 bytes came in a second, of which 100 are there still.
        assert_eq!(backlog.wait(start + SECOND, 0, 100).as_millis(), 100);
        assert_eq!(backlog.wait(start + SECOND, 50, 100).as_millis(), 150);
        // Nothing has been taken.
        assert_eq!(backlog.wait(start + SECOND, 900, 100), SECOND);
        assert_eq!(backlog.wait(start + SECOND, 0, 0), Duration::ZERO);
    }

    #[test]
    fn once_all_is_taken_nothing_has_waited() {
        let start = Instant::now();
        let mut backlog = Backlog::new(start);
        backlog.clear(start + SECOND);
        assert_eq!(backlog.wait(start + SECOND, 0, 100), Duration::ZERO);
        assert_eq!(backlog.wait(start + SECOND, 0, 0), Duration::ZERO);
    }

    #[test]
    fn the_rate_of_long_ago_is_forgotten() {
        let mut now = Instant::now();
        let mut backlog = Backlog::new(now);
        // A megabyte a second for a while, then a thousandth of that.
        for step in 0..60 {
            now += SECOND;
            backlog.read(if step < 30 { 1_000_000 } else { 1000 });
            backlog.forget(now, SECOND / 4);
        }
        let wait = backlog.wait(now, 0, 500).as_secs_f64();
        assert!((0.3..=0.6).contains(&wait), "{wait}");
    }

    #[test]
    fn a_wait_longer_than_a_patience_shows_however_long_that_is() {
        let start = Instant::now();
        let mut backlog = Backlog::new(start);
        for second in 1..60 {
            let now = start + second * SECOND;
            assert_eq!(backlog.wait(now, 0, 500) > 10 * SECOND, second > 10, "{second} s");
            backlog.forget(now, 10 * SECOND);
        }
    }
}
