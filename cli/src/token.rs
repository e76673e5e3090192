//! `imago token`: makes tokens that gateways accept.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::ensure;
use imago_kit::{Secret, bounded, out};
use imago_local::{Claims, SecretArgs};

/// How long a token may be good for: up to a hundred years of 365.25 days.
const TTLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_155_760_000);

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

/// Prints a token.
pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<()> {
    out!("{}", issue(args, &args.secret.read()?)?);
    Ok(())
}

/// The token that the flags ask for.
fn issue(args: &TokenArgs, secret: &Secret) -> anyhow::Result<String> {
    let mut claims = Claims::new(&args.account, &args.app, &args.device, args.ttl)?;
    claims.audience(&args.audience);
    claims.issuer(args.issuer.as_deref());
    if let Some(after) = args.not_before {
        ensure!(after < args.ttl, "--not-before: expected less than --ttl");
        claims.not_before(after);
    }
    claims.sign(secret)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use imago_kit::jwt::dangerous::insecure_decode_claims;
    use serde_json::Value;

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
