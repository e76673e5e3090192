//! The directory in this server's memory, which the links feed: locating costs no round trip.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use imago_container::{PeerId, SyncBatch};
use imago_proto::{Account, App, SessionId, ToldSession};

use super::{
    DevicePolicy, DirectoryCore, Kick, Session, SessionDirectory, accounts::Hasher, pack::Pack,
};

/// Accounts looked up at a time, so that changes need not wait for long.
const LOOK_AT_ONCE: usize = 500;

/// The directory that the links feed.
#[derive(Debug)]
pub struct Replicated {
    /// That of the core: what it is told is hashed before everybody waits for it.
    hasher: Hasher,
    core: RwLock<DirectoryCore>,
}

// === impl Replicated ===

impl Default for Replicated {
    fn default() -> Self {
        Self::new(DevicePolicy::default())
    }
}

impl Replicated {
    /// A directory with nobody in it.
    pub fn new(policy: DevicePolicy) -> Self {
        let core = DirectoryCore::new(policy);
        Self { hasher: core.hasher().clone(), core: RwLock::new(core) }
    }

    /// Changes the directory. A panic while it was locked leaves it whole: its parts change by
    /// single inserts and removals.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut DirectoryCore) -> T) -> T {
        change(&mut self.core.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&DirectoryCore) -> T) -> T {
        look(&self.core.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl SessionDirectory for Replicated {
    fn sync_begin(&self, gateway: &PeerId) {
        self.change(|core| core.sync_begin(gateway));
    }

    fn session_up(&self, session: Session) -> Vec<Kick> {
        self.change(|core| core.session_up(session))
    }

    fn sessions_up(&self, batch: SyncBatch<'_>) -> Vec<Kick> {
        let (gateway, sessions) = (batch.gateway(), batch.packed());
        let pack = Pack::new(gateway, sessions);
        let hash = |told: &ToldSession<'_>| self.hasher.account(told.app, told.account);
        let hashes: Vec<_> = sessions.iter().map(hash).collect();
        self.change(|core| {
            core.expect(gateway, batch.left());
            core.sessions_up(gateway, pack, sessions, &hashes)
        })
    }

    fn session_down(&self, gateway: &PeerId, id: SessionId) {
        self.change(|core| core.session_down(gateway, id));
    }

    fn sync_end(&self, gateway: &PeerId) {
        self.change(|core| core.sync_end(gateway));
    }

    fn gateway_gone(&self, gateway: &PeerId) {
        self.change(|core| core.gateway_gone(gateway));
    }

    fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        self.look(|core| core.session(gateway, id))
    }

    fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        self.look(|core| core.sessions_of(gateway))
    }

    fn len(&self) -> usize {
        self.look(DirectoryCore::len)
    }

    async fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>> {
        self.look(|core| core.locate(app, account))
    }

    async fn locate_all(&self, app: &App, accounts: &[Account]) -> Vec<Arc<Session>> {
        let mut sessions = Vec::new();
        for some in accounts.chunks(LOOK_AT_ONCE) {
            self.look(|core| {
                sessions.extend(some.iter().flat_map(|account| core.locate(app, account)));
            });
        }
        sessions
    }
}
