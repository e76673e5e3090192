//! A gateway that knows its users from a list instead of JSON Web Tokens.
//!
//! Clients log in with `name:password` where the others send a token. The path of their WebSocket names
//! their app: `ws://localhost:8000/workshop`. An account by the name of `closed` shows what a client is told
//! while the directory of the users is away.
//!
//! ```sh
//! USERS=alice:wonderland,bob:builder cargo run -p imago-examples --bin custom_authenticator -- --config gateway.toml
//! ```

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use async_trait::async_trait;
use clap::Parser;
use imago_gateway::{
    AuthError, Authenticator, Credentials, Gateway, Identity,
    cli::{Cli, configure},
};
use imago_kit::cli::{ServerArgs, run_server, shutdown_on_signal};

/// The apps that there are. The first is that of clients that name none.
const APPS: [&str; 2] = ["office", "workshop"];

/// Passwords by name. A real authenticator asks a directory service, and waits for its answer here.
struct Passwords(HashMap<String, String>);

#[async_trait]
impl Authenticator for Passwords {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Identity, AuthError> {
        let wrong = || AuthError::Unauthorized("name or password is wrong".to_owned());
        let (name, password) = credentials.login.token.split_once(':').ok_or_else(wrong)?;
        if name == "closed" {
            return Err(AuthError::TryLater("the directory of users is away".to_owned()));
        }
        if self.0.get(name).map(String::as_str) != Some(password) {
            return Err(wrong());
        }
        // Over TCP there is no path.
        let path = credentials.upgrade.map_or("/", |upgrade| upgrade.path()).trim_matches('/');
        let app = APPS.into_iter().find(|app| path.is_empty() || *app == path);
        let app = app.ok_or_else(|| AuthError::Unauthorized("path: no such app".to_owned()))?;
        Ok(Identity { account: name.into(), app: app.into(), device: String::new(), expires: None })
    }
}

impl Passwords {
    fn from_environment() -> Self {
        let demo = || "alice:wonderland,bob:builder".to_owned();
        let users = std::env::var("USERS").unwrap_or_else(|_| demo());
        let pairs = users.split(',').filter_map(|user| user.split_once(':'));
        Self(pairs.map(|(name, password)| (name.to_owned(), password.to_owned())).collect())
    }
}

async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let Some(config) = configure(args)? else { return Ok(()) };
    let passwords = Arc::new(Passwords::from_environment());
    Gateway::builder(config).authenticator(passwords).serve(shutdown).await
}

fn main() -> ExitCode {
    let args = Cli::parse().server;
    run_server(&args, run(&args))
}
