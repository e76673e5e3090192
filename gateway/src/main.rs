//! The `gateway` server.

use std::process::ExitCode;

use clap::Parser;
use imago_gateway::cli::{Cli, run};
use imago_kit::cli::run_server;

/// Measured: see docs/tried.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Cli::parse().server;
    run_server(&args, run(&args))
}
