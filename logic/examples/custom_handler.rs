//! A logic server with a command of its own: `my.shout` sends a message in capitals to another
//! account, without storing it.

use std::process::ExitCode;

use clap::Parser;
use imago_kit::cli::{ServerArgs, run_server, shutdown_on_signal};
use imago_logic::{Context, Reject, cli, handlers};
use imago_proto::msg::{MessagePush, MessageReq, MessageResp};

async fn shout(ctx: Context, req: MessageReq) -> Result<MessageResp, Reject> {
    if req.body.is_empty() {
        return Err(Reject::invalid("body: expected something to shout"));
    }
    let push = MessagePush {
        body: req.body.to_uppercase(),
        sender: ctx.session().account.to_string(),
        ..MessagePush::default()
    };
    // Goes out after the answer.
    ctx.push("my.shout", &ctx.dest().into(), &push);
    Ok(MessageResp::default())
}

fn main() -> ExitCode {
    let args = cli::Cli::parse().server;
    run_server(&args, run(&args))
}

async fn run(args: &ServerArgs) -> anyhow::Result<()> {
    let router = handlers::router().handle("my.shout", shout);
    cli::run_with(args, router, shutdown_on_signal()?).await
}
