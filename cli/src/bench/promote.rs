//! `imago bench promote`: how long a logic server takes to grow up in a running cluster.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use serde_json::json;

use crate::dev::{self, Server, state::DevState};

/// How long one promotion may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `imago bench promote`.
#[derive(Debug, clap::Args)]
pub(crate) struct PromoteArgs {
    /// Data directory of the `imago dev` whose cluster is joined
    #[arg(long, value_name = "DIR", default_value = dev::DATA_DIR)]
    data: PathBuf,
    /// How many servers are started, one after the other
    #[arg(long, default_value_t = 10)]
    times: usize,
    /// Write the figures to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) async fn run(args: PromoteArgs) -> anyhow::Result<()> {
    ensure!(args.times > 0, "--times: expected 1 or more");
    let state = DevState::read(&args.data)?;
    let gateways = state.members.iter().filter(|member| member.role == "gateway").count();
    let mut millis = Vec::new();
    for number in 1..=args.times {
        let took = promote(&state, number).await?;
        out!("{number:3}: {took:.0} ms from start to Adult");
        millis.push(took);
    }
    let mut sorted = millis.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    out!("median of {}: {median:.0} ms, with {gateways} gateways", args.times);
    if let Some(path) = &args.json {
        let figures = json!({ "scenario": "promote", "gateways": gateways, "median_ms": median, "all_ms": millis });
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    Ok(())
}

/// Milliseconds from the start of a process until it is ready.
async fn promote(state: &DevState, number: usize) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let launch = dev::logic_launch(state, format!("bench-logic-{number}"));
    let started = Instant::now();
    let server = Server::start(launch, &directory.path().join("log")).await?;
    let ready = format!("{}/ready", server.member.monitor);
    let took = loop {
        if http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            break Ok(started.elapsed().as_secs_f64() * 1000.0);
        }
        if started.elapsed() > PATIENCE {
            break Err(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    server.stop().await;
    match took {
        Ok(millis) => Ok(millis),
        Err(()) => bail!("not Adult after {PATIENCE:?}"),
    }
}
