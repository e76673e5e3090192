//! How many requests a logic server may owe at a time: this type counts what happens, and
//! [`law`] decides on it.
//!
//! A session gets no more than what is left: dynamic thresholds (Choudhury and Hahne, "Dynamic
//! Queue Length Thresholds for Shared-Memory Packet Switches", 1998, with α = 1). Sessions that ask
//! for too much get about the same each, and a single one gets half. Without, the first to come
//! takes all, and a session that sends little is refused for those that send without end.

mod law;
#[cfg(test)]
mod simulation;

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

pub(crate) use self::law::{Bounds, LEAST};
use self::law::{Seen, State};

/// How often a session counts that has sent more than its window: it may not be looked at more often.
pub(crate) const OVERFULL_EVERY: Duration = Duration::from_millis(500);
/// No limit.
const ANY: usize = usize::MAX;

/// The limit of one server. Counted by all connections, reconsidered by one task, a few times a
/// second.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Requests that the server may owe.
    limit: AtomicUsize,
    /// The limit once the server answers: differs while it is silent.
    answering: AtomicUsize,
    /// Microseconds that a request may wait unread in a socket.
    unread: AtomicU64,
    answers: AtomicUsize,
    late: AtomicUsize,
    refused: AtomicUsize,
    overfull: AtomicUsize,
    state: Mutex<State>,
}

impl Default for Admission {
    fn default() -> Self {
        let zero = AtomicUsize::default;
        Self {
            limit: AtomicUsize::new(ANY),
            answering: AtomicUsize::new(ANY),
            unread: AtomicU64::new(u64::MAX),
            answers: zero(),
            late: zero(),
            refused: zero(),
            overfull: zero(),
            state: Mutex::default(),
        }
    }
}

impl Admission {
    /// Returns whether the server may owe `owed` requests, where it owes `own` to the session that
    /// asks already.
    pub(crate) fn admits(&self, owed: usize, own: usize) -> bool {
        let admits = owed.saturating_add(own) <= self.limit.load(Ordering::Relaxed);
        if !admits {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// Counts an answer, later than `forward.delay` or not.
    pub(crate) fn answered(&self, is_late: bool) {
        if self.answers.fetch_add(1, Ordering::Relaxed) == 0 {
            // A silent server answers again: those that waited send their next requests now.
            self.limit.store(self.answering.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if is_late {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a session that has sent more than its window for too long, to which the server owes
    /// `own` requests. Called once in [`OVERFULL_EVERY`] for each such session.
    pub(crate) fn overfull(&self, own: usize) {
        self.overfull.fetch_add(own, Ordering::Relaxed);
    }

    /// How long a request may wait unread in a socket, at most `most`.
    pub(crate) fn unread(&self, most: Duration) -> Duration {
        Duration::from_micros(self.unread.load(Ordering::Relaxed)).min(most)
    }

    /// Reconsiders the limit. Returns `Some(true)` when it has begun to turn requests away,
    /// `Some(false)` when it is gone after that.
    pub(crate) fn look(&self, elapsed: Duration, owed: usize, bounds: Bounds) -> Option<bool> {
        let seen = Seen {
            elapsed,
            answers: self.answers.swap(0, Ordering::Relaxed),
            late: self.late.swap(0, Ordering::Relaxed),
            refused: self.refused.swap(0, Ordering::Relaxed),
            overfull: self.overfull.swap(0, Ordering::Relaxed),
            owed,
        };
        let mut state = self.state.lock();
        let was_felt = state.is_felt();
        *state = state.after(&seen, bounds);
        self.answering.store(state.limit(bounds).unwrap_or(ANY), Ordering::Relaxed);
        self.limit.store(state.limit_now(bounds).unwrap_or(ANY), Ordering::Relaxed);
        let unread = u64::try_from(state.unread(owed, bounds).as_micros()).unwrap_or(u64::MAX);
        self.unread.store(unread, Ordering::Relaxed);
        let is_felt = state.is_felt();
        (is_felt != was_felt).then_some(is_felt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds::DEFAULT;
    const LOOK: Duration = Duration::from_millis(100);

    /// An admission that lets a silent server owe [`LEAST`].
    fn silent() -> Admission {
        let admission = Admission::default();
        admission.look(BOUNDS.patience + LOOK, 9000, BOUNDS);
        admission
    }

    #[test]
    fn what_is_over_the_limit_is_turned_away_until_there_is_none() {
        let admission = Admission::default();
        assert!(admission.admits(9000, 0));
        assert_eq!(admission.look(BOUNDS.patience + LOOK, 9000, BOUNDS), None, "not felt yet");
        assert!(admission.admits(LEAST, 0) && !admission.admits(LEAST + 1, 0));
        assert_eq!(admission.look(LOOK, LEAST, BOUNDS), Some(true));
        let looks = (0..100).map(|_| admission.look(LOOK, 0, BOUNDS));
        assert_eq!(looks.flatten().collect::<Vec<_>>(), [false]);
        assert!(admission.admits(9000, 0));
    }

    #[test]
    fn the_first_answer_of_a_silent_server_makes_room_at_once() {
        let admission = silent();
        assert!(!admission.admits(LEAST + 1, 0));
        admission.answered(true);
        assert!(admission.admits(9000, 0));
    }

    #[test]
    fn what_is_unread_may_wait_for_no_longer_than_is_asked_for() {
        let admission = Admission::default();
        assert_eq!(admission.unread(BOUNDS.patience), BOUNDS.patience);
        admission.look(LOOK, 0, BOUNDS);
        assert_eq!(admission.unread(LOOK), LOOK);
    }

    #[test]
    fn sessions_that_want_too_much_leave_room_for_others() {
        let admission = silent();
        for (sessions, each) in [(1, LEAST / 2), (10, 23), (LEAST, 1)] {
            let mut own = vec![0; sessions];
            // They take turns for as long as any of them gets something.
            loop {
                let before = own.clone();
                for session in 0..sessions {
                    let owed = own.iter().sum::<usize>();
                    own[session] += usize::from(admission.admits(owed + 1, own[session]));
                }
                if own == before {
                    break;
                }
            }
            assert!(own.iter().all(|own| own.abs_diff(each) <= 1), "{own:?}");
            let owed = own.iter().sum::<usize>();
            let has_room = sessions < LEAST;
            assert_eq!(admission.admits(owed + 1, 0), has_room, "a session that waits for nothing");
        }
    }
}
