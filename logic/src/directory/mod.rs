//! The directory of sessions: every logic server is told of all sessions of all gateways.

mod accounts;
#[cfg(test)]
mod conformance;
mod core;
mod pack;
mod policy;
mod redis;
mod replicated;
mod session;
mod slab;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use imago_container::{PeerId, SyncBatch};
use imago_proto::{Account, App, SessionId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    core::{DirectoryCore, Kick},
    policy::DevicePolicy,
    redis::{RedisDirectory, RedisOptions},
    replicated::Replicated,
    session::Session,
};

/// Finds sessions by account and by number. The calls for one gateway are made in the order of its link, and
/// must not block.
#[async_trait]
pub trait SessionDirectory: Send + Sync + 'static {
    /// Begins a sync: the gateway streams all of its sessions.
    fn sync_begin(&self, gateway: &PeerId);

    /// Adds a session. Returns the sessions that end for it, or itself if it ends for another one.
    fn session_up(&self, session: Session) -> Vec<Kick>;

    /// Adds sessions of a gateway's sync. Returns what [`session_up`](Self::session_up) returns of each.
    fn sessions_up(&self, batch: SyncBatch<'_>) -> Vec<Kick> {
        let gateway = batch.gateway();
        let sessions = batch.sessions().map(|session| Session::from_link(gateway, &session));
        sessions.flat_map(|session| self.session_up(session)).collect()
    }

    /// Removes a session.
    fn session_down(&self, gateway: &PeerId, id: SessionId);

    /// Ends a sync: sessions that were not told since its begin are removed.
    fn sync_end(&self, gateway: &PeerId);

    /// Removes an incarnation of a gateway, with its sessions.
    fn gateway_gone(&self, gateway: &PeerId);

    /// Returns a session, by its number, of a gateway that is linked with this server.
    fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>>;

    /// Returns all sessions of a gateway that is linked with this server.
    fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>>;

    /// Returns the number of sessions that links have told.
    fn len(&self) -> usize;

    /// Returns whether links have told no session.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all sessions of an account.
    async fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>> {
        self.locate_all(app, std::slice::from_ref(account)).await
    }

    /// Returns all sessions of several accounts of one app.
    async fn locate_all(&self, app: &App, accounts: &[Account]) -> Vec<Arc<Session>>;
}

/// Where the directory is kept.
#[derive(Clone, Debug)]
pub enum DirectoryKind {
    /// In the memory of each server.
    Replicated,
    /// In Redis too.
    Redis(RedisOptions),
}

impl DirectoryKind {
    /// Reads `replicated` or a URL of Redis.
    ///
    /// # Errors
    /// With what was expected, never with a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "replicated" {
            return Ok(Self::Replicated);
        }
        RedisOptions::parse(text).map(Self::Redis)
    }
}

/// Shows the URL without user and password.
impl fmt::Display for DirectoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicated => f.write_str("replicated"),
            Self::Redis(options) => f.write_str(&options.shown()),
        }
    }
}

/// The configuration of a directory.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// Where it is kept.
    pub kind: DirectoryKind,
    /// Which sessions of an account exclude each other.
    pub devices: DevicePolicy,
}

/// Opens the directory of a cluster. A directory in Redis runs among `tasks` until `stop`, and need not reach
/// Redis to be opened.
pub(crate) fn open(
    config: DirectoryConfig,
    cluster: &str,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Arc<dyn SessionDirectory> {
    match config.kind {
        DirectoryKind::Replicated => Arc::new(Replicated::new(config.devices)),
        DirectoryKind::Redis(options) => {
            Arc::new(RedisDirectory::start(options, config.devices, cluster, tasks, stop))
        }
    }
}
