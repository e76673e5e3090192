//! `imago bench`: measures a cluster from outside, over the client's wire alone.

mod idle;
mod promote;
mod talk;
mod wire;

use std::{path::PathBuf, time::Duration};

use anyhow::{bail, ensure};
use clap::Subcommand;
use hdrhistogram::Histogram;

use crate::{
    dev::state::{DevState, Member},
    token::{self, SecretArgs},
};

/// Flags of `imago bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago bench talk --clients 200 --duration 10s\n\n\
Without --gateway, the cluster that `imago dev` runs in this directory. Figures of one machine \
that runs servers and load together are good for comparisons within one run, not for more.")]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Pairs of clients talk to each other: messages a second, and time until they arrive
    Talk(talk::TalkArgs),
    /// Clients that are connected and say nothing: memory of the gateways for each
    Idle(idle::IdleArgs),
    /// One more logic server, again and again: time from its start until it is Adult
    Promote(promote::PromoteArgs),
}

/// Measures.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    match args.scenario {
        Scenario::Talk(args) => talk::run(args).await,
        Scenario::Idle(args) => idle::run(args).await,
        Scenario::Promote(args) => promote::run(args).await,
    }
}

/// Which cluster is measured.
#[derive(Clone, Debug, clap::Args)]
struct TargetArgs {
    /// Gateway to connect to, ws://…; may be given several times
    #[arg(long, value_name = "URL")]
    gateway: Vec<String>,
    #[command(flatten)]
    secret: SecretArgs,
    /// Write the figures to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A cluster that is measured.
struct Target {
    gateways: Vec<String>,
    secret: String,
    members: Vec<Member>,
}

impl TargetArgs {
    fn target(&self) -> anyhow::Result<Target> {
        let dev = self.secret.dev();
        let members = dev.as_ref().map(|state| state.members.clone()).unwrap_or_default();
        let gateways = if self.gateway.is_empty() {
            dev.as_ref().map(DevState::gateways).map_err(|error| anyhow::anyhow!("{error:#}"))?
        } else {
            self.gateway.clone()
        };
        if gateways.is_empty() {
            bail!("no gateway with a WebSocket port");
        }
        Ok(Target { gateways, secret: self.secret.read()?, members })
    }

    fn write(&self, figures: &serde_json::Value) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(figures)?)?;
        }
        Ok(())
    }
}

impl Target {
    fn gateway(&self, number: usize) -> &str {
        self.gateways.get(number % self.gateways.len()).map_or("", String::as_str)
    }

    fn token(&self, account: &str) -> anyhow::Result<String> {
        token::make(&self.secret, account, "bench", "", Duration::from_secs(86_400))
    }
}

/// Resident memory of a process, in bytes (proc(5), `VmRSS`).
fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    ensure!(kib.is_some(), "process {pid} has no VmRSS");
    Ok(kib.unwrap_or_default() * 1024)
}

/// A histogram of microseconds up to a minute, three digits exact.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3)
        .expect("bounds and digits are within what it takes")
}

/// The usual percentiles, in milliseconds.
fn percentiles(histogram: &Histogram<u64>) -> Vec<(&'static str, f64)> {
    let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    vec![
        ("p50", at(0.5)),
        ("p90", at(0.9)),
        ("p99", at(0.99)),
        ("p99.9", at(0.999)),
        ("max", histogram.max() as f64 / 1000.0),
    ]
}
