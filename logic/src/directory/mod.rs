//! Who is connected where: every logic server holds all sessions of all gateways.

mod core;

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use imago_container::PeerId;
use imago_proto::{Account, App, ChannelId, SessionId, link};

pub use self::core::{DirectoryCore, Kick};

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
    /// A session as its gateway told it.
    pub fn from_link(gateway: &PeerId, told: link::Session) -> Self {
        Self {
            gateway: gateway.clone(),
            id: SessionId(told.id),
            channel: told.channel_id.into(),
            account: told.account.into(),
            app: told.app.into(),
            device: told.device,
            login_time: told.login_time,
            zone: told.zone,
            isp: told.isp,
            tags: told.tags,
            remote: told.remote,
        }
    }
}

/// Finds sessions by account.
#[async_trait]
pub trait SessionDirectory: Send + Sync + 'static {
    /// All sessions of an account, of every device.
    async fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>>;

    /// All sessions of several accounts, for example of a group's members.
    async fn locate_all(&self, app: &App, accounts: &[Account]) -> Vec<Arc<Session>>;
}

/// Accounts looked up at a time, so that changes need not wait for long.
const LOOK_AT_ONCE: usize = 500;

/// The directory that the links feed; locating costs no network round trip.
#[derive(Debug, Default)]
pub struct Replicated {
    core: RwLock<DirectoryCore>,
}

impl Replicated {
    /// Changes the directory. A panic while it was locked leaves it whole: its parts change by
    /// single inserts and removals.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut DirectoryCore) -> T) -> T {
        change(&mut self.core.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn look<T>(&self, look: impl FnOnce(&DirectoryCore) -> T) -> T {
        look(&self.core.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session by its number.
    pub fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        self.look(|core| core.session(gateway, id))
    }

    /// All sessions of a gateway.
    pub fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        self.look(|core| core.sessions_of(gateway))
    }

    /// How many sessions are known.
    pub fn len(&self) -> usize {
        self.look(DirectoryCore::len)
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl SessionDirectory for Replicated {
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
