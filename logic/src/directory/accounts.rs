//! Sessions by whose they are, in a table without keys of its own: what it finds by lies in the
//! sessions, so that a session more costs it one pointer.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use imago_proto::{Account, App};

use super::Session;

/// Any number of sessions of each account of each app.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    sessions: HashTable<Entry>,
    hasher: RandomState,
}

/// A session with the hash of its account: so nothing need be read to move or to skip it.
#[derive(Debug)]
struct Entry {
    hash: u64,
    session: Arc<Session>,
}

/// An account, to find its sessions by.
pub(super) struct Key<'a> {
    hash: u64,
    app: &'a App,
    account: &'a Account,
}

// === impl Accounts ===

impl Accounts {
    /// What the sessions of an account are found by.
    pub(super) fn key<'a>(&self, app: &'a App, account: &'a Account) -> Key<'a> {
        Key { hash: self.hasher.hash_one((app, account)), app, account }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, sessions: usize) {
        self.sessions.reserve(sessions, |entry| entry.hash);
    }

    /// Adds a session under its own key. The same one is not to be added twice.
    pub(super) fn insert(&mut self, key: &Key<'_>, session: Arc<Session>) {
        let entry = Entry { hash: key.hash, session };
        self.sessions.insert_unique(key.hash, entry, |entry| entry.hash);
    }

    /// Takes out this very session: another one of the account stays.
    pub(super) fn remove(&mut self, session: &Arc<Session>) {
        let hash = self.key(&session.app, &session.account).hash;
        let is_it = |entry: &Entry| Arc::ptr_eq(&entry.session, session);
        if let Ok(found) = self.sessions.find_entry(hash, is_it) {
            found.remove();
        }
    }

    /// All sessions of an account, in no order.
    pub(super) fn of<'a>(&'a self, key: &'a Key<'_>) -> impl Iterator<Item = &'a Arc<Session>> {
        let entries = self.sessions.iter_hash(key.hash).filter(|entry| entry.hash == key.hash);
        let sessions = entries.map(|entry| &entry.session);
        sessions.filter(|session| session.account == *key.account && session.app == *key.app)
    }

    /// Sessions that there is room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.sessions.capacity()
    }
}
