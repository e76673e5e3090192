//! Notices that this process stood still: it was stopped, or its machine was.
//!
//! A process that wakes knows nothing of what happened meanwhile: its links may be gone on their other
//! side, and timers are due although their time did not pass for the process. So what is waited for gets
//! the time anew, and links take requests again once something was heard over them. A task beats each [`TICK`](super::TICK), on the
//! monotonic clock, which goes on while a process is stopped. A request that is submitted between the
//! wake and the first beat goes as before: where its link is dead, it comes back as lost.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// The beats of one task.
#[derive(Debug)]
pub(crate) struct Pulse {
    limit: Duration,
    last: Instant,
}

/// Whether anything was heard from a peer since this process stood still.
#[derive(Debug)]
pub(crate) struct Trust {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pulse: Pulse,
    /// How long it stood still, where nothing was heard since.
    unconfirmed: Option<Duration>,
}

// === impl Pulse ===

impl Pulse {
    /// A task that began at `now`. Pauses up to the limit are none.
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, last: now }
    }

    /// The task runs at `now`. Returns how long it stood still before, where that was over the limit.
    pub(crate) fn beat(&mut self, now: Instant) -> Option<Duration> {
        let still = now.saturating_duration_since(self.last);
        self.last = self.last.max(now);
        (still > self.limit).then_some(still)
    }
}

// === impl Trust ===

impl Trust {
    /// Of a process that runs at `now`.
    pub(crate) fn new(limit: Duration, now: Instant) -> Self {
        let pulse = Pulse::new(limit, now);
        Self { state: Mutex::new(State { pulse, unconfirmed: None }) }
    }

    /// A panic while it was locked leaves plain values behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// As [`Pulse::beat`]. One caller is told of each time.
    pub(crate) fn beat(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let still = state.pulse.beat(now)?;
        state.unconfirmed = Some(still);
        Some(still)
    }

    /// A peer was heard of.
    pub(crate) fn confirm(&self) {
        self.state().unconfirmed = None;
    }

    /// How long this process stood still, where it has heard of no peer since.
    pub(crate) fn unconfirmed(&self) -> Option<Duration> {
        self.state().unconfirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_pause_over_the_limit_is_told_once() {
        let begun = Instant::now();
        let mut pulse = Pulse::new(LIMIT, begun);
        assert_eq!(pulse.beat(begun + 100 * MS), None);
        assert_eq!(pulse.beat(begun + 100 * MS + LIMIT), None);
        let woken = begun + 101 * MS + 2 * LIMIT;
        assert_eq!(pulse.beat(woken), Some(LIMIT + MS));
        assert_eq!(pulse.beat(woken), None);
        assert_eq!(pulse.beat(begun), None, "another thread looked at the clock before");
        assert_eq!(pulse.beat(woken + LIMIT), None);
    }

    #[test]
    fn nothing_is_trusted_until_a_peer_was_heard() {
        let begun = Instant::now();
        let trust = Trust::new(LIMIT, begun);
        assert_eq!((trust.beat(begun + LIMIT), trust.unconfirmed()), (None, None));
        let woken = begun + 3 * LIMIT;
        assert_eq!(trust.beat(woken), Some(2 * LIMIT));
        assert_eq!((trust.beat(woken + MS), trust.unconfirmed()), (None, Some(2 * LIMIT)));
        trust.confirm();
        assert_eq!(trust.unconfirmed(), None);
    }
}
