//! What a token claims (RFC 7519 §4; docs/wire.md, "Login"), and whether it counts here and now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Identity;

/// What claims have to be here.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Names of ours: one of them has to be in `aud`.
    pub(super) audience: Vec<String>,
    /// Issuers that we believe; none: all who know the secret.
    pub(super) issuer: Vec<String>,
    /// How far the clock of an issuer may be off.
    pub(super) leeway: Duration,
}

/// Claims of a token that are looked at; others are ignored (RFC 7519 §4). A token has each at most once,
/// whatever it is: `null` is not the same as nothing.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default, deserialize_with = "present")]
    acc: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    app: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    device: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    iat: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    iss: Option<Value>,
}

/// Reads any value, `null` too.
pub(super) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

// === impl Claims ===

impl Claims {
    /// Returns the identity that the token stands for, if it counts at `now`.
    ///
    /// # Errors
    /// With the claim that is at fault and what was expected of it; never with what it says.
    pub(super) fn check(self, rules: &Rules, now: SystemTime) -> Result<Identity, String> {
        check_issuer(self.iss.as_ref(), &rules.issuer)?;
        check_audience(self.aud.as_ref(), &rules.audience)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let leeway = rules.leeway.as_secs_f64();
        let exp = self.exp.ok_or("claim exp: expected one")?;
        let end = time("exp", &exp)? + leeway;
        // RFC 7519 §4.1.4: the token is void "on or after" that time.
        if now >= end {
            return Err("claim exp: the token has expired".to_owned());
        }
        if let Some(nbf) = &self.nbf
            && now < time("nbf", nbf)? - leeway
        {
            return Err("claim nbf: the token is not valid yet".to_owned());
        }
        // It tells the age of a token, and refuses none (RFC 7519 §4.1.6).
        self.iat.as_ref().map(|iat| time("iat", iat)).transpose()?;
        Ok(Identity {
            account: text("acc", self.acc)?.into(),
            app: text("app", self.app)?.into(),
            device: self.device.map_or(Ok(String::new()), |it| text("device", Some(it)))?,
            // Beyond the end of every clock it does not end.
            expires: Duration::try_from_secs_f64(end)
                .ok()
                .and_then(|end| UNIX_EPOCH.checked_add(end)),
        })
    }
}

/// RFC 7519 §4.1.1, RFC 8725 §3.8.
fn check_issuer(iss: Option<&Value>, trusted: &[String]) -> Result<(), String> {
    let Some(iss) = iss else {
        return if trusted.is_empty() { Ok(()) } else { Err("claim iss: expected one".to_owned()) };
    };
    let issuer = iss.as_str().ok_or("claim iss: expected a text")?;
    if !trusted.is_empty() && !trusted.iter().any(|trusted| trusted == issuer) {
        return Err("claim iss: the token is by another issuer".to_owned());
    }
    Ok(())
}

/// RFC 7519 §4.1.3: where there is an audience, we have to be of it; and who has a name expects it
/// (RFC 8725 §3.9).
fn check_audience(aud: Option<&Value>, ours: &[String]) -> Result<(), String> {
    let Some(aud) = aud else {
        return if ours.is_empty() { Ok(()) } else { Err("claim aud: expected one".to_owned()) };
    };
    let is_ours = |name: &str| ours.iter().any(|ours| ours == name);
    let mut is_for_us = false;
    for name in aud.as_array().map_or(std::slice::from_ref(aud), Vec::as_slice) {
        is_for_us |= is_ours(name.as_str().ok_or("claim aud: expected a text or a list of texts")?);
    }
    match is_for_us {
        true => Ok(()),
        false if ours.is_empty() => {
            Err("claim aud: expected none, this gateway has no auth.audience".to_owned())
        }
        false => Err("claim aud: the token is for another audience".to_owned()),
    }
}

/// Seconds since 1970 (RFC 7519 §2, "NumericDate"), with fractions or without.
fn time(claim: &str, value: &Value) -> Result<f64, String> {
    let seconds = value.as_f64().filter(|seconds| seconds.abs() < i64::MAX as f64);
    // As a float, the last second of 64 bits is beyond them.
    let seconds = seconds.or_else(|| value.as_i64().map(|seconds| seconds as f64));
    seconds.ok_or_else(|| format!("claim {claim}: expected a time in seconds since 1970"))
}

fn text(claim: &str, value: Option<Value>) -> Result<String, String> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("claim {claim}: expected a text")),
        None => Err(format!("claim {claim}: expected one")),
    }
}
