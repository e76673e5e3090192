//! The `logic` server.

use clap::Parser;
use imago_logic::cli::{Cli, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(&Cli::parse().server).await
}
