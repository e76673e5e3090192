//! Who is connected where: every logic server is told of all sessions of all gateways.

mod accounts;
#[cfg(test)]
mod conformance;
mod core;
mod policy;
mod redis;
mod replicated;

use std::sync::Arc;

use async_trait::async_trait;
use imago_container::PeerId;
use imago_proto::{Account, App, ChannelId, SessionId, SessionView, link};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::clock::unix_nanos;

pub use self::{
    core::{DirectoryCore, Kick},
    policy::DevicePolicy,
    redis::{RedisDirectory, RedisOptions},
    replicated::Replicated,
};

/// One connected client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The gateway that holds the connection.
    pub gateway: PeerId,
    /// Its number there.
    pub id: SessionId,
    /// Its name on the client's wire.
    pub channel: ChannelId,
    /// Whose it is.
    pub account: Account,
    /// Tenant.
    pub app: App,
    /// Which of the account's devices, or empty.
    pub device: String,
    /// Unix nanoseconds, on the gateway's clock.
    pub login_time: i64,
    /// The login on this server's clock. Unix nanoseconds.
    pub since: i64,
    /// Zone that the client named.
    pub zone: String,
    /// Network provider that the client named.
    pub isp: String,
    /// Tags that the client named.
    pub tags: Vec<String>,
    /// Address the client connected from.
    pub remote: String,
}

impl Session {
    /// A session as its gateway tells it now.
    pub fn from_link(gateway: &PeerId, told: &link::Session) -> Self {
        let app = App::from(told.app.as_str());
        Self::from_view(gateway, &SessionView::of(told), app, unix_nanos())
    }

    /// Many sessions of one gateway, as it tells them now. Neighbours of one app share its name.
    pub fn from_batch(gateway: &PeerId, told: &[SessionView<'_>]) -> Vec<Arc<Self>> {
        let (now, mut app) = (unix_nanos(), App::from(""));
        let session = |told: &SessionView<'_>| {
            if app.as_str() != told.app {
                app = told.app.into();
            }
            Arc::new(Self::from_view(gateway, told, app.clone(), now))
        };
        told.iter().map(session).collect()
    }

    fn from_view(gateway: &PeerId, told: &SessionView<'_>, app: App, now: i64) -> Self {
        let since = match told.age {
            0 => told.login_time,
            age => now.saturating_sub(age),
        };
        Self {
            gateway: gateway.clone(),
            id: SessionId(told.id),
            channel: told.channel_id.into(),
            account: told.account.into(),
            app,
            device: told.device.to_owned(),
            login_time: told.login_time,
            since,
            zone: told.zone.to_owned(),
            isp: told.isp.to_owned(),
            tags: told.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            remote: told.remote.to_owned(),
        }
    }
}

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
    fn sessions_up(&self, gateway: &PeerId, sessions: Vec<Arc<Session>>, left: u64) -> Vec<Kick>;

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
