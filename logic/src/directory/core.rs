//! The directory as a pure state machine. Its events are what gateways tell of their sessions.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use hashbrown::{HashTable, hash_table::Entry};
use imago_container::PeerId;
use imago_proto::{Account, App, SessionId, ToldSession};

use super::{
    DevicePolicy, Session,
    accounts::{AccountHash, Accounts, Hasher, Inserted, Key},
    pack::Pack,
    slab::Slot,
};

/// Sessions for which room is reserved before they are told. Overflow policy: the table grows as the rest
/// arrive.
const EXPECTED_MAX: usize = 1 << 16;

/// A session that ends because the [`DevicePolicy`] does not allow it beside a later login of its account.
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
    gateways: HashMap<PeerId, GatewaySessions>,
    accounts: Accounts,
}

/// The sessions of one incarnation of a gateway.
#[derive(Debug, Default)]
struct GatewaySessions {
    /// By their numbers, which lie in their slots.
    sessions: HashTable<Slot>,
    sync: Option<Sync>,
    /// A sync has ended: all sessions are known.
    is_told: bool,
}

/// A sync in progress.
#[derive(Debug, Default)]
struct Sync {
    /// Sessions known at the begin and not told since. They end with the sync.
    untold: HashSet<SessionId>,
    /// Sessions ended since the begin. The stream may still tell them as alive.
    ended: HashSet<SessionId>,
}

/// A session that was told, with its key.
struct Keyed<'a> {
    id: SessionId,
    key: Key<'a>,
    device: &'a [u8],
}

// === impl Keyed ===

impl<'a> Keyed<'a> {
    /// Creates it from a session whose account has this hash.
    fn new(told: &ToldSession<'a>, hash: AccountHash) -> Self {
        let key = Key::new(hash, told.app, told.account);
        Self { id: SessionId(told.id), key, device: told.device }
    }
}

/// Returns the hash of the number of the session in this slot.
fn hash_of(accounts: &Accounts, slot: Slot) -> u64 {
    accounts.id(slot).map_or(0, |id| accounts.hasher().hash(id))
}

// === impl GatewaySessions ===

impl GatewaySessions {
    /// Inserts a session, unless it is known. Returns it with its rivals, where it has any.
    fn up(
        &mut self,
        accounts: &mut Accounts,
        policy: DevicePolicy,
        told: &Keyed<'_>,
        insert: impl FnOnce(&mut Accounts) -> Option<Inserted>,
    ) -> Vec<Arc<Session>> {
        let Keyed { id, ref key, device } = *told;
        if let Some(sync) = &mut self.sync {
            if sync.ended.contains(&id) {
                return Vec::new();
            }
            sync.untold.remove(&id);
        }
        let hash = accounts.hasher().hash(id);
        let known = |slot: &Slot| accounts.id(*slot) == Some(id);
        let entry = self.sessions.entry(hash, known, |slot| hash_of(accounts, *slot));
        let Entry::Vacant(vacant) = entry else { return Vec::new() };
        let Some(inserted) = insert(accounts) else { return Vec::new() };
        vacant.insert(inserted.slot);
        if !inserted.may_have_others {
            return Vec::new();
        }
        let device = str::from_utf8(device).unwrap_or_default();
        let rivals =
            accounts.of(key).filter(|it| policy.scope(it.device()) == policy.scope(device));
        let rivals: Vec<_> = rivals.cloned().collect();
        // One of them is the session itself.
        if rivals.len() > 1 { rivals } else { Vec::new() }
    }
}

// === impl DirectoryCore ===

