//! Which commits of a message store a moment has seen.

use crate::link::{Given, Mark};

/// Commit of a message whose predecessor's commit is not known: no [`Mark`] covers it.
pub const COMMIT_UNKNOWN: u64 = u64::MAX;

impl Mark {
    /// The mark of a store whose commits rise in their order: everything up to `last` is covered.
    pub fn up_to(last: u64) -> Self {
        let next = last.saturating_add(1);
        Self { low: next, high: next, open: Vec::new() }
    }

    /// Returns whether a commit was visible at that moment, as PostgreSQL's snapshots tell it (PostgreSQL 15,
    /// 9.26.6 "Transaction ID and Snapshot Information Functions").
    pub fn covers(&self, commit: u64) -> bool {
        commit < self.low || (commit < self.high && !self.open.contains(&commit))
    }
}

impl Given {
    /// Returns whether this sequence is part of it.
    pub fn contains(&self, seq: u64) -> bool {
        (self.from..=self.to).contains(&seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_covers_what_was_committed_before_it() {
        let mark = Mark { low: 10, high: 14, open: vec![10, 12] };
        let covered: Vec<u64> = (8..=15).filter(|commit| mark.covers(*commit)).collect();
        assert_eq!(covered, [8, 9, 11, 13]);
        assert!(Mark::up_to(7).covers(7) && !Mark::up_to(7).covers(8));
        assert!(!Mark::default().covers(0), "without a mark nothing is");
        assert!(!Mark::up_to(u64::MAX - 1).covers(COMMIT_UNKNOWN));
    }
}
