//! Waits between tries: exponential, with full jitter.

use std::time::Duration;

use rand::RngExt;

/// Delays drawn from `0..=cap`, where the cap doubles with every try up to a maximum ("full
/// jitter", so that servers that failed together do not come back together).
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    cap: Duration,
}

impl Backoff {
    /// The first delay is at most `first`, and none is longer than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, cap: first }
    }

    /// After a success: the next delay is a first one.
    pub fn reset(&mut self) {
        self.cap = self.first;
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.cap.mul_f64(rand::rng().random::<f64>());
        self.cap = (self.cap * 2).min(self.max);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_below_a_cap_that_doubles_up_to_the_maximum() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(35));
        for cap in [10, 20, 35, 35] {
            assert!(backoff.next_delay() <= ms(cap));
        }
        backoff.reset();
        assert!(backoff.next_delay() <= ms(10));
    }
}
