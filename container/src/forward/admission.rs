//! How many requests a logic server may owe at a time: decided by how long its answers take.
//!
//! What is owed says little: a quick server may owe much. When most answers of a while are late or
//! will be, or none comes, requests stand in a queue that does not go away by itself (the idea of
//! CoDel, RFC 8289 §3). Then only as many are let through as the server answers within the delay
//! (Little's law), and all others are answered "busy" at once, here, where that costs least: those
//! that are let through do not wait for long, and the server works on nothing that nobody waits for
//! any more.
//!
//! A session gets no more of that than is left: dynamic thresholds (Choudhury and Hahne, "Dynamic
//! Queue Length Thresholds for Shared-Memory Packet Switches", 1998, with α = 1). Many that send too
//! much get about the same each, and one alone half of it. Without, whoever comes first takes all, and
//! who sends little is refused for those who send without end.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Requests that a server may owe in any case: bursts, and what waits while it is stuck.
pub(super) const LEAST: usize = 256;
/// Looks without a request turned away after which a limit goes.
const QUIET: u32 = 10;
/// No limit.
const ANY: usize = usize::MAX;

/// The limit of one server. Counted by everybody, reconsidered by one, a few times a second.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: AtomicUsize,
    answers: AtomicUsize,
    late: AtomicUsize,
    refused: AtomicUsize,
    state: Mutex<State>,
}

/// What is remembered from one look to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Requests that the server may owe, where that is limited.
    limit: Option<usize>,
    /// Looks in a row that found that it turned nothing away.
    quiet: u32,
    /// For how long the server has owed answers and given none.
    silent: Duration,
    /// Looks in a row that found more owed than it seemed to answer within the delay.
    behind: u32,
    /// The limit has turned somebody away.
    is_felt: bool,
}

/// What happened since the last look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    elapsed: Duration,
    answers: usize,
    /// Those of them that took longer than the delay.
    late: usize,
    /// Requests over the limit.
    refused: usize,
    /// Requests that are not answered now.
    owed: usize,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            limit: AtomicUsize::new(ANY),
            answers: AtomicUsize::new(0),
            late: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }
}

