//! `imago bench storm`: all clients are cut off at once, and come back at once.

mod report;
mod round;

use std::time::Duration;

use anyhow::ensure;
use imago_kit::bounded;
use serde_json::json;

use self::{
    report::Report,
    round::{Clients, Round},
};
use super::target::TargetArgs;
use crate::{client::connect, measure::cpu};

/// Time between rounds, in which servers get over the last one.
const BREATH: Duration = Duration::from_secs(1);
/// How long a round may last.
const DEADLINES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

/// Flags of `imago bench storm`.
#[derive(Debug, clap::Args)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Clients that are cut off
    #[arg(long, default_value_t = 1000)]
    clients: usize,
    /// Times that they are, one after the other
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Within this time all are to be logged in again
    #[arg(long, default_value = "60s", value_parser = bounded::duration(DEADLINES))]
    deadline: Duration,
}

impl StormArgs {
    fn check(&self) -> anyhow::Result<()> {
        connect::check("--clients", self.clients)?;
        ensure!((1..=100).contains(&self.rounds), "--rounds: expected 1 to 100");
        Ok(())
    }
}

pub(crate) async fn run(args: StormArgs) -> anyhow::Result<()> {
    args.check()?;
    let target = args.target.target()?;
    let watched = args.target.watched(&target);
    let mut clients = Clients::new(&target, connect::all(&target, args.clients).await?)?;
    let cpu_before = cpu::seconds(&watched)?;
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        tokio::time::sleep(BREATH).await;
        let (back, figures) = Round::run(clients, number, args.deadline).await?;
        let is_complete = figures.is_complete();
        rounds.push(figures);
        clients = back;
        if !is_complete {
            break;
        }
    }
    let report = Report {
        clients: args.clients,
        deadline: args.deadline,
        settings: json!({
            "scenario": "storm", "clients": args.clients, "rounds": args.rounds,
            "deadline_s": args.deadline.as_secs_f64(),
        }),
        rounds,
        cpu: cpu::spent(&watched, &cpu_before)?,
    };
    report.publish(&args.target.files)
}
