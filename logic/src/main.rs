//! The `logic` server.

use std::process::ExitCode;

use clap::Parser;
use imago_logic::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    imago_container::cli::exit_code(run(&Cli::parse().server).await)
}
