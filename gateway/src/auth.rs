//! Who a client is: the trait, and what it finds out.

mod claims;
mod jwt;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use async_trait::async_trait;
use imago_proto::{Account, App, msg::LoginReq};

pub use self::jwt::{HmacAlgorithm, JwtAuthenticator};

/// Characters of an account (docs/wire.md, "Groups").
const ACCOUNT_MAX: usize = 60;
/// Characters of an app or a device.
const NAME_MAX: usize = 60;

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: Account,
    /// Its tenant.
    pub app: App,
    /// Which of its devices, or empty: one session for each.
    pub device: String,
    /// When the client is no longer who it was, by the clock of this machine; `None`: never. Its
    /// connection ends then, unless `auth.keep_expired` is set.
    pub expires: Option<SystemTime>,
}

// === impl Identity ===

impl Identity {
    /// Holds what an authenticator found to the limits of the wire: other servers and clients
    /// rely on them.
    pub(crate) fn checked(self) -> Result<Self, Unauthorized> {
        named("account", self.account.as_str(), ACCOUNT_MAX)?;
        named("app", self.app.as_str(), NAME_MAX)?;
        if !self.device.is_empty() {
            named("device", &self.device, NAME_MAX)?;
        }
        Ok(self)
    }
}

/// Why a login is refused with 105; the words go to the client, as the reason of the close.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unauthorized(pub String);

/// Finds out who a client is.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Checks a login request.
    ///
    /// # Errors
    /// When the client is not to be let in, with words for its developer: never with the token.
    async fn authenticate(&self, request: &LoginReq) -> Result<Identity, Unauthorized>;
}

fn named(what: &str, value: &str, limit: usize) -> Result<(), Unauthorized> {
    let len = value.chars().count();
    if len == 0 || len > limit {
        return Err(Unauthorized(format!("{what}: expected 1 to {limit} characters, got {len}")));
    }
    if value.chars().any(char::is_control) {
        return Err(Unauthorized(format!("{what}: expected no control characters")));
    }
    Ok(())
}
