//! The `logic` server.

use std::process::ExitCode;

use clap::Parser;
use imago_logic::cli::{Cli, run};

/// Measured: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    imago_container::cli::exit_code(run(&Cli::parse().server).await)
}
