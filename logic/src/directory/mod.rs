//! Who is connected where: every logic server is told of all sessions of all gateways.

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
use imago_container::PeerId;
use imago_proto::{Account, App, SessionId, ToldSession};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    core::{DirectoryCore, Kick},
    policy::DevicePolicy,
    redis::{RedisDirectory, RedisOptions},
    replicated::Replicated,
    session::Session,
};

/// Finds sessions by account and by number. Links feed it: the calls of one gateway come in the
/// order of its link, and none may block.
#[async_trait]
pub trait SessionDirectory: Send + Sync + 'static {
    /// A gateway begins to stream all of its sessions.
    fn sync_begin(&self, gateway: &PeerId);

    /// A session lives. Says who has to go for it, or that it has to go itself.
    fn session_up(&self, session: Session) -> Vec<Kick>;

    /// Some sessions of a gateway's sync live, of about `left` that are still to be told, with
    /// these. Says of each what [`session_up`](Self::session_up) says.
    fn sessions_up(&self, gateway: &PeerId, sessions: &[ToldSession<'_>], left: u64) -> Vec<Kick>;

    /// A session has ended.
    fn session_down(&self, gateway: &PeerId, id: SessionId);

    /// All sessions have been streamed: what was not told since the begin is gone.
    fn sync_end(&self, gateway: &PeerId);

    /// A life of a gateway is over, and all of its sessions with it.
    fn gateway_gone(&self, gateway: &PeerId);

    /// A session of a gateway that is linked with this server, by its number.
    fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>>;

    /// All sessions of a gateway that is linked with this server.
    fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>>;

    /// How many sessions the links have told of.
    fn len(&self) -> usize;

    /// Whether the links have told of nobody.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All sessions of an account, of every device.
    async fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>> {
        self.locate_all(app, std::slice::from_ref(account)).await
    }

    /// All sessions of many accounts of one app, in one go.
    async fn locate_all(&self, app: &App, accounts: &[Account]) -> Vec<Arc<Session>>;
}

/// Where the directory is.
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

/// The URL as it may be shown: without user and password.
impl fmt::Display for DirectoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicated => f.write_str("replicated"),
            Self::Redis(options) => f.write_str(&options.shown()),
        }
    }
}

/// What a logic server is told about its directory.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// Where it is.
    pub kind: DirectoryKind,
    /// How many sessions an account may have.
    pub devices: DevicePolicy,
}

/// Opens the directory of a cluster. One in Redis runs among `tasks` until `stop`, whether Redis is
/// there yet or not.
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
