//! The two servers as subcommands.

use imago_gateway::Gateway;
use imago_kit::cli::{ENVIRONMENT_HELP, ServerArgs, shutdown_on_signal};
use imago_logic::handlers;
use tokio_util::sync::CancellationToken;

/// Flags of a server.
#[derive(Debug, clap::Args)]
#[command(after_help = ENVIRONMENT_HELP)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Leave when standard input ends: with it, a server does not outlive whoever started it
    #[arg(long)]
    stop_with_stdin: bool,
}

/// Runs a gateway.
pub(crate) async fn gateway(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_of(&args)?;
    match imago_gateway::cli::configure(&args.server)? {
        Some(config) => Gateway::builder(config).serve(shutdown).await,
        None => Ok(()),
    }
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
        // A thread of our own: the runtime would not end before its reading of standard input does,
        // and a server that fails would stay.
        std::thread::spawn(move || {
            // Whatever is written there means nothing; its end does.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            shutdown.cancel();
        });
    }
    Ok(shutdown)
}
