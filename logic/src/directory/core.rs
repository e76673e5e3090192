//! The directory as a pure state machine, fed with what each gateway says of its sessions.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use hashbrown::{HashTable, hash_table::Entry};
use imago_container::PeerId;
use imago_proto::{Account, App, SessionId, ToldSession};

use super::{
    DevicePolicy, Session,
    accounts::{AccountHash, Accounts, Hasher, Key, Put},
    pack::Pack,
    slab::Place,
};

/// Sessions that room is made for before they are told. Overflow policy: the rest find room as
/// they come.
const EXPECTED_MAX: usize = 1 << 16;

/// A session that has to go because a later login of the same account took its place, which by the
/// [`DevicePolicy`] only one of them may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kick {
    /// The older one.
    pub loser: Arc<Session>,
    /// The newer one.
    pub winner: Arc<Session>,
}

/// All sessions of all gateways.
#[derive(Debug, Default)]
pub struct DirectoryCore {
    policy: DevicePolicy,
    gateways: HashMap<PeerId, Held>,
    accounts: Accounts,
}

/// What one life of a gateway holds.
#[derive(Debug, Default)]
struct Held {
    /// By their numbers, which lie in their places.
    sessions: HashTable<Place>,
    sync: Option<Sync>,
    /// A sync has come to its end: all sessions are known.
    is_told: bool,
}

/// A sync in progress.
#[derive(Debug, Default)]
struct Sync {
    /// Known at the begin and not told since: gone at the end.
    untold: HashSet<SessionId>,
    /// Ended since the begin: the stream may still tell them as living.
    ended: HashSet<SessionId>,
}

/// A session with what it is found by.
struct Keyed<'a> {
    id: SessionId,
    key: Key<'a>,
    device: &'a [u8],
}

// === impl Keyed ===

impl<'a> Keyed<'a> {
    /// A session that was told, whose account has this hash.
    fn new(told: &ToldSession<'a>, hash: AccountHash) -> Self {
        let key = Key::new(hash, told.app, told.account);
        Self { id: SessionId(told.id), key, device: told.device }
    }
}

/// The hash of the number of the session in this place.
fn hash_of(accounts: &Accounts, place: Place) -> u64 {
    accounts.id(place).map_or(0, |id| accounts.hasher().hash(id))
}

// === impl Held ===

impl Held {
    /// A session lives: inserts it, where it is not known. Gives it with those that it cannot live
    /// beside, where there are any.
    fn up(
        &mut self,
        accounts: &mut Accounts,
        policy: DevicePolicy,
        told: &Keyed<'_>,
        insert: impl FnOnce(&mut Accounts) -> Option<Put>,
    ) -> Vec<Arc<Session>> {
        let Keyed { id, ref key, device } = *told;
        if let Some(sync) = &mut self.sync {
            if sync.ended.contains(&id) {
                return Vec::new();
            }
            sync.untold.remove(&id);
        }
        let hash = accounts.hasher().hash(id);
        let known = |place: &Place| accounts.id(*place) == Some(id);
        let entry = self.sessions.entry(hash, known, |place| hash_of(accounts, *place));
        let Entry::Vacant(vacant) = entry else { return Vec::new() };
        let Some(put) = insert(accounts) else { return Vec::new() };
        vacant.insert(put.place);
        if !put.may_have_others {
            return Vec::new();
        }
        let device = str::from_utf8(device).unwrap_or_default();
        let rivals =
            accounts.of(key).filter(|it| policy.place(it.device()) == policy.place(device));
        let rivals: Vec<_> = rivals.cloned().collect();
        // Itself is one of them.
        if rivals.len() > 1 { rivals } else { Vec::new() }
    }
}

// === impl DirectoryCore ===

