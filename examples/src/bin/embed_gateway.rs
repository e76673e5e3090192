//! A gateway inside another program, which opens the registry itself, turns addresses away, limits how
//! fast clients send by a rule of its own, and decides when the gateway ends.
//!
//! ```sh
//! DENY=192.0.2.7,2001:db8::7 cargo run -p imago-examples --bin embed_gateway -- --config gateway.toml
//! ```

use std::{
    net::IpAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Context;
use async_trait::async_trait;
use clap::Parser;
use imago_gateway::{Acceptor, Address, ConnectionRate, Gateway, RateLimit, cli::configure};
use imago_kit::cli::{ServerArgs, announce_ports, run_server, shutdown_on_signal};

/// A chat server with a gateway in it
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Addresses that may not connect
    #[arg(long, env = "DENY", value_delimiter = ',')]
    deny: Vec<IpAddr>,
    /// Requests that a client may send in the life of its connection
    #[arg(long, env = "REQUESTS", default_value_t = 1_000_000)]
    requests: u32,
}

/// Turns these addresses away.
struct Denied(Vec<IpAddr>);

#[async_trait]
impl Acceptor for Denied {
    async fn accept(&self, remote: &Address) -> Result<(), String> {
        match remote.socket_addr() {
            Some(address) if self.0.contains(&address.ip()) => Err("denied".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Lets each connection send this many requests.
struct Allowance(u32);

struct Left(AtomicU32);

impl RateLimit for Allowance {
    fn connection(&self) -> Box<dyn ConnectionRate> {
        Box::new(Left(AtomicU32::new(self.0)))
    }
}

impl ConnectionRate for Left {
    fn admit(&self) -> bool {
        let take = |left: u32| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let Some(config) = configure(&args.server)? else { return Ok(()) };
    let naming = imago_naming::open(config.naming.expose()).await.context("naming.url")?;
    let (service, id) = (config.info.service.clone(), config.info.id.to_string());
    let gateway = Gateway::builder(config)
        .naming(naming)
        .acceptor(Arc::new(Denied(args.deny.clone())))
        .rate_limit(Arc::new(Allowance(args.requests)))
        .build()
        .await?;
    let monitor = Address::from(gateway.monitor());
    announce_ports(&service, &id, &[("ws", gateway.address("ws")), ("monitor", Some(&monitor))]);
    // Cancelled by a signal here; a program may cancel it by a token of its own.
    gateway.run(shutdown).await
}

fn main() -> ExitCode {
    let args = Args::parse();
    run_server(&args.server, run(&args))
}
