//! The `gateway` server.

use clap::Parser;
use imago_gateway::cli::{Cli, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(&Cli::parse().server).await
}
