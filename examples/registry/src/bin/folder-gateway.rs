//! A gateway whose `naming.url` may be `folder:///PATH`.

use std::process::ExitCode;

use imago_example_registry::registries;
use imago_gateway::{Gateway, cli};
use imago_kit::cli::{ServerArgs, parse_flags, run_server, shutdown_on_signal};

fn main() -> ExitCode {
    let args = parse_flags::<cli::Cli>().server;
    run_server(&args, run(&args))
}

async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    match cli::configure_with(args, registries())? {
        Some(config) => Gateway::builder(config).serve(shutdown).await,
        None => Ok(()),
    }
}
