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

/// Claims of a token (client wire, section 4).
#[derive(Serialize)]
struct Claims<'a> {
    acc: &'a str,
    app: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    device: &'a str,
    exp: u64,
}

/// Prints a token.
pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    let secret = args.secret.read()?;
    out!("{}", make(&secret, &args.account, &args.app, &args.device, args.ttl)?);
    Ok(())
}

/// A token for an account.
pub(crate) fn make(
    secret: &Secret,
    account: &str,
    app: &str,
    device: &str,
    ttl: Duration,
) -> anyhow::Result<String> {
    let len = account.chars().count();
    ensure!((1..=60).contains(&len), "account: expected 1 to 60 characters, got {len}");
    ensure!(!app.is_empty(), "app: expected a name");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let claims = Claims { acc: account, app, device, exp: (now + ttl).as_secs() };
    Ok(encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes()))?)
}
