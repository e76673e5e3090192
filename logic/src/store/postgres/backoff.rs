//! Waits between tries: exponential, with full jitter.

use std::time::Duration;

/// Delays drawn from `0..=cap`, where the cap doubles with every try ("full jitter", so that servers
/// whose database restarted do not come back together).
#[derive(Debug)]
pub(super) struct Backoff {
    cap: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(20);
    const MAX: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self { cap: Self::FIRST }
    }

    pub(super) async fn wait(&mut self) {
        let delay = self.cap.mul_f64(rand::random_range(0.0..=1.0));
        self.cap = (self.cap * 2).min(Self::MAX);
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn waits_grow_to_a_second_and_differ() {
        tokio::time::pause();
        let mut backoff = Backoff::new();
        let mut waits = Vec::new();
        for _ in 0..50 {
            let (cap, started) = (backoff.cap, Instant::now());
            backoff.wait().await;
            waits.push(started.elapsed());
            // The clock of tests counts whole milliseconds.
            assert!(started.elapsed() <= cap + Duration::from_millis(2));
        }
        assert_eq!(backoff.cap, Backoff::MAX);
        assert!(waits[10..].iter().any(|wait| *wait > Duration::from_millis(300)));
        assert!(waits[10..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter");
    }
}