impl DirectoryCore {
    /// Creates an empty directory.
    pub fn new(policy: DevicePolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Returns the hasher of accounts for [`sessions_up`](Self::sessions_up).
    pub(super) fn hasher(&self) -> &Hasher {
        self.accounts.hasher()
    }

    /// Begins a sync: the gateway streams all of its sessions.
    pub fn sync_begin(&mut self, gateway: &PeerId) {
        let held = self.gateways.entry(gateway.clone()).or_default();
        let untold = held.sessions.iter().filter_map(|slot| self.accounts.id(*slot)).collect();
        held.sync = Some(Sync { untold, ended: HashSet::default() });
    }

    /// Reserves room for `sessions` that a gateway is about to tell, and for as many of each other gateway
    /// whose sync goes on.
    pub fn expect(&mut self, gateway: &PeerId, sessions: u64) {
        let syncs = self.gateways.values().filter(|held| held.sync.is_some()).count();
        let Some(held) = self.gateways.get_mut(gateway) else { return };
        let expected = usize::try_from(sessions).unwrap_or(usize::MAX).min(EXPECTED_MAX);
        let known = held.sync.as_ref().map_or(0, |sync| sync.untold.len());
        let new = expected.saturating_sub(known);
        held.sessions.reserve(new, |slot| hash_of(&self.accounts, *slot));
        self.accounts.reserve((new * syncs).min(EXPECTED_MAX));
    }

    /// Adds a session. Returns the sessions that end for it, or itself if it ends for another one. A session
    /// of a gateway that is gone, or that never began a sync, is ignored.
    pub fn session_up(&mut self, session: impl Into<Arc<Session>>) -> Vec<Kick> {
        let session = session.into();
        let Some(held) = self.gateways.get_mut(&session.gateway) else { return Vec::new() };
        let key = self.accounts.key_of(&session);
        let told = Keyed { id: session.id, key, device: session.device().as_bytes() };
        let insert = |accounts: &mut Accounts| accounts.insert(&told.key, session.clone());
        let rivals = held.up(&mut self.accounts, self.policy, &told, insert);
        self.resolve(rivals)
    }

    /// Adds sessions of a gateway, which lie in a pack in this order, with the hashes of their accounts.
    /// Returns what [`session_up`](Self::session_up) returns of each.
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
        // Mostly no session has rivals, and the gateway is looked up once.
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
            kicks.extend(self.resolve(rivals));
        }
        self.accounts.release(pack, packed - inserted);
        kicks
    }

    /// Ends all rivals except the one that [outranks](Session::outranks) the others.
    ///
    /// No wall clocks are compared. Stamps of logins follow the order of the logins, where one is known (see
    /// `Links::login_stamp` in the container), so that all servers keep the same session, in any order of
    /// events. A session names one with a higher stamp only if no server that knew of the earlier login told
    /// of it in time. A third session with a stamp between the two may then win on some servers.
    fn resolve(&mut self, rivals: Vec<Arc<Session>>) -> Vec<Kick> {
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

    /// Removes a session. Returns it if it was known.
    pub fn session_down(&mut self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        if let Some(sync) = self.gateways.get_mut(gateway).and_then(|held| held.sync.as_mut()) {
            sync.ended.insert(id);
        }
        self.remove(gateway, id)
    }

    /// Ends a sync. Removes and returns the sessions that were not told.
    pub fn sync_end(&mut self, gateway: &PeerId) -> Vec<Arc<Session>> {
        let Some(held) = self.gateways.get_mut(gateway) else { return Vec::new() };
        let Some(sync) = held.sync.take() else { return Vec::new() };
        held.is_told = true;
        sync.untold.into_iter().filter_map(|id| self.remove(gateway, id)).collect()
    }

    /// Removes an incarnation of a gateway, with its sessions.
    pub fn gateway_gone(&mut self, gateway: &PeerId) {
        let Some(held) = self.gateways.remove(gateway) else { return };
        for slot in held.sessions {
            self.accounts.remove(slot);
        }
    }

    fn remove(&mut self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        let hash = self.accounts.hasher().hash(id);
        let known = |slot: &Slot| self.accounts.id(*slot) == Some(id);
        let held = self.gateways.get_mut(gateway)?;
        let (slot, _) = held.sessions.find_entry(hash, known).ok()?.remove();
        self.accounts.remove(slot)
    }

    /// Returns all sessions of an account.
    pub fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>> {
        let key = self.accounts.hasher().key(app.as_str().as_bytes(), account.as_str().as_bytes());
        self.accounts.of(&key).cloned().collect()
    }

    /// Returns a session by its number.
    pub fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        let hash = self.accounts.hasher().hash(id);
        let known = |slot: &Slot| self.accounts.id(*slot) == Some(id);
        let slot = self.gateways.get(gateway)?.sessions.find(hash, known)?;
        self.accounts.get(*slot).cloned()
    }

    /// Returns all sessions of a gateway.
    pub fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        let Some(held) = self.gateways.get(gateway) else { return Vec::new() };
        held.sessions.iter().filter_map(|slot| self.accounts.get(*slot).cloned()).collect()
    }

    /// Returns the gateways that have told all of their sessions.
    pub fn told(&self) -> Vec<PeerId> {
        let told = self.gateways.iter().filter(|(_, held)| held.is_told);
        told.map(|(gateway, _)| gateway.clone()).collect()
    }

    /// Returns whether this incarnation of a gateway has told all of its sessions.
    pub fn is_told(&self, gateway: &PeerId) -> bool {
        self.gateways.get(gateway).is_some_and(|held| held.is_told)
    }

    /// Returns the number of packs, and the bytes in them.
    #[cfg(test)]
    pub(super) fn packed(&self) -> (usize, usize) {
        self.accounts.packed()
    }

    /// Returns the number of known sessions.
    pub fn len(&self) -> usize {
        self.gateways.values().map(|held| held.sessions.len()).sum()
    }

    /// Returns whether no session is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
