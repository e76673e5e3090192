//! The command line of a gateway.

use clap::Parser;
use imago_kit::cli::{ENVIRONMENT_HELP, ServerArgs, print, shutdown_on_signal};
use imago_naming::Registries;
use tokio_util::sync::CancellationToken;

use crate::{DEFAULT_CONFIG, Extensions, GatewayConfig, serve};

/// Gateway of an Imago cluster: holds the clients' connections (WebSocket and TCP)
#[derive(Debug, Parser)]
#[command(name = "gateway", version, after_help = ENVIRONMENT_HELP)]
pub struct Cli {
    /// What both kinds of server share.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Does what the arguments say, with the default extensions.
///
/// # Errors
/// When the configuration is wrong or the gateway cannot start.
pub async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    run_with(args, |_, _| {}, shutdown).await
}

/// Does what the arguments say until `shutdown`; `extend` may change configuration and extensions.
///
/// # Errors
/// When the configuration is wrong or the gateway cannot start.
pub async fn run_with(
    args: &ServerArgs,
    extend: impl FnOnce(&mut GatewayConfig, &mut Extensions),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    run_with_registries(args, Registries::default(), extend, shutdown).await
}

/// The same; `naming.url` may have the schemes of `registries`.
///
/// # Errors
/// When the configuration is wrong or the gateway cannot start.
pub async fn run_with_registries(
    args: &ServerArgs,
    registries: Registries,
    extend: impl FnOnce(&mut GatewayConfig, &mut Extensions),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    if args.print_config {
        print(DEFAULT_CONFIG);
        return Ok(());
    }
    let settings = args.load(DEFAULT_CONFIG, imago_container::PROGRAMS)?;
    let mut config = GatewayConfig::read_with(settings, registries)?;
    if args.check {
        print("configuration ok\n");
        return Ok(());
    }
    config.log.init();
    let mut extensions = Extensions::of(&config);
    extend(&mut config, &mut extensions);
    serve(config, extensions, shutdown).await
}
