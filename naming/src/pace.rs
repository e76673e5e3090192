//! Bounds how often something is done: a few times at once, then at a steady rate.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A token bucket (as GCRA): after a quiet time, `burst` turns come at once, and further ones an
/// interval apart.
#[derive(Debug)]
pub(crate) struct Pace {
    tolerance: Duration,
    interval: Duration,
    /// When the bucket is full again.
    due: Instant,
}

impl Pace {
    pub(crate) fn new(burst: u32, interval: Duration) -> Self {
        let tolerance = interval * burst.saturating_sub(1);
        Self { tolerance, interval, due: Instant::now() }
    }

    /// Waits for the next turn.
    pub(crate) async fn turn(&mut self) {
        let wait = self.take(Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Takes the next turn, and returns how far away it is.
    fn take(&mut self, now: Instant) -> Duration {
        let due = self.due.max(now);
        self.due = due + self.interval;
        due.saturating_duration_since(now + self.tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let interval = Duration::from_millis(250);
        let mut pace = Pace::new(10, interval);
        let start = Instant::now() + Duration::from_secs(1);
        let mut now = start;
        for turn in 1..=50 {
            let wait = pace.take(now);
            assert_eq!(wait.is_zero(), turn <= 10, "turn {turn} waits {wait:?}");
            now += wait;
        }
        assert_eq!(now - start, interval * 40);
        // A quiet moment gives one turn back, a long one all of them.
        assert!(pace.take(now + interval * 2).is_zero());
        let quiet = now + Duration::from_secs(60);
        assert!((0..10).all(|_| pace.take(quiet).is_zero()));
        assert_eq!(pace.take(quiet), interval);
    }
}
