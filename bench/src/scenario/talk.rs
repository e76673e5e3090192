//! `imago bench talk`: pairs of clients that talk to each other.

use anyhow::ensure;
use imago_proto::command;
use serde_json::json;

use super::{load::LoadArgs, target::TargetArgs};
use crate::{
    client::{
        connect,
        crowd::Crowd,
        talker::{Client, Sending},
    },
    measure::run::Run,
    report::run::Report,
};

/// Flags of `imago bench talk`.
#[derive(Debug, clap::Args)]
pub(crate) struct TalkArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Clients; each talks to the one beside it
    #[arg(long, default_value_t = 2)]
    clients: usize,
}

pub(crate) async fn run(args: TalkArgs) -> anyhow::Result<()> {
    measure(&args.target, &args.load, args.clients).await?.publish(&args.target.files)
}

/// Checks that the clients make pairs, and are as many as this process may have.
pub(crate) fn check(clients: usize) -> anyhow::Result<()> {
    ensure!(
        clients >= 2 && clients.is_multiple_of(2),
        "--clients: expected an even number, 2 or more"
    );
    connect::check("--clients", clients)
}

/// Has this number of clients talk.
pub(crate) async fn measure(
    target_args: &TargetArgs,
    load: &LoadArgs,
    clients: usize,
) -> anyhow::Result<Report> {
    check(clients)?;
    let pace = load.pace(clients)?;
    let target = target_args.target()?;
    let watched = target_args.watched(&target);
    let connections = connect::all(&target, clients).await?;
    let run = Run::new(1);
    let mut crowd = Crowd::new(clients);
    for (number, connection) in connections.into_iter().enumerate() {
        let sending = Sending {
            command: command::CHAT_USER_TALK,
            dest: target.account(number ^ 1)?,
            pace,
            size: load.size,
        };
        crowd.join(Client::new(number, run.clone(), connection), Some(sending));
    }
    crowd.start().await;
    let measured = run.measure(load.warm_up, load.duration, &watched).await?;
    let tally = crowd.end().await?;
    Ok(Report {
        title: format!("{clients} clients in pairs, {}, {} bytes", load.pace_in_words(), load.size),
        settings: json!({ "scenario": "talk", "clients": clients, "load": load.json() }),
        measured,
        totals: run.totals(),
        tally,
    })
}
