//! Who a client is: the trait, and what it finds out.

mod claims;
mod jwt;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use async_trait::async_trait;
use imago_proto::{Account, App, msg::LoginReq};

pub use self::jwt::{HmacAlgorithm, JwtAuthenticator};
use crate::{
    transport::{Address, TlsPeer},
    upgrade::UpgradeRequest,
};

/// Characters of an account (docs/wire.md, "Groups").
const ACCOUNT_MAX: usize = 60;
/// Characters of an app or a device.
const NAME_MAX: usize = 60;

/// The account that a client has logged in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: Account,
    /// Its tenant.
    pub app: App,
    /// Which of its devices, or empty: one session for each.
    pub device: String,
    /// When the identity ends, by the clock of this machine; `None`: never. Its
    /// connection ends then, unless `auth.keep_expired` is set.
    pub expires: Option<SystemTime>,
}

// === impl Identity ===

impl Identity {
    /// Holds what an authenticator found to the limits of the wire: other servers and clients
    /// rely on them.
    pub(crate) fn checked(self) -> Result<Self, AuthError> {
        named("account", self.account.as_str(), ACCOUNT_MAX)?;
        named("app", self.app.as_str(), NAME_MAX)?;
        if !self.device.is_empty() {
            named("device", &self.device, NAME_MAX)?;
        }
        Ok(self)
    }
}

/// Why a client is not let in. The words go to the client, as the reason of the close: they must not
/// repeat a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// What the client has shown does not count. Its login is answered 105, and its connection closed with
    /// 1008: it needs another token.
    #[error("{0}")]
    Unauthorized(String),
    /// Whether it counts is not known now, for example because a directory service is away. The login is
    /// answered 300, and the connection closed with 1013: the client tries again later.
    #[error("{0}")]
    TryLater(String),
}

/// What a client has shown of itself.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Credentials<'a> {
    /// The login request, with the token.
    pub login: &'a LoginReq,
    /// The address that the client connected from.
    pub remote: &'a Address,
    /// The request that the client opened its WebSocket with; `None` over other framings.
    pub upgrade: Option<&'a UpgradeRequest>,
    /// What a TLS handshake has shown; `None` where the transport made none, as those of
    /// `listen.ws` and `listen.tcp`.
    pub tls: Option<&'a TlsPeer>,
}

// === impl Credentials ===

impl<'a> Credentials<'a> {
    /// Credentials of a client without an upgrade request and TLS.
    pub fn new(login: &'a LoginReq, remote: &'a Address) -> Self {
        Self { login, remote, upgrade: None, tls: None }
    }
}

/// Finds out who a client is.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Checks what a client has shown. May wait for others: the client's `auth.login_timeout` bounds it.
    ///
    /// # Errors
    /// When the client is not let in, with words for its developer.
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Identity, AuthError>;
}

fn named(what: &str, value: &str, limit: usize) -> Result<(), AuthError> {
    let len = value.chars().count();
    if len == 0 || len > limit {
        return Err(AuthError::Unauthorized(format!(
            "{what}: expected 1 to {limit} characters, got {len}"
        )));
    }
    if value.chars().any(char::is_control) {
        return Err(AuthError::Unauthorized(format!("{what}: expected no control characters")));
    }
    Ok(())
}
