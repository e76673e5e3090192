//! The command line of a logic server.

use clap::Parser;
use imago_kit::cli::{ENVIRONMENT_HELP, ServerArgs, print, shutdown_on_signal};
use imago_naming::Registries;
use tokio_util::sync::CancellationToken;

use crate::{DEFAULT_CONFIG, LogicConfig, Router, handlers, serve};

/// Logic server of an Imago cluster: runs the handlers, stores and routes the messages
#[derive(Debug, Parser)]
#[command(name = "logic", version, after_help = ENVIRONMENT_HELP)]
pub struct Cli {
    /// Flags that all servers share.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs the command line with the built-in handlers.
///
/// # Errors
/// When the configuration is wrong or the server cannot start.
pub async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    run_with(args, handlers::router(), shutdown).await
}

/// Runs the command line with these handlers, until `shutdown`.
///
/// # Errors
/// When the configuration is wrong or the server cannot start.
pub async fn run_with(
    args: &ServerArgs,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    run_with_registries(args, Registries::default(), router, shutdown).await
}

/// The same; `naming.url` may have the schemes of `registries`.
///
/// # Errors
/// When the configuration is wrong or the server cannot start.
pub async fn run_with_registries(
    args: &ServerArgs,
    registries: Registries,
    router: Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    if args.print_config {
        print(DEFAULT_CONFIG);
        return Ok(());
    }
    let settings = args.load(DEFAULT_CONFIG, imago_container::PROGRAMS)?;
    let config = LogicConfig::read_with(settings, registries)?;
    if args.check {
        print("configuration ok\n");
        return Ok(());
    }
    config.log.init();
    serve(config, router, shutdown).await
}
