//! Who a client is: the trait, and the default that reads JSON Web Tokens.

use async_trait::async_trait;
use imago_proto::{Account, App, msg::LoginReq};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

/// Characters of an account (client wire, section 6).
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

/// The default: a JSON Web Token (RFC 7519) signed with a shared secret.
pub struct JwtAuthenticator {
    key: DecodingKey,
    validation: Validation,
}

/// Claims of a token (client wire, section 4).
#[derive(Deserialize)]
struct Claims {
    acc: String,
    app: String,
    #[serde(default)]
    device: String,
}

impl JwtAuthenticator {
    /// Accepts tokens signed with this secret by one of these algorithms, and no others: what a
    /// token says of its own algorithm is not believed (RFC 8725 §3.1).
    pub fn new(secret: &[u8], algorithms: &[HmacAlgorithm]) -> Self {
        let algorithms: Vec<Algorithm> = algorithms.iter().map(|name| name.to_library()).collect();
        let mut validation = Validation::new(algorithms.first().copied().unwrap_or_default());
        validation.algorithms = algorithms;
        validation.set_required_spec_claims(&["exp"]);
        validation.validate_aud = false;
        validation.leeway = 0;
        Self { key: DecodingKey::from_secret(secret), validation }
    }
}

/// Algorithms that work with a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

impl HmacAlgorithm {
    /// The algorithm of a name in the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            _ => return None,
        })
    }

    const fn to_library(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Hs384 => Algorithm::HS384,
            Self::Hs512 => Algorithm::HS512,
        }
    }
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, request: &LoginReq) -> Result<Identity, Unauthorized> {
        let token = decode::<Claims>(&request.token, &self.key, &self.validation);
        // The library's words name claims and algorithms, never the token itself.
        let claims = token.map_err(|error| Unauthorized(format!("token: {error}")))?.claims;
        let device = device(claims.device, &request.device)?;
        Ok(Identity { account: claims.acc.into(), app: claims.app.into(), device })
    }
}

/// The token's device binds; without one the client may name its own.
fn device(of_token: String, asked: &str) -> Result<String, Unauthorized> {
    if of_token.is_empty() {
        return Ok(asked.to_owned());
    }
    if !asked.is_empty() && asked != of_token {
        return Err(Unauthorized("device: the token is for another one".to_owned()));
    }
    Ok(of_token)
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

#[cfg(test)]
mod tests;
