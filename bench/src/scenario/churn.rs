//! `imago bench churn`: pairs of clients that talk while some of them are cut off and come back.

mod client;
mod counts;
mod got;
mod handle;

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use imago_kit::bounded;
use imago_proto::command;
use rand::RngExt;
use serde_json::json;
use tokio::time::interval;

use self::{client::Client, counts::Counts, handle::Handle};
use super::{load::LoadArgs, talk, target::TargetArgs};
use crate::{
    client::{connect, crowd::Crowd, talker::Sending},
    measure::run::Run,
    report::run::{Extra, Report},
};

/// Longest time that a client is away.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Flags of `imago bench churn`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Clients; each talks to the one beside it
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// Clients a second that are cut off without a goodbye, and log in again
    #[arg(long, value_name = "PER_SECOND", default_value_t = 10.0)]
    churn: f64,
    /// Time between the cut and the try to log in again
    #[arg(long, default_value = "100ms", value_parser = bounded::duration(Duration::ZERO..=AWAY_MAX))]
    away: Duration,
}

impl ChurnArgs {
    fn check(&self) -> anyhow::Result<()> {
        talk::check(self.clients)?;
        ensure!(
            (0.001..=100_000.0).contains(&self.churn),
            "--churn: expected 0.001 to 100000 clients a second"
        );
        Ok(())
    }
}

pub(crate) async fn run(args: ChurnArgs) -> anyhow::Result<()> {
    args.check()?;
    let ChurnArgs { target: target_args, load, clients, churn, away } = &args;
    let pace = load.pace(*clients)?;
    let target = target_args.target()?;
    let watched = target_args.watched(&target);
    let run = Run::new(1);
    let counts = Arc::new(Counts::default());
    let (mut crowd, mut handles) = (Crowd::new(*clients), Vec::new());
    let connections = connect::all(&target, *clients).await?;
    for (number, connection) in connections.into_iter().enumerate() {
        let account = target.account(number)?;
        let client = Client {
            number,
            run: run.clone(),
            counts: counts.clone(),
            url: target.gateway(number).to_owned(),
            token: target.token(&account)?,
            account,
            sending: Sending {
                command: command::CHAT_USER_TALK,
                dest: target.account(number ^ 1)?,
                pace,
                size: load.size,
            },
            away: *away,
            handle: Arc::new(Handle::default()),
        };
        handles.push(client.handle.clone());
        crowd.add(client.run(connection));
    }
    crowd.start().await;
    let cutting = tokio::spawn(cut(handles, *churn, run.clone(), counts.clone()));
    let measured = run.measure(load.warm_up, load.duration, &watched).await?;
    cutting.abort();
    let tally = crowd.end().await?;
    let report = Report {
        title: format!(
            "{clients} clients in pairs, {}, {} bytes, {churn} a second cut off",
            load.pace_in_words(),
            load.size
        ),
        settings: json!({
            "scenario": "churn", "clients": clients, "churn": churn,
            "away_s": away.as_secs_f64(), "load": load.json(),
        }),
        measured,
        totals: run.totals(),
        tally,
    };
    let extra =
        Extra { rows: counts.rows(), lines: counts.lines(), json: ("churn", counts.json()) };
    report.publish_with(&target_args.files, &extra)?;
    counts.verify(&report.totals)
}

/// Cuts off `rate` clients a second, whichever are there, until the run is over.
async fn cut(handles: Vec<Arc<Handle>>, rate: f64, run: Arc<Run>, counts: Arc<Counts>) {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    while !run.is_over() {
        ticks.tick().await;
        let first = rand::rng().random_range(0..handles.len());
        let (before, after) = handles.split_at(first);
        if after.iter().chain(before).any(|handle| handle.cut()) {
            counts.cut();
        }
    }
}
