//! Pauses between tries: growing, capped, jittered, so that clients do not come in herds.
//!
//! Unlike [`imago_kit::Backoff`], which counts the tries of one task, a pause follows from a number of failures that the
//! caller keeps (each call, the connection and the synchronisation have one), and is never shorter than a tenth of its cap.

use std::time::Duration;

/// The shortest and the longest cap of a pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    least: Duration,
    most: Duration,
}

impl Backoff {
    pub(crate) fn new(least: Duration, most: Duration) -> Self {
        let least = least.max(Duration::from_millis(1));
        Self { least, most: most.max(least) }
    }

    /// Returns the longest pause after `failures` failures in a row.
    fn ceiling(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        self.least.saturating_mul(1 << doublings).min(self.most)
    }

    /// Returns a pause after `failures` failures in a row.
    pub(crate) fn pause(self, failures: u32) -> Duration {
        self.ceiling(failures).mul_f64(rand::random_range(0.1..=1.0))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_differ() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let ceilings: Vec<_> = (0..8).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [100, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_secs(2));
        let pauses: Vec<_> = (0..50).map(|_| backoff.pause(4)).collect();
        assert!(
            pauses
                .iter()
                .all(|&p| p <= Duration::from_millis(800) && p >= Duration::from_millis(80))
        );
        assert!(pauses.iter().any(|&p| p != pauses[0]), "no jitter");
    }
}
