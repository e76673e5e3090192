//! Sessions by whose they are, in a table without keys of its own: what it finds by lies in the
//! sessions, so that a session more costs it eight bytes.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use imago_proto::{Account, App};
use slab::Slab;

use super::Session;

/// Any number of sessions of each account of each app, each in a place of its own.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    sessions: Slab<Arc<Session>>,
    places: HashTable<Entry>,
    hasher: RandomState,
}

/// Where a session is, until it is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// The place of a session with the hash of its account: so hardly any other need be looked at.
#[derive(Debug)]
struct Entry {
    hash: u32,
    place: Place,
}

/// An account, to find its sessions by.
pub(super) struct Key<'a> {
    hash: u32,
    app: &'a App,
    account: &'a Account,
}

// === impl Accounts ===

impl Accounts {
    /// What the sessions of an account are found by.
    pub(super) fn key<'a>(&self, app: &'a App, account: &'a Account) -> Key<'a> {
        // The upper half is as good as the lower.
        let hash = (self.hasher.hash_one((app, account)) >> 32) as u32;
        Key { hash, app, account }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, sessions: usize) {
        self.sessions.reserve(sessions);
        self.places.reserve(sessions, |entry| spread(entry.hash));
    }

    /// Adds a session; gives its place. `None` where there is none left, after four thousand
    /// million.
    pub(super) fn insert(&mut self, session: Arc<Session>) -> Option<Place> {
        let vacant = self.sessions.vacant_entry();
        let place = Place(u32::try_from(vacant.key()).ok()?);
        let hash = (self.hasher.hash_one((&session.app, &session.account)) >> 32) as u32;
        vacant.insert(session);
        let entry = Entry { hash, place };
        self.places.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
        Some(place)
    }

    /// The session in this place.
    pub(super) fn get(&self, place: Place) -> Option<&Arc<Session>> {
        self.sessions.get(place.0 as usize)
    }

    /// Takes out the session in this place: another one of its account stays.
    pub(super) fn remove(&mut self, place: Place) -> Option<Arc<Session>> {
        let session = self.sessions.try_remove(place.0 as usize)?;
        let hash = self.key(&session.app, &session.account).hash;
        if let Ok(found) = self.places.find_entry(spread(hash), |entry| entry.place == place) {
            found.remove();
        }
        Some(session)
    }

    /// All sessions of an account, in no order.
    pub(super) fn of<'a>(&'a self, key: &'a Key<'_>) -> impl Iterator<Item = &'a Arc<Session>> {
        let entries = self.places.iter_hash(spread(key.hash)).filter(|it| it.hash == key.hash);
        let sessions = entries.filter_map(|entry| self.get(entry.place));
        sessions.filter(|session| session.account == *key.account && session.app == *key.app)
    }

    /// Sessions that there is room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.places.capacity().min(self.sessions.capacity())
    }
}

/// A hash for the table out of half of one: it looks at the lowest bits and at the highest seven
/// (multiplicative hashing: Knuth, The Art of Computer Programming 3, section 6.4).
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
