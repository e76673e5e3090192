//! Who the clients of a run are, and what they log in with.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use imago_kit::jwt::dangerous::insecure_decode_claims;
use imago_kit::{RedactedPath, Secret, read_text};
use imago_local::make_token;
use serde::Deserialize;

/// Longest file of tokens, in bytes: a million of them.
const FILE_MAX: u64 = 512 << 20;
/// How long the tokens of a run are good for.
const TTL: Duration = Duration::from_secs(86_400);

/// The clients of a run.
pub(crate) enum Tokens {
    /// Accounts of this run alone, with tokens made from the gateways' secret.
    Made { secret: Secret, run: u32 },
    /// Those of a file.
    Given(Given),
}

/// The tokens of a file, one a line.
#[derive(Debug)]
pub(crate) struct Given {
    file: PathBuf,
    accounts: Vec<String>,
    tokens: HashMap<String, String>,
}

/// What is read out of a token; whether it is a true one, the gateway says.
#[derive(Deserialize)]
struct Claims {
    acc: String,
    #[serde(default)]
    app: String,
}

// === impl Tokens ===

impl Tokens {
    /// Tokens that are made as they are needed.
    pub(crate) fn made(secret: impl Into<Secret>) -> Self {
        Self::Made { secret: secret.into(), run: rand::random() }
    }

    /// Those of a file.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = read_text(file, FILE_MAX);
        let text = text.with_context(|| format!("--tokens {}", RedactedPath(file)))?;
        Ok(Self::Given(Given::parse(file, &text)?))
    }

    /// Checks that there are enough for this number of clients.
    pub(crate) fn require(&self, clients: usize) -> anyhow::Result<()> {
        match self {
            Self::Made { .. } => Ok(()),
            Self::Given(given) => given.require(clients),
        }
    }

    /// The account of a client.
    pub(crate) fn account(&self, number: usize) -> anyhow::Result<String> {
        match self {
            Self::Made { run, .. } => Ok(format!("bench-{run:08x}-{number}")),
            Self::Given(given) => {
                given.require(number + 1)?;
                given.accounts.get(number).cloned().context("no such client")
            }
        }
    }

    /// The token of an account.
    pub(crate) fn token(&self, account: &str) -> anyhow::Result<String> {
        match self {
            Self::Made { secret, .. } => make_token(secret, account, "bench", "", TTL),
            Self::Given(Given { file, tokens, .. }) => tokens
                .get(account)
                .cloned()
                .with_context(|| format!("--tokens {}: no token of {account}", file.display())),
        }
    }
}

// === impl Given ===

impl Given {
    fn parse(file: &Path, text: &str) -> anyhow::Result<Self> {
        let mut given =
            Self { file: file.to_owned(), accounts: Vec::new(), tokens: HashMap::new() };
        let mut first_app = None;
        for (line, token) in (1..).zip(text.lines().map(str::trim)) {
            if token.is_empty() {
                continue;
            }
            let claims = claims(token);
            let claims = claims.with_context(|| format!("--tokens {}:{line}", file.display()))?;
            let app = first_app.get_or_insert_with(|| claims.app.clone());
            ensure!(
                *app == claims.app,
                "--tokens {}:{line}: expected a token of the app {app:?} as those before, got one \
                 of {:?}: accounts of different apps never meet",
                file.display(),
                claims.app
            );
            if given.tokens.insert(claims.acc.clone(), token.to_owned()).is_some() {
                bail!(
                    "--tokens {}:{line}: expected another account for each client, got {} again",
                    file.display(),
                    claims.acc
                );
            }
            given.accounts.push(claims.acc);
        }
        Ok(given)
    }

    fn require(&self, clients: usize) -> anyhow::Result<()> {
        let have = self.accounts.len();
        let file = self.file.display();
        ensure!(
            clients <= have,
            "--tokens {file}: expected {clients} tokens, one for each client, got {have}"
        );
        Ok(())
    }
}

/// What a token says of itself. Its error does not show the token.
fn claims(token: &str) -> anyhow::Result<Claims> {
    let claims = insecure_decode_claims::<Claims>(token)
        .map_err(|error| anyhow::anyhow!("expected a JSON Web Token: {error}"))?;
    ensure!(!claims.acc.is_empty(), "expected a token with the claim `acc`, got an empty one");
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(account: &str, app: &str) -> String {
        make_token(&"a secret of sixteen bytes".into(), account, app, "", TTL).unwrap()
    }

    fn parse(lines: &[&str]) -> anyhow::Result<Tokens> {
        Ok(Tokens::Given(Given::parse(Path::new("tokens.txt"), &lines.join("\n"))?))
    }

    fn refused(lines: &[&str]) -> String {
        format!("{:#}", parse(lines).err().unwrap())
    }

    #[test]
    fn the_clients_of_a_file_are_the_accounts_of_its_tokens() {
        let (anna, bert) = (token("anna", "x"), token("bert", "x"));
        let tokens = parse(&[&anna, "", &bert, ""]).unwrap();
        assert_eq!(tokens.account(1).unwrap(), "bert");
        assert_eq!(tokens.token("anna").unwrap(), anna);
        tokens.require(2).unwrap();
        let error = tokens.require(3).unwrap_err().to_string();
        assert_eq!(error, "--tokens tokens.txt: expected 3 tokens, one for each client, got 2");
    }

    #[test]
    fn a_line_that_is_no_token_is_named_and_not_shown() {
        let anna = token("anna", "x");
        let error = refused(&[&anna, "sesame.open"]);
        assert!(error.starts_with("--tokens tokens.txt:2: expected a JSON Web Token"), "{error}");
        assert!(!error.contains("sesame"), "{error}");
    }

    #[test]
    fn clients_that_could_not_meet_are_refused() {
        let (anna, bert) = (token("anna", "x"), token("bert", "y"));
        assert!(refused(&[&anna, &bert]).contains("tokens.txt:2: expected a token of the app"));
        assert!(refused(&[&anna, &bert, &anna]).contains("tokens.txt:2"));
        assert!(refused(&[&anna, "", &anna]).contains("tokens.txt:3: expected another account"));
    }

    #[test]
    fn made_tokens_are_of_a_run_of_their_own() {
        let runs = [Tokens::made("s"), Tokens::made("s")];
        assert_ne!(runs[0].account(0).unwrap(), runs[1].account(0).unwrap());
        runs[0].require(1_000_000).unwrap();
    }
}
