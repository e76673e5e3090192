//! Sessions by whose they are, in a table without keys of its own: what it finds by lies in the
//! sessions, so that a session more costs it eight bytes.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table};
use imago_proto::SessionId;
use once_cell::race::OnceBox;

use super::{
    Session,
    pack::Pack,
    slab::{Place, Places},
};

/// Hashes accounts. A copy does it as the first does.
#[derive(Clone, Debug, Default)]
pub(super) struct Hasher(RandomState);

/// The pack of a session that was not told with others.
const ALONE: Place = Place::NOWHERE;

/// Any number of sessions of each account of each app, each in a place of its own.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    sessions: Places<Held>,
    packs: Places<HeldPack>,
    entries: HashTable<Entry>,
    hasher: Hasher,
}

/// A session, and where it comes from.
#[derive(Debug)]
struct Held {
    id: SessionId,
    /// Made when somebody asks for it.
    session: OnceBox<Arc<Session>>,
    pack: Place,
    /// Where it begins in the pack.
    start: u32,
}

/// A pack with how many sessions out of it are held, or may yet be while they are inserted.
#[derive(Debug)]
struct HeldPack {
    pack: Pack,
    held: usize,
}

/// The place of a session with the hash of its account: so hardly any other need be looked at.
#[derive(Debug)]
struct Entry {
    hash: AccountHash,
    place: Place,
}

/// Where a session was put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put {
    pub(super) place: Place,
    /// It may not be the only one of its account.
    pub(super) may_have_others: bool,
}

/// Half of the hash of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccountHash(u32);

/// An account, to find its sessions by.
#[derive(Debug)]
pub(super) struct Key<'a> {
    hash: AccountHash,
    app: &'a [u8],
    account: &'a [u8],
}

// === impl Hasher ===

impl Hasher {
    /// The key of an account.
    pub(super) fn key<'a>(&self, app: &'a [u8], account: &'a [u8]) -> Key<'a> {
        Key::new(self.account(app, account), app, account)
    }

    /// The hash of an account.
    pub(super) fn account(&self, app: &[u8], account: &[u8]) -> AccountHash {
        // The upper half is as good as the lower.
        AccountHash((self.0.hash_one((app, account)) >> 32) as u32)
    }

    /// The hash of a session's number.
    pub(super) fn hash(&self, id: SessionId) -> u64 {
        self.0.hash_one(id)
    }
}

// === impl Key ===

impl<'a> Key<'a> {
    /// The key of an account with this hash.
    pub(super) fn new(hash: AccountHash, app: &'a [u8], account: &'a [u8]) -> Self {
        Self { hash, app, account }
    }
}

// === impl Accounts ===

impl Accounts {
    /// What makes the keys that accounts are found by.
    pub(super) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// What a session is found by.
    pub(super) fn key_of<'a>(&self, session: &'a Session) -> Key<'a> {
        self.hasher.key(session.app.as_str().as_bytes(), session.account.as_str().as_bytes())
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, sessions: usize) {
        self.entries.reserve(sessions, |entry| spread(entry.hash));
    }

    /// Adds a session under its own key; says where. `None` where there is no place left, after four
    /// thousand million.
    pub(super) fn insert(&mut self, key: &Key<'_>, session: Arc<Session>) -> Option<Put> {
        let id = session.id;
        let session = OnceBox::with_value(Box::new(session));
        self.place(key.hash, Held { id, session, pack: ALONE, start: 0 })
    }

    /// Takes a pack, for each of its sessions to be [inserted](Self::insert_packed), or
    /// [let go](Self::let_go).
    pub(super) fn add_pack(&mut self, pack: Pack) -> Place {
        let held = pack.len();
        self.packs.insert(HeldPack { pack, held }).unwrap_or(ALONE)
    }

    /// Adds the session that begins here in a pack; says where, as [`insert`](Self::insert) does.
    pub(super) fn insert_packed(
        &mut self,
        key: &Key<'_>,
        id: SessionId,
        (pack, start): (Place, u32),
    ) -> Option<Put> {
        self.place(key.hash, Held { id, session: OnceBox::new(), pack, start })
    }

    /// So many sessions of a pack are not held, or no more. After the last it goes.
    pub(super) fn let_go(&mut self, pack: Place, sessions: usize) {
        let Some(held) = self.packs.get_mut(pack) else { return };
        held.held -= sessions;
        held.pack.tidy();
        if held.held == 0 {
            self.packs.remove(pack);
        }
    }

    fn place(&mut self, hash: AccountHash, held: Held) -> Option<Put> {
        let place = self.sessions.insert(held)?;
        let (entry, hash_of) = (Entry { hash, place }, |entry: &Entry| spread(entry.hash));
        // Mostly no other has this hash: then the table is searched once.
        match self.entries.entry(spread(hash), |other| other.hash == hash, hash_of) {
            hash_table::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                Some(Put { place, may_have_others: false })
            }
            hash_table::Entry::Occupied(other) => {
                other.into_table().insert_unique(spread(hash), entry, hash_of);
                Some(Put { place, may_have_others: true })
            }
        }
    }

    /// The number of the session in this place.
    pub(super) fn id(&self, place: Place) -> Option<SessionId> {
        self.sessions.get(place).map(|held| held.id)
    }

    /// The session in this place.
    pub(super) fn get(&self, place: Place) -> Option<&Arc<Session>> {
        let held = self.sessions.get(place)?;
        if let Some(session) = held.session.get() {
            return Some(session);
        }
        let HeldPack { pack, .. } = self.packs.get(held.pack)?;
        // Others may look at the same time: of what they make, one is kept.
        if held.session.set(Box::new(Arc::new(pack.unpack(held.start as usize)))).is_ok() {
            pack.count();
        }
        held.session.get()
    }

    /// Takes out the session in this place: another one of its account stays.
    pub(super) fn remove(&mut self, place: Place) -> Option<Arc<Session>> {
        let session = self.get(place)?.clone();
        let held = self.sessions.remove(place)?;
        let hash = self.key_of(&session).hash;
        if let Ok(found) = self.entries.find_entry(spread(hash), |entry| entry.place == place) {
            found.remove();
        }
        self.let_go(held.pack, 1);
        Some(session)
    }

    /// All sessions of an account, in no order.
    pub(super) fn of<'a>(&'a self, key: &'a Key<'_>) -> impl Iterator<Item = &'a Arc<Session>> {
        let entries = self.entries.iter_hash(spread(key.hash)).filter(|it| it.hash == key.hash);
        let sessions = entries.filter_map(|entry| self.get(entry.place));
        sessions.filter(|session| {
            session.account.as_str().as_bytes() == key.account
                && session.app.as_str().as_bytes() == key.app
        })
    }

    /// Sessions that there is room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }
}

#[cfg(test)]
impl Accounts {
    /// Packs, and bytes in them.
    pub(super) fn packed(&self) -> (usize, usize) {
        (self.packs.all().count(), self.packs.all().map(|held| held.pack.bytes()).sum())
    }
}

/// A hash for the table out of half of one: it looks at the lowest bits and at the highest seven
/// (multiplicative hashing: Knuth, The Art of Computer Programming 3, section 6.4).
fn spread(hash: AccountHash) -> u64 {
    u64::from(hash.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_costs_no_more_than_it_needs() {
        assert_eq!((size_of::<Option<Held>>(), size_of::<Entry>()), (24, 8));
    }
}
