//! `imago bench idle`: what a client costs that is connected and says nothing.

mod report;
mod watch;

use std::time::{Duration, Instant};

use anyhow::ensure;
use imago_kit::bounded;
use indicatif::ProgressBar;

use self::{
    report::Report,
    watch::{Memory, hold},
};
use super::target::TargetArgs;
use crate::{
    client::target::Target,
    measure::{cpu::Watched, memory::Kernel},
    process::idlers::{Idlers, PINGS},
};

/// How long they may be held.
const HELD: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// Flags of `imago bench idle`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Clients to connect
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Time between the last login and the look at the memory
    #[arg(long, default_value = "3s", value_parser = bounded::duration(HELD))]
    settle: Duration,
    /// How long they are held then, while the memory is looked at again and again
    #[arg(long, default_value = "0s", value_parser = bounded::duration(HELD))]
    hold: Duration,
    /// Time between the pings of a client
    #[arg(long, default_value = "30s", value_parser = bounded::duration(PINGS))]
    ping_interval: Duration,
}

impl IdleArgs {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (1..=1_000_000).contains(&self.connections),
            "--connections: expected 1 to 1000000"
        );
        Ok(())
    }
}

pub(crate) async fn run(args: IdleArgs) -> anyhow::Result<()> {
    args.check()?;
    let target = args.target.target()?;
    let watched = gateways(&args.target, &target)?;
    let memory_before = Memory::read(&watched)?;
    let kernel_before = Kernel::read()?;
    let progress = ProgressBar::new(args.connections as u64).with_message("connecting");
    let started = Instant::now();
    let idlers = Idlers::connect(&target, args.connections, args.ping_interval, &progress).await?;
    progress.finish_and_clear();
    let connecting = started.elapsed();
    tokio::time::sleep(args.settle).await;
    let kernel = Kernel::read()?.since(kernel_before);
    let samples = hold(&watched, args.hold, &idlers).await?;
    let told = idlers.told();
    let names = watched.into_iter().map(|process| process.name).collect();
    let report = Report {
        connections: args.connections,
        connecting,
        names,
        before: memory_before,
        samples,
        kernel,
        told,
        hold: args.hold,
        ping_interval: args.ping_interval,
    };
    report.publish(&args.target.files)
}

/// The processes whose memory counts: the gateways.
fn gateways(args: &TargetArgs, target: &Target) -> anyhow::Result<Vec<Watched>> {
    let mut watched = args.watched(target);
    if args.pid.is_empty() {
        watched.retain(|process| {
            target
                .members
                .iter()
                .any(|member| member.id == process.name && member.role == "gateway")
        });
    }
    ensure!(!watched.is_empty(), "--pid: expected the process ids of the gateways");
    Ok(watched)
}
