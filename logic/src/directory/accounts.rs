//! Sessions by account, in a table without keys of its own. The keys lie in the sessions, so that the table
//! takes eight bytes a session.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table};
use imago_proto::SessionId;
use once_cell::race::OnceBox;

use super::{
    Session,
    pack::Pack,
    slab::{Slab, Slot},
};

/// Hashes accounts. Clones give the same hashes.
#[derive(Clone, Debug, Default)]
pub(super) struct Hasher(RandomState);

/// The pack of a session that was not told with others.
const NO_PACK: Slot = Slot::NONE;

/// Any number of sessions of each account of each app.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    sessions: Slab<StoredSession>,
    packs: Slab<CountedPack>,
    entries: HashTable<Entry>,
    hasher: Hasher,
}

/// A session, or its part of a pack from which it is made.
#[derive(Debug)]
struct StoredSession {
    id: SessionId,
    /// Unpacked at its first use.
    session: OnceBox<Arc<Session>>,
    pack: Slot,
    /// The offset of the session in the pack.
    start: u32,
}

/// A pack, and the number of its sessions that are held or still to be inserted.
#[derive(Debug)]
struct CountedPack {
    pack: Pack,
    held: usize,
}

/// The slot of a session, with the hash of its account: few other sessions have the same.
#[derive(Debug)]
struct Entry {
    hash: AccountHash,
    slot: Slot,
}

/// A session that was inserted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inserted {
    pub(super) slot: Slot,
    /// The account may have other sessions.
    pub(super) may_have_others: bool,
}

/// Half of the hash of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccountHash(u32);

/// An account as the key of its sessions.
#[derive(Debug)]
pub(super) struct Key<'a> {
    hash: AccountHash,
    app: &'a [u8],
    account: &'a [u8],
}

// === impl Hasher ===

impl Hasher {
    /// Returns the key of an account.
    pub(super) fn key<'a>(&self, app: &'a [u8], account: &'a [u8]) -> Key<'a> {
        Key::new(self.account(app, account), app, account)
    }

    /// Returns the hash of an account.
    pub(super) fn account(&self, app: &[u8], account: &[u8]) -> AccountHash {
        // Both halves of the hash are of the same quality.
        AccountHash((self.0.hash_one((app, account)) >> 32) as u32)
    }

    /// Returns the hash of a session's number.
    pub(super) fn hash(&self, id: SessionId) -> u64 {
        self.0.hash_one(id)
    }
}

// === impl Key ===

impl<'a> Key<'a> {
    /// Creates the key of an account with this hash.
    pub(super) fn new(hash: AccountHash, app: &'a [u8], account: &'a [u8]) -> Self {
        Self { hash, app, account }
    }
}

// === impl Accounts ===

impl Accounts {
    /// Returns the hasher of the keys.
    pub(super) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Returns the key of a session.
    pub(super) fn key_of<'a>(&self, session: &'a Session) -> Key<'a> {
        self.hasher.key(session.app.as_str().as_bytes(), session.account.as_str().as_bytes())
    }

    /// Reserves room for `sessions` more.
    pub(super) fn reserve(&mut self, sessions: usize) {
        self.entries.reserve(sessions, |entry| spread(entry.hash));
    }

    /// Inserts a session under its own key. Returns `None` where no slot is left.
    pub(super) fn insert(&mut self, key: &Key<'_>, session: Arc<Session>) -> Option<Inserted> {
        let id = session.id;
        let session = OnceBox::with_value(Box::new(session));
        self.store(key.hash, StoredSession { id, session, pack: NO_PACK, start: 0 })
    }

    /// Adds a pack. Callers [insert](Self::insert_packed) each of its sessions, or
    /// [release](Self::release) it.
    pub(super) fn add_pack(&mut self, pack: Pack) -> Slot {
        let held = pack.len();
        self.packs.insert(CountedPack { pack, held }).unwrap_or(NO_PACK)
    }

    /// Inserts the session at this offset of a pack, as [`insert`](Self::insert) does.
    pub(super) fn insert_packed(
        &mut self,
        key: &Key<'_>,
        id: SessionId,
        (pack, start): (Slot, u32),
    ) -> Option<Inserted> {
        self.store(key.hash, StoredSession { id, session: OnceBox::new(), pack, start })
    }

    /// Releases `sessions` sessions of a pack. The pack is removed with the last one.
    pub(super) fn release(&mut self, pack: Slot, sessions: usize) {
        let Some(held) = self.packs.get_mut(pack) else { return };
        held.held -= sessions;
        held.pack.tidy();
        if held.held == 0 {
            self.packs.remove(pack);
        }
    }

    fn store(&mut self, hash: AccountHash, session: StoredSession) -> Option<Inserted> {
        let slot = self.sessions.insert(session)?;
        let (entry, hash_of) = (Entry { hash, slot }, |entry: &Entry| spread(entry.hash));
        // Mostly no other account has this hash, and the table is searched once.
        match self.entries.entry(spread(hash), |other| other.hash == hash, hash_of) {
            hash_table::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                Some(Inserted { slot, may_have_others: false })
            }
            hash_table::Entry::Occupied(other) => {
                other.into_table().insert_unique(spread(hash), entry, hash_of);
                Some(Inserted { slot, may_have_others: true })
            }
        }
    }

    /// Returns the number of the session in this slot.
    pub(super) fn id(&self, slot: Slot) -> Option<SessionId> {
        self.sessions.get(slot).map(|held| held.id)
    }

    /// Returns the session in this slot.
    pub(super) fn get(&self, slot: Slot) -> Option<&Arc<Session>> {
        let held = self.sessions.get(slot)?;
        if let Some(session) = held.session.get() {
            return Some(session);
        }
        let CountedPack { pack, .. } = self.packs.get(held.pack)?;
        // Other threads may unpack it at the same time: one result is kept.
        if held.session.set(Box::new(Arc::new(pack.unpack(held.start as usize)))).is_ok() {
            pack.count();
        }
        held.session.get()
    }

    /// Removes the session in this slot. Other sessions of its account stay.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Arc<Session>> {
        let session = self.get(slot)?.clone();
        let held = self.sessions.remove(slot)?;
        let hash = self.key_of(&session).hash;
        if let Ok(found) = self.entries.find_entry(spread(hash), |entry| entry.slot == slot) {
            found.remove();
        }
        self.release(held.pack, 1);
        Some(session)
    }

    /// Iterates over the sessions of an account, in no order.
    pub(super) fn of<'a>(&'a self, key: &'a Key<'_>) -> impl Iterator<Item = &'a Arc<Session>> {
        let entries = self.entries.iter_hash(spread(key.hash)).filter(|it| it.hash == key.hash);
        let sessions = entries.filter_map(|entry| self.get(entry.slot));
        sessions.filter(|session| {
            session.account.as_str().as_bytes() == key.account
                && session.app.as_str().as_bytes() == key.app
        })
    }

    /// Returns the number of sessions that have room.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }
}

#[cfg(test)]
impl Accounts {
    /// Returns the number of packs, and the bytes in them.
    pub(super) fn packed(&self) -> (usize, usize) {
        (self.packs.all().count(), self.packs.all().map(|held| held.pack.bytes()).sum())
    }
}

/// Spreads half a hash over 64 bits: the table uses the lowest bits and the highest seven (multiplicative
/// hashing: Knuth, The Art of Computer Programming 3, section 6.4).
fn spread(hash: AccountHash) -> u64 {
    u64::from(hash.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_24_bytes_and_its_entry_eight() {
        assert_eq!((size_of::<Option<StoredSession>>(), size_of::<Entry>()), (24, 8));
    }
}