impl Admission {
    /// Whether the server may owe so many, where it owes `own` to the session that asks already.
    pub(crate) fn admits(&self, owed: usize, own: usize) -> bool {
        let admits = owed.saturating_add(own) <= self.limit.load(Ordering::Relaxed);
        if !admits {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    /// A request was answered, later than the delay or not.
    pub(crate) fn answered(&self, is_late: bool) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if is_late {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reconsiders the limit. `delay`: how long answers may take. `Some(true)` when it has begun to
    /// turn requests away, `Some(false)` when it is gone after that.
    pub(crate) fn look(&self, elapsed: Duration, owed: usize, delay: Duration) -> Option<bool> {
        let seen = Seen {
            elapsed,
            answers: self.answers.swap(0, Ordering::Relaxed),
            late: self.late.swap(0, Ordering::Relaxed),
            refused: self.refused.swap(0, Ordering::Relaxed),
            owed,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_felt = state.is_felt;
        *state = state.after(&seen, delay);
        self.limit.store(state.limit.unwrap_or(ANY), Ordering::Relaxed);
        (state.is_felt != was_felt).then_some(state.is_felt)
    }
}

impl State {
    fn after(self, seen: &Seen, delay: Duration) -> Self {
        let rate = seen.answers as f64 / seen.elapsed.as_secs_f64().max(0.001);
        let within_delay = (rate * delay.as_secs_f64()) as usize;
        let is_silent = seen.answers == 0 && seen.owed > 0;
        let silent = if is_silent { self.silent + seen.elapsed } else { Duration::ZERO };
        // A burst that has just come is more than what was answered before; the next look knows.
        let is_behind = seen.owed > within_delay.max(LEAST) && seen.answers > 0;
        let behind = if is_behind { self.behind + 1 } else { 0 };
        let is_late = silent > delay || seen.late > seen.answers / 2 || behind > 1;
        let quiet = if is_late || seen.refused > 0 { 0 } else { self.quiet + 1 };
        let limit = match self.limit {
            None => is_late.then_some(within_delay),
            // Few came, so that few were answered: that says nothing of what could be.
            Some(limit) if quiet > 0 => (quiet < QUIET).then_some(limit),
            Some(limit) => Some(limit.midpoint(within_delay)),
        };
        let is_felt = limit.is_some() && (self.is_felt || seen.refused > 0);
        Self { limit: limit.map(|limit| limit.max(LEAST)), quiet, silent, behind, is_felt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(250);
    const LOOK: Duration = Duration::from_millis(100);

    fn seen(answers: usize, late: usize) -> Seen {
        Seen { elapsed: LOOK, answers, late, refused: 0, owed: 100 }
    }

    fn limit(state: State, seen: &Seen) -> Option<usize> {
        state.after(seen, DELAY).limit
    }

    #[test]
    fn answers_in_time_need_no_limit_however_many_are_owed() {
        let many = Seen { owed: 1_000_000, ..seen(1000, 500) };
        assert_eq!(limit(State::default(), &many), None);
    }

    #[test]
    fn late_answers_limit_what_is_owed_to_what_is_answered_within_the_delay() {
        assert_eq!(limit(State::default(), &seen(1000, 501)), Some(2500));
        assert_eq!(limit(State::default(), &seen(1, 1)), Some(LEAST));
    }

    #[test]
    fn who_is_behind_for_longer_than_a_burst_takes_is_limited_before_answers_are_late() {
        let behind = Seen { owed: 2501, ..seen(1000, 0) };
        let state = State::default().after(&behind, DELAY);
        assert_eq!(state.limit, None);
        assert_eq!(limit(state, &behind), Some(2500));
        // A burst into silence: the first look finds it, the second how fast it is gone.
        let state = State::default().after(&Seen { owed: 5000, ..seen(10, 0) }, DELAY);
        assert_eq!(limit(state, &Seen { owed: 3000, ..seen(2000, 0) }), None);
    }

    #[test]
    fn a_limit_follows_what_is_answered_while_it_turns_requests_away() {
        let limited = State::default().after(&seen(1000, 1000), DELAY);
        let turning_away = Seen { refused: 5, ..seen(800, 0) };
        assert_eq!(limit(limited, &turning_away), Some(2250));
    }

    #[test]
    fn a_limit_goes_when_it_has_turned_nothing_away_for_a_while() {
        let mut state = State::default().after(&seen(1000, 1000), DELAY);
        for _ in 1..QUIET {
            state = state.after(&seen(10, 0), DELAY);
            assert_eq!(state.limit, Some(2500), "as it was: {state:?}");
        }
        assert_eq!(limit(state, &seen(10, 0)), None);
        let again = state.after(&Seen { refused: 1, ..seen(1000, 0) }, DELAY);
        assert_eq!(limit(again, &seen(10, 0)), Some(2500), "from the beginning");
    }

    #[test]
    fn a_server_that_owes_and_says_nothing_is_late_too_after_a_while() {
        let mut state = State::default();
        for _ in 0..2 {
            state = state.after(&seen(0, 0), DELAY);
            assert_eq!(state.limit, None, "{state:?}");
        }
        state = state.after(&seen(0, 0), DELAY);
        assert_eq!(state.limit, Some(LEAST));
        // It owes nothing: it is idle, not silent.
        assert_eq!(state.after(&Seen { owed: 0, ..seen(0, 0) }, DELAY).silent, Duration::ZERO);
    }

    #[test]
    fn what_is_over_the_limit_is_turned_away_until_there_is_none() {
        let admission = Admission::default();
        admission.answered(true);
        assert_eq!(admission.look(LOOK, 9000, DELAY), None, "nobody has felt it");
        assert!(admission.admits(LEAST, 0) && !admission.admits(LEAST + 1, 0));
        admission.answered(false);
        assert_eq!(admission.look(LOOK, LEAST, DELAY), Some(true));
        let looks = (0..=QUIET).map(|_| admission.look(LOOK, 0, DELAY));
        assert_eq!(looks.flatten().collect::<Vec<_>>(), [false]);
        assert!(admission.admits(9000, 0));
    }

    #[test]
    fn sessions_that_want_too_much_leave_room_for_others() {
        let admission = Admission::default();
        admission.answered(true);
        admission.look(LOOK, 9000, DELAY);
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
            assert_eq!(admission.admits(owed + 1, 0), has_room, "one that waits for nothing");
        }
    }
}
