//! A logic server whose `naming.url` may be `folder:///PATH`.

use std::process::ExitCode;

use imago_example_registry::registries;
use imago_kit::cli::{ServerArgs, parse_flags, run_server, shutdown_on_signal};
use imago_logic::{
    cli::{Cli, run_with_registries},
    handlers,
};

fn main() -> ExitCode {
    let args = parse_flags::<Cli>().server;
    run_server(&args, run(&args))
}

async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    run_with_registries(args, registries(), handlers::router(), shutdown_on_signal()?).await
}
