//! Pauses between tries to come back: growing, capped, and different for each client.

use std::time::Duration;

/// The first pause is at most this long.
const LEAST: Duration = Duration::from_millis(100);
/// No pause is longer.
const MOST: Duration = Duration::from_secs(5);

/// The pause after that many failures in a row (1: the first): a random part of what doubles with
/// each, so that clients that failed together do not come back together.
pub(crate) fn pause(failures: u32) -> Duration {
    ceiling(failures).mul_f64(rand::random_range(0.1..=1.0))
}

fn ceiling(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    LEAST.saturating_mul(1 << doublings).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_differ() {
        let ceilings: Vec<_> = (0..9).map(|failures| ceiling(failures).as_millis()).collect();
        assert_eq!(ceilings, [100, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(ceiling(u32::MAX), MOST);
        let pauses: Vec<_> = (0..50).map(|_| pause(4)).collect();
        let bounds = Duration::from_millis(80)..=Duration::from_millis(800);
        assert!(pauses.iter().all(|pause| bounds.contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "no jitter");
    }
}
