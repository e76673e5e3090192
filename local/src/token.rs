//! Tokens that gateways accept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use imago_kit::Secret;
use imago_kit::jwt::{EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::Value;

/// Claims of a token (docs/wire.md, "Login"; RFC 7519 §4.1).
#[derive(Debug, Serialize)]
pub struct Claims<'a> {
    acc: &'a str,
    app: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    device: &'a str,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

// === impl Claims ===

impl<'a> Claims<'a> {
    /// Those of an account's device, good for this time from now on.
    ///
    /// # Errors
    /// When the account or the app is no name, or clocks cannot reach the end of the time.
    pub fn new(
        account: &'a str,
        app: &'a str,
        device: &'a str,
        ttl: Duration,
    ) -> anyhow::Result<Self> {
        let len = account.chars().count();
        ensure!((1..=60).contains(&len), "account: expected 1 to 60 characters, got {len}");
        ensure!(!app.is_empty(), "app: expected a name");
        let exp = from_now(ttl).context("ttl: expected a time that clocks can reach")?;
        Ok(Self { acc: account, app, device, exp, nbf: None, aud: None, iss: None })
    }

    /// Names the audiences of the token.
    pub fn audience(&mut self, names: &[String]) {
        self.aud = match names {
            [] => None,
            [one] => Some(one.as_str().into()),
            several => Some(several.into()),
        };
    }

    /// Names the issuer of the token.
    pub fn issuer(&mut self, name: Option<&'a str>) {
        self.iss = name;
    }

    /// Has the token count only after this time from now on.
    pub fn not_before(&mut self, after: Duration) {
        self.nbf = from_now(after);
    }

    /// Returns the token with these claims.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn sign(&self, secret: &Secret) -> anyhow::Result<String> {
        Ok(encode(&Header::default(), self, &EncodingKey::from_secret(secret.as_bytes()))?)
    }
}

/// Returns a token for an account.
///
/// # Errors
/// As [`Claims::new`] and [`Claims::sign`].
pub fn make_token(
    secret: &Secret,
    account: &str,
    app: &str,
    device: &str,
    ttl: Duration,
) -> anyhow::Result<String> {
    Claims::new(account, app, device, ttl)?.sign(secret)
}

/// Seconds since 1970, after this time.
fn from_now(after: Duration) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = now.checked_add(after)?.as_secs();
    (then <= i64::MAX as u64).then_some(then)
}
