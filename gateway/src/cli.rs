//! The command line of a gateway.

use clap::Parser;
use imago_kit::cli::{ENVIRONMENT_HELP, ServerArgs, print};
use imago_naming::Registries;

use crate::{DEFAULT_CONFIG, GatewayConfig};

/// Gateway of an Imago cluster: holds the clients' connections (WebSocket and TCP)
#[derive(Debug, Parser)]
#[command(name = "gateway", version, after_help = ENVIRONMENT_HELP)]
pub struct Cli {
    /// What both kinds of server share.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Reads the configuration that the arguments name, and begins to log as it says. Returns `None` where
/// the arguments ask for an answer on standard output instead: `--check` and `--print-config`.
///
/// # Errors
/// When the configuration is wrong.
pub fn configure(args: &ServerArgs) -> anyhow::Result<Option<GatewayConfig>> {
    configure_with(args, Registries::default())
}

/// The same; `naming.url` may have the schemes of `registries`.
///
/// # Errors
/// When the configuration is wrong.
pub fn configure_with(
    args: &ServerArgs,
    registries: Registries,
) -> anyhow::Result<Option<GatewayConfig>> {
    if args.print_config {
        print(DEFAULT_CONFIG);
        return Ok(None);
    }
    let settings = args.load(DEFAULT_CONFIG, imago_container::PROGRAMS)?;
    let config = GatewayConfig::read_with(settings, registries)?;
    if args.check {
        print("configuration ok\n");
        return Ok(None);
    }
    config.log.init();
    Ok(Some(config))
}
