//! A gateway that keeps each app on as few logic servers as it can: all accounts of an app go to
//! the same server, so that its caches stay warm, unless that one is twice as busy as another.
//!
//! ```sh
//! cargo run -p imago-examples --bin custom_selector -- --config gateway.toml
//! ```

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use imago_container::{
    Route,
    selector::{Candidate, Selector},
};
use imago_gateway::{
    Gateway,
    cli::{Cli, configure},
};
use imago_kit::cli::{ServerArgs, run_server, shutdown_on_signal};

/// Requests in flight up to which a server does not count as busy.
const QUIET: usize = 64;

/// Chooses by the app alone.
struct ByApp;

impl Selector for ByApp {
    fn pick(&self, candidates: &[Candidate], route: &Route) -> Option<usize> {
        let home = (0..candidates.len()).max_by_key(|&index| {
            // Rendezvous hashing: other servers may come and go, the app stays.
            let mut hash = DefaultHasher::new();
            (candidates.get(index).map(|server| &server.service_id), &route.app).hash(&mut hash);
            hash.finish()
        })?;
        let (idlest, least) =
            candidates.iter().map(|server| server.pending).enumerate().min_by_key(|own| own.1)?;
        let is_busy = candidates.get(home)?.pending > QUIET.max(2 * least);
        Some(if is_busy { idlest } else { home })
    }
}

async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let Some(config) = configure(args)? else { return Ok(()) };
    Gateway::builder(config).selector(Arc::new(ByApp)).serve(shutdown).await
}

fn main() -> ExitCode {
    let args = Cli::parse().server;
    run_server(&args, run(&args))
}