impl DirectoryCore {
    /// A directory with nobody in it.
    pub fn new(policy: DevicePolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// What hashes accounts for [`sessions_up`](Self::sessions_up).
    pub(super) fn hasher(&self) -> &Hasher {
        self.accounts.hasher()
    }

    /// A gateway begins to stream all of its sessions.
    pub fn sync_begin(&mut self, gateway: &PeerId) {
        let held = self.gateways.entry(gateway.clone()).or_default();
        let untold = held.sessions.iter().filter_map(|place| self.accounts.id(*place)).collect();
        held.sync = Some(Sync { untold, ended: HashSet::default() });
    }

    /// A gateway is about to tell of so many sessions: room for them is made at once, and for as
    /// many of each other gateway whose sync goes on.
    pub fn expect(&mut self, gateway: &PeerId, sessions: u64) {
        let syncs = self.gateways.values().filter(|held| held.sync.is_some()).count();
        let Some(held) = self.gateways.get_mut(gateway) else { return };
        let expected = usize::try_from(sessions).unwrap_or(usize::MAX).min(EXPECTED_MAX);
        let known = held.sync.as_ref().map_or(0, |sync| sync.untold.len());
        let new = expected.saturating_sub(known);
        held.sessions.reserve(new, |place| hash_of(&self.accounts, *place));
        self.accounts.reserve((new * syncs).min(EXPECTED_MAX));
    }

    /// A session lives. Says who has to go for it, or that it has to go itself. Gateways that are
    /// gone, or never began a sync, have none: what a dying link still tells is ignored.
    pub fn session_up(&mut self, session: impl Into<Arc<Session>>) -> Vec<Kick> {
        let session = session.into();
        let Some(held) = self.gateways.get_mut(&session.gateway) else { return Vec::new() };
        let key = self.accounts.key_of(&session);
        let told = Keyed { id: session.id, key, device: session.device().as_bytes() };
        let insert = |accounts: &mut Accounts| accounts.insert(&told.key, session.clone());
        let rivals = held.up(&mut self.accounts, self.policy, &told, insert);
        self.settle(rivals)
    }

    /// Some sessions of a gateway live, which are in a pack in this order, with the hashes of their
    /// accounts. Says of each what [`session_up`](Self::session_up) says.
    pub(super) fn sessions_up(
        &mut self,
        gateway: &PeerId,
        pack: Pack,
        sessions: &[ToldSession<'_>],
        hashes: &[AccountHash],
    ) -> Vec<Kick> {
        let (packed, pack) = (pack.len(), self.accounts.add_pack(pack));
        let (mut kicks, mut each) = (Vec::new(), sessions.iter().zip(hashes));
        let (mut inserted, mut start) = (0, 0);
        // Mostly none has rivals: then the gateway is looked for once.
        while let Some(held) = self.gateways.get_mut(gateway) {
            let rivals = each.by_ref().map(|(session, hash)| {
                let told = Keyed::new(session, *hash);
                let insert = |accounts: &mut Accounts| {
                    let put = accounts.insert_packed(&told.key, told.id, (pack, start));
                    inserted += usize::from(put.is_some());
                    put
                };
                let rivals = held.up(&mut self.accounts, self.policy, &told, insert);
                // Fits: a link's frame is far shorter than 4 GiB.
                start += session.encoded.len() as u32;
                rivals
            });
            let Some(rivals) = rivals.into_iter().find(|rivals| !rivals.is_empty()) else { break };
            kicks.extend(self.settle(rivals));
        }
        self.accounts.let_go(pack, packed - inserted);
        kicks
    }

    /// Of sessions in one place, the one that [outranks](Session::outranks) the others stays.
    ///
    /// No wall clocks are compared: stamps of logins follow their order, where one is known (see
    /// `Links::login_stamp` in the container), and so all servers keep the same session, in whatever
    /// order they hear of them. A session outranks the one that it names although its stamp is lower
    /// only where no server that knew of the earlier login told of it in time. A third session with a
    /// stamp between the two, within that same moment, is then judged by who hears of it when.
    fn settle(&mut self, rivals: Vec<Arc<Session>>) -> Vec<Kick> {
        let first =
            rivals.iter().reduce(|one, other| if other.outranks(one) { other } else { one });
        let Some(winner) = first.cloned() else { return Vec::new() };
        let losers = rivals.into_iter().filter(|session| !Arc::ptr_eq(session, &winner));
        let kicks: Vec<Kick> = losers.map(|loser| Kick { loser, winner: winner.clone() }).collect();
        for kick in &kicks {
            self.remove(&kick.loser.gateway, kick.loser.id);
        }
        kicks
    }

    /// A session has ended. Gives it where it was known.
    pub fn session_down(&mut self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        if let Some(sync) = self.gateways.get_mut(gateway).and_then(|held| held.sync.as_mut()) {
            sync.ended.insert(id);
        }
        self.remove(gateway, id)
    }

    /// All sessions have been streamed: the others are gone. Gives those.
    pub fn sync_end(&mut self, gateway: &PeerId) -> Vec<Arc<Session>> {
        let Some(held) = self.gateways.get_mut(gateway) else { return Vec::new() };
        let Some(sync) = held.sync.take() else { return Vec::new() };
        held.is_told = true;
        sync.untold.into_iter().filter_map(|id| self.remove(gateway, id)).collect()
    }

    /// A life of a gateway is over.
    pub fn gateway_gone(&mut self, gateway: &PeerId) {
        let Some(held) = self.gateways.remove(gateway) else { return };
        for place in held.sessions {
            self.accounts.remove(place);
        }
    }

    fn remove(&mut self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        let hash = self.accounts.hasher().hash(id);
        let known = |place: &Place| self.accounts.id(*place) == Some(id);
        let held = self.gateways.get_mut(gateway)?;
        let (place, _) = held.sessions.find_entry(hash, known).ok()?.remove();
        self.accounts.remove(place)
    }

    /// All sessions of an account.
    pub fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>> {
        let key = self.accounts.hasher().key(app.as_str().as_bytes(), account.as_str().as_bytes());
        self.accounts.of(&key).cloned().collect()
    }

    /// A session by its number.
    pub fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        let hash = self.accounts.hasher().hash(id);
        let known = |place: &Place| self.accounts.id(*place) == Some(id);
        let place = self.gateways.get(gateway)?.sessions.find(hash, known)?;
        self.accounts.get(*place).cloned()
    }

    /// All sessions of a gateway.
    pub fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        let Some(held) = self.gateways.get(gateway) else { return Vec::new() };
        held.sessions.iter().filter_map(|place| self.accounts.get(*place).cloned()).collect()
    }

    /// Gateways that have told all of their sessions.
    pub fn told(&self) -> Vec<PeerId> {
        let told = self.gateways.iter().filter(|(_, held)| held.is_told);
        told.map(|(gateway, _)| gateway.clone()).collect()
    }

    /// Whether this life of a gateway has told all of its sessions.
    pub fn is_told(&self, gateway: &PeerId) -> bool {
        self.gateways.get(gateway).is_some_and(|held| held.is_told)
    }

    /// Packs that are held, and bytes in them.
    #[cfg(test)]
    pub(super) fn packed(&self) -> (usize, usize) {
        self.accounts.packed()
    }

    /// How many sessions are known.
    pub fn len(&self) -> usize {
        self.gateways.values().map(|held| held.sessions.len()).sum()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
