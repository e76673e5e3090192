//! A gateway that knows its users from a list instead of JSON Web Tokens: clients log in with
//! `name:password` where the others send a token.
//!
//! ```sh
//! USERS=alice:wonderland,bob:builder cargo run -p imago-gateway --example custom_authenticator -- --config gateway.toml
//! ```

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use async_trait::async_trait;
use clap::Parser;
use imago_gateway::{
    Authenticator, Identity, Unauthorized,
    cli::{Cli, run_with},
};
use imago_kit::cli::{ServerArgs, run_server, shutdown_on_signal};
use imago_proto::msg::LoginReq;

/// Passwords by name. Yours come from a directory service: this may wait for one.
struct Passwords(HashMap<String, String>);

#[async_trait]
impl Authenticator for Passwords {
    async fn authenticate(&self, request: &LoginReq) -> Result<Identity, Unauthorized> {
        let wrong = || Unauthorized("name or password is wrong".to_owned());
        let (name, password) = request.token.split_once(':').ok_or_else(wrong)?;
        if self.0.get(name).map(String::as_str) != Some(password) {
            return Err(wrong());
        }
        Ok(Identity {
            account: name.into(),
            app: "office".into(),
            device: String::new(),
            expires: None,
        })
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
    let passwords = Arc::new(Passwords::from_environment());
    run_with(args, |_, extensions| extensions.authenticator = passwords, shutdown_on_signal()?)
        .await
}

fn main() -> ExitCode {
    let args = Cli::parse().server;
    run_server(&args, run(&args))
}
