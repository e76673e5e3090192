//! Which sessions are owed a redelivery, and when each is asked for.
//!
//! Pure: time comes in as an argument. A debt stays until a redelivery is complete that was asked
//! for after it was made.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use foldhash::fast::RandomState;
use tokio::time::{Duration, Instant};

/// How long a hole has to fill by itself before a redelivery is asked for: pushes of two servers
/// overtake each other, by what their links' queues hold.
pub(super) const GRACE: Duration = Duration::from_millis(50);
/// How long a redelivery may show no progress before it is asked for again.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The same where a link was lost: it may have been the one.
const PATIENCE_LOST: Duration = Duration::from_secs(1);
/// Redeliveries under way at a time, so that a gateway asks for no more than servers read and clients
/// take. The others wait.
pub(super) const UNDER_WAY_MAX: usize = 256;

/// The debts of a gateway: at most one of each session, for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Debts {
    debts: HashMap<u64, Debt, RandomState>,
    /// Those that wait, by when they are due.
    waiting: BTreeSet<(Instant, u64)>,
    /// Those that were asked for, by when they are given up.
    asked: BTreeSet<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Debt {
    state: State,
    /// Asked for only if something waits for it then.
    is_hole: bool,
    /// Made since the redelivery was asked for.
    next: Option<Next>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting { due: Instant },
    Asked { until: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Next {
    due: Instant,
    is_hole: bool,
}

/// A session that a redelivery is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) session: u64,
    /// Only if something waits for it.
    pub(super) is_hole: bool,
}

// === impl Debts ===

impl Debts {
    pub(super) fn len(&self) -> usize {
        self.debts.len()
    }

    /// Pushes may be missing at a session.
    pub(super) fn owe(&mut self, session: u64, due: Instant) {
        self.add(session, Next { due, is_hole: false });
    }

    /// Pushes wait for what is before them.
    pub(super) fn hole(&mut self, session: u64, now: Instant) {
        self.add(session, Next { due: now + GRACE, is_hole: true });
    }

    fn add(&mut self, session: u64, new: Next) {
        let debt = match self.debts.entry(session) {
            Entry::Vacant(entry) => {
                let state = State::Waiting { due: new.due };
                entry.insert(Debt { state, is_hole: new.is_hole, next: None });
                self.waiting.insert((new.due, session));
                return;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        match debt.state {
            State::Waiting { due } => {
                debt.is_hole &= new.is_hole;
                let due = due.min(new.due);
                self.set(session, State::Waiting { due });
            }
            State::Asked { .. } => {
                debt.next = Some(debt.next.map_or(new, |next| next.or(new)));
            }
        }
    }

    /// A link was lost, or is back: every session is owed a redelivery that none under way is.
    pub(super) fn doubt(&mut self, now: Instant) {
        let until = now + PATIENCE_LOST;
        let asked: Vec<u64> = self.asked.iter().map(|(_, session)| *session).collect();
        for session in asked {
            if let Some(Debt { state: State::Asked { until: before }, .. }) =
                self.debts.get(&session)
            {
                let until = until.min(*before);
                self.set(session, State::Asked { until });
            }
        }
    }

    /// Takes some that are due, and gives up those that show no progress. What is taken counts as
    /// asked for.
    pub(super) fn take_due(&mut self, now: Instant, max: usize) -> Vec<Due> {
        while let Some(&(until, session)) = self.asked.first()
            && until <= now
        {
            self.put_off(session, now);
        }
        let room = UNDER_WAY_MAX.saturating_sub(self.asked.len()).min(max);
        let mut taken = Vec::new();
        while taken.len() < room
            && let Some(&(due, session)) = self.waiting.first()
            && due <= now
        {
            self.set(session, State::Asked { until: now + PATIENCE });
            let is_hole = self.debts.get(&session).is_some_and(|debt| debt.is_hole);
            taken.push(Due { session, is_hole });
        }
        taken
    }

    /// When [`take_due`](Self::take_due) has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.waiting.first().filter(|_| self.asked.len() < UNDER_WAY_MAX);
        waiting.into_iter().chain(self.asked.first()).map(|(at, _)| *at).min()
    }

    /// A session could not be asked for: it is due again then.
    pub(super) fn put_off(&mut self, session: u64, due: Instant) {
        let Some(debt) = self.debts.get_mut(&session) else { return };
        if let Some(next) = debt.next.take() {
            debt.is_hole &= next.is_hole;
        }
        self.set(session, State::Waiting { due });
    }

    /// What a session misses could not be read: it is due again then, even if nothing was asked for,
    /// because the answer to an earlier question may have been taken for that to this one.
    pub(super) fn failed(&mut self, session: u64, due: Instant) {
        if self.is_asked(session) {
            self.put_off(session, due);
        } else {
            self.owe(session, due);
        }
    }

    /// A redelivery that is under way brought something.
    pub(super) fn progressed(&mut self, session: u64, now: Instant) {
        if self.is_asked(session) {
            self.set(session, State::Asked { until: now + PATIENCE });
        }
    }

    /// Whether a redelivery of a session is under way.
    pub(super) fn is_asked(&self, session: u64) -> bool {
        matches!(self.debts.get(&session), Some(Debt { state: State::Asked { .. }, .. }))
    }

    /// The redelivery that was under way is complete, or was not needed.
    pub(super) fn done(&mut self, session: u64) {
        if !self.is_asked(session) {
            return;
        }
        let Some(debt) = self.debts.get_mut(&session) else { return };
        match debt.next.take() {
            Some(Next { due, is_hole }) => {
                debt.is_hole = is_hole;
                self.set(session, State::Waiting { due });
            }
            None => self.forget(session),
        }
    }

    /// A session has ended.
    pub(super) fn forget(&mut self, session: u64) {
        if let Some(debt) = self.debts.remove(&session) {
            self.unlist(session, debt.state);
        }
    }

    fn set(&mut self, session: u64, state: State) {
        let Some(debt) = self.debts.get_mut(&session) else { return };
        let before = std::mem::replace(&mut debt.state, state);
        self.unlist(session, before);
        match state {
            State::Waiting { due } => self.waiting.insert((due, session)),
            State::Asked { until } => self.asked.insert((until, session)),
        };
    }

    fn unlist(&mut self, session: u64, state: State) {
        match state {
            State::Waiting { due } => self.waiting.remove(&(due, session)),
            State::Asked { until } => self.asked.remove(&(until, session)),
        };
    }
}

// === impl Next ===

impl Next {
    /// Both in one.
    fn or(self, other: Self) -> Self {
        Self { due: self.due.min(other.due), is_hole: self.is_hole && other.is_hole }
    }
}

#[cfg(test)]
mod tests;
