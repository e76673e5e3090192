//! The two servers as subcommands.

use imago_container::cli::{ENVIRONMENT_HELP, ServerArgs, shutdown_on_signal};
use imago_logic::handlers;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// Flags of a server.
#[derive(Debug, clap::Args)]
#[command(after_help = ENVIRONMENT_HELP)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Leave when standard input ends: with it, a server does not outlive whoever started it
    #[arg(long)]
    stop_with_stdin: bool,
}

/// Runs a gateway.
pub(crate) async fn gateway(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_of(&args)?;
    imago_gateway::cli::run_with(&args.server, |_, _| {}, shutdown).await
}

/// Runs a logic server.
pub(crate) async fn logic(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_of(&args)?;
    imago_logic::cli::run_with(&args.server, handlers::router(), shutdown).await
}

fn shutdown_of(args: &ServeArgs) -> anyhow::Result<CancellationToken> {
    let shutdown = shutdown_on_signal()?;
    if args.stop_with_stdin {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let mut sink = [0; 64];
            // Whatever is written there means nothing; its end does.
            while matches!(tokio::io::stdin().read(&mut sink).await, Ok(1..)) {}
            shutdown.cancel();
        });
    }
    Ok(shutdown)
}
