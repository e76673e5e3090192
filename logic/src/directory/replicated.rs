//! The directory in this server's memory, fed by links. Locating a session costs no round trip.

use std::sync::Arc;

use async_trait::async_trait;
use imago_container::{PeerId, SyncBatch};
use imago_proto::{Account, App, SessionId, ToldSession};
use parking_lot::RwLock;

use super::{
    DevicePolicy, DirectoryCore, Kick, Session, SessionDirectory, accounts::Hasher, pack::Pack,
};

/// Accounts looked up under one lock, so that changes do not wait for long.
const LOOK_UP_AT_ONCE: usize = 500;

/// A directory in memory.
#[derive(Debug)]
pub struct Replicated {
    /// The hasher of the core. Accounts are hashed before the core is locked.
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
    /// Creates an empty directory.
    pub fn new(policy: DevicePolicy) -> Self {
        let core = DirectoryCore::new(policy);
        Self { hasher: core.hasher().clone(), core: RwLock::new(core) }
    }

    /// Changes the directory. A panic in `change` leaves it usable: its parts change by single inserts and
    /// removals.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut DirectoryCore) -> T) -> T {
        change(&mut self.core.write())
    }

    /// Reads the directory.
    pub(super) fn read<T>(&self, read: impl FnOnce(&DirectoryCore) -> T) -> T {
        read(&self.core.read())
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
        self.read(|core| core.session(gateway, id))
    }

    fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        self.read(|core| core.sessions_of(gateway))
    }

    fn len(&self) -> usize {
        self.read(DirectoryCore::len)
    }

    async fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>> {
        self.read(|core| core.locate(app, account))
    }

    async fn locate_all(&self, app: &App, accounts: &[Account]) -> Vec<Arc<Session>> {
        let mut sessions = Vec::new();
        for some in accounts.chunks(LOOK_UP_AT_ONCE) {
            self.read(|core| {
                sessions.extend(some.iter().flat_map(|account| core.locate(app, account)));
            });
        }
        sessions
    }
}
