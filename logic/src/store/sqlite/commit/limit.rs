//! How many writes share a commit. The module [`commit`](super) tells why.

use std::time::{Duration, Instant};

/// Writes that may share any commit.
const LEAST: usize = 16;

/// The part of the peak that is forgotten with each commit.
const FORGET: usize = 16;

/// The part by which a commit may take longer to reach the disk than the one before. A longer time is cut
/// to this: it is mostly another program's turn on the processor.
const SLOWER: u32 = 16;

/// Limits a batch to three quarters of the writes that wait, or to what can be run while a commit reaches
/// the disk, if that is more.
#[derive(Debug, Default)]
pub(super) struct BatchLimit {
    /// The most writes that waited for a commit lately.
    peak: usize,
    /// The least time that a commit took to reach the disk lately.
    disk: Duration,
}

impl BatchLimit {
    /// Returns whether another write may join a batch of `writes`, begun at `started`.
    pub(super) fn admits(&self, writes: usize, started: Instant) -> bool {
        writes < LEAST.max(self.peak - self.peak / 4) || started.elapsed() < self.disk
    }

    /// Records a commit: how many writes waited for it or for the next one, and how long the disk took.
    pub(super) fn record(&mut self, waited: usize, disk: Duration) {
        self.peak = waited.max(self.peak - self.peak.div_ceil(FORGET));
        let slower = self.disk + self.disk / SLOWER + Duration::from_micros(1);
        self.disk = disk.min(slower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn most(limit: &BatchLimit) -> usize {
        let started = Instant::now();
        (0..).find(|writes| !limit.admits(*writes, started)).unwrap()
    }

    #[test]
    fn three_quarters_of_those_that_waited_of_late_share_a_commit() {
        let mut limit = BatchLimit::default();
        assert_eq!(most(&limit), LEAST);
        limit.record(200, Duration::ZERO);
        assert_eq!(most(&limit), 150);
        limit.record(100, Duration::ZERO);
        assert!((130..150).contains(&most(&limit)), "{limit:?}");
        (0..100).for_each(|_| limit.record(0, Duration::ZERO));
        assert_eq!(most(&limit), LEAST, "{limit:?}");
    }

    #[test]
    fn as_many_as_are_run_while_a_slow_disk_writes_share_a_commit() {
        let mut limit = BatchLimit::default();
        limit.record(10, HOUR);
        assert!(limit.disk < HOUR, "one commit that takes long says nothing of the disk");
        (0..1000).for_each(|_| limit.record(10, HOUR));
        assert!(limit.admits(usize::MAX, Instant::now()), "{limit:?}");
        limit.record(10, Duration::ZERO);
        assert_eq!(most(&limit), LEAST);
    }
}
