//! The default authenticator: JSON Web Tokens (RFC 7519) in the compact form of RFC 7515.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use imago_kit::jwt::{self, Algorithm, DecodingKey};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, error::Category};

use super::{
    AuthError, Authenticator, Credentials, Identity,
    claims::{Claims, Rules, present},
};

/// How far the clock of an issuer may be off, where the configuration says nothing else.
pub(super) const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);

/// The default: a JSON Web Token (RFC 7519) signed with a shared secret.
///
/// A token is refused that has an `aud` while no [`audience`](Self::audience) is set, and a token
/// without `exp` in any case. No extension is understood, so that a `crit` header is refused.
pub struct JwtAuthenticator {
    key: DecodingKey,
    algorithms: Vec<HmacAlgorithm>,
    rules: Rules,
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

/// The header of a token, as far as it is looked at (RFC 7515 §4.1).
#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "present")]
    alg: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<Value>,
}

// === impl JwtAuthenticator ===

impl JwtAuthenticator {
    /// Accepts tokens signed with this secret by one of these algorithms, and no others: what a
    /// token says of its own algorithm is not believed (RFC 8725 §3.1).
    pub fn new(secret: &[u8], algorithms: &[HmacAlgorithm]) -> Self {
        let rules = Rules { audience: Vec::new(), issuer: Vec::new(), leeway: DEFAULT_LEEWAY };
        Self { key: DecodingKey::from_secret(secret), algorithms: algorithms.to_vec(), rules }
    }

    /// Accepts only tokens whose `aud` has one of these names. None: only tokens without `aud`.
    #[must_use]
    pub fn audience<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.rules.audience = names.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts only tokens whose `iss` is one of these names. None: whatever it is.
    #[must_use]
    pub fn issuer<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.rules.issuer = names.into_iter().map(Into::into).collect();
        self
    }

    /// How long after its `exp` and before its `nbf` a token is accepted: as far as the clocks of its
    /// issuer and of this machine may differ. Default: 5 s.
    #[must_use]
    pub const fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Checks a token, first of all that it is signed; its claims.
    fn claims(&self, token: &str) -> Result<Claims, String> {
        let parts: Vec<&str> = token.splitn(6, '.').collect();
        let [header, claims, signature] = *parts else {
            return Err(match parts.len() {
                5 => "expected a signed token, got an encrypted one".to_owned(),
                _ => "expected three parts with a dot between them".to_owned(),
            });
        };
        let algorithm = self.algorithm(&decoded("header", header)?)?;
        let message = token.get(..header.len() + 1 + claims.len()).unwrap_or_default();
        let verified = jwt::verify(signature, message.as_bytes(), &self.key, algorithm);
        if !verified.unwrap_or(false) {
            return Err("signature: expected one by the secret of this gateway".to_owned());
        }
        decoded("claims", claims)
    }

    /// What a token is to be signed by, if its header can be trusted so far.
    fn algorithm(&self, header: &Header) -> Result<Algorithm, String> {
        // RFC 7515 §4.1.11: what has to be understood and is not is refused.
        if header.crit.is_some() {
            return Err("header crit: expected none, no extension is understood".to_owned());
        }
        // RFC 7797 §7.
        if header.b64.as_ref().is_some_and(|b64| *b64 != Value::Bool(true)) {
            return Err("header b64: expected none, or true".to_owned());
        }
        if header.typ.as_ref().is_some_and(|typ| !typ.as_str().is_some_and(is_token_type)) {
            return Err("header typ: expected none, JWT or at+jwt".to_owned());
        }
        let alg = header.alg.as_ref().and_then(Value::as_str).unwrap_or_default();
        let named = self.algorithms.iter().find(|algorithm| algorithm.name() == alg);
        let allowed = || self.algorithms.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
        named
            .map(|algorithm| algorithm.to_library())
            .ok_or_else(|| format!("header alg: expected one of {}", allowed()))
    }
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Identity, AuthError> {
        let login = credentials.login;
        let checked = self.claims(&login.token);
        let checked = checked.and_then(|claims| claims.check(&self.rules, SystemTime::now()));
        // The words name headers and claims, and never tell what is in them.
        let mut identity =
            checked.map_err(|why| AuthError::Unauthorized(format!("token: {why}")))?;
        identity.device = device(identity.device, &login.device)?;
        Ok(identity)
    }
}

// === impl HmacAlgorithm ===

impl HmacAlgorithm {
    const ALL: [Self; 3] = [Self::Hs256, Self::Hs384, Self::Hs512];

    /// The algorithm of a name in the configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    const fn to_library(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Hs384 => Algorithm::HS384,
            Self::Hs512 => Algorithm::HS512,
        }
    }
}

/// Reads a part of a token: a JSON object in base64url without padding (RFC 7515 §2, RFC 7519 §7.2).
fn decoded<T: DeserializeOwned>(what: &str, part: &str) -> Result<T, String> {
    let bytes = URL_SAFE_NO_PAD.decode(part);
    let bytes = bytes.map_err(|_| format!("{what}: expected base64url without padding"))?;
    // A struct would be read from an array, too.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(format!("{what}: expected a JSON object"));
    }
    serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
        // Names of ours alone can be found twice: others are not looked at.
        Category::Data => format!("{what}: {error}"),
        _ => format!("{what}: expected a JSON object, {error}"),
    })
}

/// Returns whether a header says by its `typ` that this is a token (RFC 7519 §5.1, RFC 9068 §2.1), and not
/// something else that was signed with the same secret (RFC 8725 §3.11).
fn is_token_type(typ: &str) -> bool {
    const MEDIA: &str = "application/";
    let is_full = typ.get(..MEDIA.len()).is_some_and(|start| start.eq_ignore_ascii_case(MEDIA));
    let name = if is_full { typ.get(MEDIA.len()..).unwrap_or_default() } else { typ };
    name.eq_ignore_ascii_case("JWT") || name.eq_ignore_ascii_case("at+jwt")
}

/// The token's device binds; without one the client may name its own.
fn device(of_token: String, asked: &str) -> Result<String, AuthError> {
    if of_token.is_empty() {
        return Ok(asked.to_owned());
    }
    if !asked.is_empty() && asked != of_token {
        return Err(AuthError::Unauthorized("device: the token is for another one".to_owned()));
    }
    Ok(of_token)
}
