//! `imago token`: makes tokens that gateways accept.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use imago_kit::{RedactedPath, Secret, bounded, read_secret, variable};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::Value;

use crate::dev::state::DevState;

/// How long a token may be good for: up to a hundred years of 365.25 days.
const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_155_760_000);
/// Variable that holds the secret of tokens, as gateways take it.
const VARIABLE: &str = "IMAGO_AUTH__JWT_SECRET";

/// Flags of `imago token`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago token --account alice --device phone --ttl 1h\n\n\
The secret is that of the gateways (auth.jwt_secret): from --secret-file, else from the \
environment (IMAGO_AUTH__JWT_SECRET), else that of the cluster that `imago dev` runs.")]
pub(crate) struct TokenArgs {
    /// Account that the token stands for
    #[arg(long, short)]
    account: String,
    /// Tenant of the account
    #[arg(long, default_value = "imago")]
    app: String,
    /// Device of the account: each has a session of its own
    #[arg(long, default_value = "")]
    device: String,
    /// How long the token is good for
    #[arg(long, default_value = "24h", value_parser = bounded::duration(TTLS))]
    ttl: Duration,
    /// Audience of the token: a name in auth.audience of the gateways; may be given several times
    #[arg(long, value_name = "NAME")]
    audience: Vec<String>,
    /// Issuer of the token: a name in auth.issuer of the gateways
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Time from now on after which the token counts, less than --ttl
    #[arg(long, value_name = "TIME", value_parser = bounded::duration(TTLS))]
    not_before: Option<Duration>,
    #[command(flatten)]
    secret: SecretArgs,
}

/// Where the secret of tokens comes from.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SecretArgs {
    /// File that holds the secret of the gateways' tokens
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Data directory of the `imago dev` whose secret is used otherwise
    #[arg(long, value_name = "DIR", default_value = crate::dev::DATA_DIR)]
    data: PathBuf,
}

impl SecretArgs {
    /// That of the `imago dev` with this data directory.
    pub(crate) fn of(data: &Path) -> Self {
        Self { secret_file: None, data: data.to_owned() }
    }

    /// The secret, from wherever it is.
    pub(crate) fn read(&self) -> anyhow::Result<Secret> {
        if let Some(path) = &self.secret_file {
            let secret = read_secret(path);
            return secret.with_context(|| format!("--secret-file {}", RedactedPath(path)));
        }
        match variable(VARIABLE).context(VARIABLE)? {
            Some(secret) => Ok(secret.into()),
            None => Ok(DevState::read(&self.data)?.jwt_secret.into()),
        }
    }

    /// The cluster that `imago dev` runs.
    pub(crate) fn dev(&self) -> anyhow::Result<DevState> {
        DevState::read(&self.data)
    }
}

/// Claims of a token (docs/wire.md, "Login"; RFC 7519 §4.1).
#[derive(Serialize)]
struct Claims<'a> {
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
    fn new(account: &'a str, app: &'a str, device: &'a str, ttl: Duration) -> anyhow::Result<Self> {
        let len = account.chars().count();
        ensure!((1..=60).contains(&len), "account: expected 1 to 60 characters, got {len}");
        ensure!(!app.is_empty(), "app: expected a name");
        let exp = from_now(ttl).context("ttl: expected a time that clocks can reach")?;
        Ok(Self { acc: account, app, device, exp, nbf: None, aud: None, iss: None })
    }

    fn sign(&self, secret: &Secret) -> anyhow::Result<String> {
        Ok(encode(&Header::default(), self, &EncodingKey::from_secret(secret.as_bytes()))?)
    }
}

/// Prints a token.
pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    out!("{}", issue(args, &args.secret.read()?)?);
    Ok(())
}

/// The token that the flags ask for.
fn issue(args: &TokenArgs, secret: &Secret) -> anyhow::Result<String> {
    let mut claims = Claims::new(&args.account, &args.app, &args.device, args.ttl)?;
    claims.aud = match &*args.audience {
        [] => None,
        [one] => Some(one.as_str().into()),
        several => Some(several.into()),
    };
    claims.iss = args.issuer.as_deref();
    if let Some(after) = args.not_before {
        ensure!(after < args.ttl, "--not-before: expected less than --ttl");
        claims.nbf = from_now(after);
    }
    claims.sign(secret)
}

/// A token for an account.
pub(crate) fn make(
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use jsonwebtoken::dangerous::insecure_decode_claims;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        token: TokenArgs,
    }

    fn claims(flags: &str) -> Result<Value, String> {
        let flags = ["token", "--account", "alice"].into_iter().chain(flags.split_whitespace());
        let args = Cli::try_parse_from(flags).map_err(|error| error.to_string())?.token;
        let secret = "a secret of sixteen bytes".into();
        let token = issue(&args, &secret).map_err(|error| error.to_string())?;
        Ok(insecure_decode_claims(token).expect("it was just made"))
    }

    #[test]
    fn a_token_claims_what_the_flags_say_and_nothing_else() {
        let plain = claims("").unwrap();
        let names: Vec<&String> = plain.as_object().unwrap().keys().collect();
        assert_eq!(names, ["acc", "app", "exp"]);

        let full = claims("--audience chat --issuer id.example --not-before 1m --ttl 1h").unwrap();
        assert_eq!((&full["aud"], &full["iss"]), (&"chat".into(), &"id.example".into()));
        let between = full["exp"].as_u64().unwrap() - full["nbf"].as_u64().unwrap();
        assert!((3539..=3540).contains(&between), "{between}");

        let several = claims("--audience chat --audience mail").unwrap();
        assert_eq!(several["aud"], Value::from(vec!["chat", "mail"]));
    }

    #[test]
    fn times_that_make_no_token_are_refused_by_their_flag() {
        let wrong = claims("--not-before 1h --ttl 1h").unwrap_err();
        assert!(wrong.contains("--not-before"), "{wrong}");
        let wrong = claims("--ttl 18446744073709551615s").unwrap_err();
        assert!(wrong.contains("ttl"), "{wrong}");
    }
}
