//! `imago bench idle`: what a client costs that is connected and says nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use imago_container::cli::print;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    TargetArgs,
    cpu::{Watched, resident},
    wire,
};
use crate::table::table;

/// Connections made at a time.
const AT_ONCE: usize = 64;

/// Flags of `imago bench idle`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Clients to connect
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Time between the last login and the look at the memory
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    settle: Duration,
}

pub(super) async fn run(args: IdleArgs) -> anyhow::Result<()> {
    ensure!(args.connections > 0, "--connections: expected 1 or more");
    let target = args.target.target()?;
    let mut watched = args.target.watched(&target);
    let is_gateway = |name: &str| {
        target.members.iter().any(|member| member.id == name && member.role == "gateway")
    };
    if args.target.pid.is_empty() {
        watched.retain(|process| is_gateway(&process.name));
    }
    ensure!(!watched.is_empty(), "--pid: expected the process ids of the gateways");
    let before = resident_of(&watched)?;
    let progress = ProgressBar::new(args.connections as u64);
    let started = Instant::now();
    target.require(args.connections)?;
    let mut connecting = JoinSet::new();
    let mut connected = Vec::with_capacity(args.connections);
    for number in 0..args.connections {
        if connecting.len() >= AT_ONCE
            && let Some(client) = connecting.join_next().await
        {
            connected.push(client.context("client failed")??);
            progress.inc(1);
        }
        let token = target.token(&target.account(number)?)?;
        let url = target.gateway(number).to_owned();
        connecting.spawn(async move { wire::connect(&url, &token).await });
    }
    while let Some(client) = connecting.join_next().await {
        connected.push(client.context("client failed")??);
        progress.inc(1);
    }
    progress.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    tokio::time::sleep(args.settle).await;
    let after = resident_of(&watched)?;
    drop(connected);
    report(&args, &watched, &before, &after, seconds)
}

fn resident_of(watched: &[Watched]) -> anyhow::Result<Vec<u64>> {
    watched.iter().map(|process| resident(process.pid)).collect()
}

fn report(
    args: &IdleArgs,
    watched: &[Watched],
    before: &[u64],
    after: &[u64],
    seconds: f64,
) -> anyhow::Result<()> {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / 1_048_576.0);
    let rows: Vec<Vec<String>> = watched
        .iter()
        .zip(before.iter().zip(after))
        .map(|(process, (before, after))| vec![process.name.clone(), mib(*before), mib(*after)])
        .collect();
    print(table(&["PROCESS", "MIB BEFORE", "MIB AFTER"], &rows));
    let grown = after.iter().sum::<u64>().saturating_sub(before.iter().sum());
    let each = grown as f64 / args.connections as f64;
    let rate = args.connections as f64 / seconds;
    out!(
        "\n{} connections: {:.1} KiB each; {rate:.0} logins a second",
        args.connections,
        each / 1024.0
    );
    args.target.files.write_json(&json!({
        "scenario": "idle", "connections": args.connections, "bytes_each": each,
        "logins_per_second": rate,
    }))
}
