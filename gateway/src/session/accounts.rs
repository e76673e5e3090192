//! How many connections each account has, and which one of them makes room for another.
//!
//! Connections whose clients vanished stay until they have been silent for `limits.read_timeout`. Those of
//! one account must not keep a new device of it out for that long: the longest silent one gives way. The
//! limits on all connections have no such rule: there, a newcomer has not shown yet who it is.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use imago_proto::{Account, App, SessionId};

/// The connections of all accounts. Overflow policy: one that has been silent for long enough gives way,
/// the longest silent one first; where none is, there is no room.
#[derive(Debug)]
pub(super) struct Accounts {
    most: usize,
    silent_after: Duration,
    by_account: Mutex<HashMap<(App, Account), AccountSessions>>,
}

/// Connections of one account.
#[derive(Debug, Default)]
struct AccountSessions {
    sessions: Vec<SessionId>,
    /// Those that gave way, and have not ended yet.
    replaced: usize,
}

/// What is known of a connection that may have to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// For how long nothing has come from its client.
    pub(super) silence: Duration,
    /// The newcomer replaces it, by its own word.
    pub(super) is_left: bool,
}

/// There is no room for another connection of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded {
    /// When the next one may give way; `None` where too many have, and are about to end.
    pub(crate) silent_in: Option<Duration>,
}

// === impl Accounts ===

impl Accounts {
    pub(super) fn new(most: usize, silent_after: Duration) -> Self {
        Self { most, silent_after, by_account: Mutex::default() }
    }

    /// Counts a connection in. Returns the one that has to give way, if one has; `look` tells what is
    /// known of a connection, and nothing of one that is about to begin.
    pub(super) fn enter(
        &self,
        account: (App, Account),
        id: SessionId,
        look: impl Fn(SessionId) -> Option<Seen>,
    ) -> Result<Option<SessionId>, Crowded> {
        let mut held = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        let AccountSessions { sessions, replaced } = held.entry(account).or_default();
        if sessions.len() < self.most {
            // Most accounts have one.
            sessions.reserve_exact(1);
            sessions.push(id);
            return Ok(None);
        }
        // However fast they come and give way: they are gone before more do.
        if *replaced >= self.most {
            return Err(Crowded { silent_in: None });
        }
        let seen = sessions.iter().enumerate().filter_map(|(at, id)| Some((at, *id, look(*id)?)));
        let rank =
            |(_, id, seen): &(usize, SessionId, Seen)| (seen.is_left, seen.silence, Reverse(id.0));
        let Some((at, quietest, Seen { silence, is_left })) = seen.max_by_key(rank) else {
            return Err(Crowded { silent_in: Some(self.silent_after) });
        };
        if !is_left && silence < self.silent_after {
            return Err(Crowded { silent_in: Some(self.silent_after.saturating_sub(silence)) });
        }
        sessions.swap_remove(at);
        sessions.push(id);
        *replaced += 1;
        Ok(Some(quietest))
    }

    /// A connection that was counted in has ended.
    pub(super) fn leave(&self, account: &(App, Account), id: SessionId) {
        let mut held = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(AccountSessions { sessions, replaced }) = held.get_mut(account) else { return };
        match sessions.iter().position(|other| *other == id) {
            Some(at) => drop(sessions.swap_remove(at)),
            None => *replaced = replaced.saturating_sub(1),
        }
        if sessions.is_empty() && *replaced == 0 {
            held.remove(account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn alice() -> (App, Account) {
        ("kim".into(), "alice".into())
    }

    /// Two connections of one account at most, silent after 10 s; the first two are there.
    fn full() -> Accounts {
        let accounts = Accounts::new(2, 10 * SECOND);
        for id in [1, 2] {
            assert_eq!(accounts.enter(alice(), SessionId(id), |_| None), Ok(None));
        }
        accounts
    }

    /// Silences in seconds, by id.
    fn silent(seconds: &[(u64, u32)]) -> impl Fn(SessionId) -> Option<Seen> {
        move |id| {
            let (_, seconds) = seconds.iter().find(|(other, _)| *other == id.0)?;
            Some(Seen { silence: *seconds * SECOND, is_left: false })
        }
    }

    #[test]
    fn the_longest_silent_connection_makes_room() {
        let accounts = full();
        let entered = accounts.enter(alice(), SessionId(3), silent(&[(1, 11), (2, 12)]));
        assert_eq!(entered, Ok(Some(SessionId(2))));
        // Of equals the one that came first.
        let entered = accounts.enter(alice(), SessionId(4), silent(&[(3, 10), (1, 10)]));
        assert_eq!(entered, Ok(Some(SessionId(1))));
    }

    #[test]
    fn active_connections_are_not_thrown_out() {
        let accounts = full();
        let silences = silent(&[(1, 3), (2, 9)]);
        let crowded = Err(Crowded { silent_in: Some(SECOND) });
        assert_eq!(accounts.enter(alice(), SessionId(3), silences), crowded);
        // One of which nothing is known is about to begin.
        let entered = accounts.enter(alice(), SessionId(3), silent(&[(1, 10)]));
        assert_eq!(entered, Ok(Some(SessionId(1))));
        let crowded = Err(Crowded { silent_in: Some(10 * SECOND) });
        assert_eq!(accounts.enter(alice(), SessionId(4), |_| None), crowded);
    }

    #[test]
    fn a_client_takes_its_own_place_though_others_are_silent() {
        let accounts = full();
        let look = |id: SessionId| Some(Seen { silence: 60 * SECOND, is_left: id.0 == 2 });
        assert_eq!(accounts.enter(alice(), SessionId(3), look), Ok(Some(SessionId(2))));
    }

    #[test]
    fn those_that_gave_way_are_not_more_than_may_stay() {
        let accounts = full();
        let look = |_| Some(Seen { silence: 60 * SECOND, is_left: false });
        for id in [3, 4] {
            assert_eq!(accounts.enter(alice(), SessionId(id), look), Ok(Some(SessionId(id - 2))));
        }
        let crowded = Err(Crowded { silent_in: None });
        assert_eq!(accounts.enter(alice(), SessionId(5), look), crowded);
        accounts.leave(&alice(), SessionId(1));
        assert_eq!(accounts.enter(alice(), SessionId(5), look), Ok(Some(SessionId(3))));
    }

    #[test]
    fn nothing_is_kept_of_an_account_whose_connections_have_ended() {
        let accounts = full();
        let look = |_| Some(Seen { silence: 60 * SECOND, is_left: false });
        accounts.enter(alice(), SessionId(3), look).unwrap();
        for id in [3, 1, 2] {
            assert!(!accounts.by_account.lock().unwrap().is_empty());
            accounts.leave(&alice(), SessionId(id));
        }
        assert!(accounts.by_account.lock().unwrap().is_empty());
    }

    #[test]
    fn accounts_do_not_count_together() {
        let accounts = full();
        for other in [("kim".into(), "bob".into()), ("other".into(), "alice".into())] {
            assert_eq!(accounts.enter(other, SessionId(9), |_| None), Ok(None));
        }
    }
}
