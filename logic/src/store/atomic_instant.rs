//! A moment that many threads set and read.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The moment at which something last happened, if it has happened.
#[derive(Debug)]
pub(crate) struct AtomicInstant {
    created: Instant,
    /// Nanoseconds since `created`, plus one; 0: never set.
    nanos: AtomicU64,
}

// === impl AtomicInstant ===

impl Default for AtomicInstant {
    fn default() -> Self {
        Self { created: Instant::now(), nanos: AtomicU64::new(0) }
    }
}

impl AtomicInstant {
    /// Sets the moment to now.
    pub(crate) fn set_now(&self) {
        let nanos = u64::try_from(self.created.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        // Of two that set it at the same moment, the earlier one may win: callers need no more.
        self.nanos.store(nanos.saturating_add(1), Ordering::Relaxed);
    }

    /// Returns the moment; `None` where it was never set.
    pub(crate) fn get(&self) -> Option<Instant> {
        let nanos = self.nanos.load(Ordering::Relaxed).checked_sub(1)?;
        self.created.checked_add(Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_the_one_at_which_it_was_last_set() {
        let moment = AtomicInstant::default();
        assert_eq!(moment.get(), None);
        let before = Instant::now();
        moment.set_now();
        let last = moment.get().unwrap();
        assert!(before <= last && last <= Instant::now());
    }
}
