//! The `logic` server.

use std::process::ExitCode;

use imago_kit::cli::{parse_flags, run_server};
use imago_logic::cli::{Cli, run};

/// Measured: see docs/tried.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = parse_flags::<Cli>().server;
    run_server(&args, run(&args))
}
