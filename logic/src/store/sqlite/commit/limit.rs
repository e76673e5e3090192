//! How many writes share a commit.

use std::time::{Duration, Instant};

/// So many may always.
const LEAST: usize = 16;

/// The part of its largest number that is forgotten with each commit.
const FORGET: usize = 16;

/// The part by which a commit may take longer to reach the disk than the one before, as far as is believed.
const SLOWER: u32 = 16;

/// How many writes share a commit: three quarters of those that wait, or as many as are run in the time
/// that a commit takes to reach the disk, whichever are more.
///
/// Where all share one, all clients wait for the same commit and then all go on at once, and one
/// processor is idle in between (docs/performance.md). Where the disk is slow, it is what all wait for.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The most that waited, of late.
    peak: usize,
    /// The least that a commit took to reach the disk, of late: what is more was another program's turn.
    disk: Duration,
}

impl Pace {
    /// Whether one more write may share a commit that has so many, of which the first began then.
    pub(super) fn may_join(&self, writes: usize, started: Instant) -> bool {
        writes < LEAST.max(self.peak - self.peak / 4) || started.elapsed() < self.disk
    }

    /// Learns of a commit how many waited for it or for the next one, and how long the disk took.
    pub(super) fn committed(&mut self, waited: usize, disk: Duration) {
        self.peak = waited.max(self.peak - self.peak.div_ceil(FORGET));
        let slower = self.disk + self.disk / SLOWER + Duration::from_micros(1);
        self.disk = disk.min(slower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn most(pace: &Pace) -> usize {
        let started = Instant::now();
        (0..).find(|writes| !pace.may_join(*writes, started)).unwrap()
    }

    #[test]
    fn three_quarters_of_those_that_waited_of_late_share_a_commit() {
        let mut pace = Pace::default();
        assert_eq!(most(&pace), LEAST);
        pace.committed(200, Duration::ZERO);
        assert_eq!(most(&pace), 150);
        pace.committed(100, Duration::ZERO);
        assert!((130..150).contains(&most(&pace)), "{pace:?}");
        (0..100).for_each(|_| pace.committed(0, Duration::ZERO));
        assert_eq!(most(&pace), LEAST, "{pace:?}");
    }

    #[test]
    fn as_many_as_are_run_while_a_slow_disk_writes_share_a_commit() {
        let mut pace = Pace::default();
        pace.committed(10, HOUR);
        assert!(pace.disk < HOUR, "one commit that takes long says nothing of the disk");
        (0..1000).for_each(|_| pace.committed(10, HOUR));
        assert!(pace.may_join(usize::MAX, Instant::now()), "{pace:?}");
        pace.committed(10, Duration::ZERO);
        assert_eq!(most(&pace), LEAST);
    }
}
