//! The moment of the last write that succeeded.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Remembers when a store last wrote something. A later moment stays.
#[derive(Debug)]
pub(crate) struct Pulse {
    started: Instant,
    /// Nanoseconds since `started`, plus one; 0: nothing was written yet.
    last: AtomicU64,
}

// === impl Pulse ===

impl Default for Pulse {
    fn default() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Pulse {
    /// A write has succeeded.
    pub(crate) fn beat(&self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        // Two of the same moment may trade places: that changes nothing.
        self.last.store(nanos.saturating_add(1), Ordering::Relaxed);
    }

    /// When the last one succeeded.
    pub(crate) fn last(&self) -> Option<Instant> {
        let nanos = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        self.started.checked_add(Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_tells_when_it_last_beat() {
        let pulse = Pulse::default();
        assert_eq!(pulse.last(), None);
        let before = Instant::now();
        pulse.beat();
        let last = pulse.last().unwrap();
        assert!(before <= last && last <= Instant::now());
    }
}
