//! The `gateway` server, and the shortest example of a program around a gateway.

use std::process::ExitCode;

use imago_gateway::{Gateway, cli};
use imago_kit::cli::{ServerArgs, parse_flags, run_server, shutdown_on_signal};

/// Measured: see docs/tried.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    // Own parts go between `builder` and `serve`.
    match cli::configure(args)? {
        Some(config) => Gateway::builder(config).serve(shutdown).await,
        None => Ok(()),
    }
}

fn main() -> ExitCode {
    let args = parse_flags::<cli::Cli>().server;
    run_server(&args, run(&args))
}
