//! `imago bench`: measures a cluster from outside, over the client's wire alone.

mod client;
mod cpu;
mod crowd;
mod glance;
mod group;
mod html;
mod idle;
mod limit;
mod load;
mod overload;
mod pace;
mod promote;
mod recorder;
mod report;
mod run;
mod seen;
mod stamp;
mod svg;
mod talk;
mod wire;

use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;

use self::{cpu::Watched, report::FileArgs};
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
    /// Members of a group talk to all: messages a second, and time until they arrive everywhere
    Group(group::GroupArgs),
    /// One client talks to many at once: deliveries a second, and time until they arrive
    Fanout(group::FanoutArgs),
    /// Clients that are connected and say nothing: memory of the gateways for each
    Idle(idle::IdleArgs),
    /// What this machine does without Imago, a relay and a bare WebSocket, beside 1:1 talk
    Limit(limit::LimitArgs),
    /// More than the servers can do: what they accept, how they refuse the rest, and how soon they
    /// are well again
    Overload(overload::OverloadArgs),
    /// One more logic server, again and again: time from its start until it is Adult
    Promote(promote::PromoteArgs),
    /// The processes that `limit` measures with
    #[command(hide = true)]
    ServeLimit(limit::ServeArgs),
}

/// Measures.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    match args.scenario {
        Scenario::Talk(args) => talk::run(args).await,
        Scenario::Group(args) => group::run(args).await,
        Scenario::Fanout(args) => group::fanout(args).await,
        Scenario::Idle(args) => idle::run(args).await,
        Scenario::Limit(args) => limit::run(args).await,
        Scenario::Overload(args) => overload::run(args).await,
        Scenario::Promote(args) => promote::run(args).await,
        Scenario::ServeLimit(args) => limit::serve(args).await,
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
    /// Process that is watched in place of those of `imago dev`; may be given several times
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    #[command(flatten)]
    files: FileArgs,
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

    /// The processes that are watched.
    fn watched(&self, target: &Target) -> Vec<Watched> {
        let named =
            self.pid.iter().map(|pid| Watched { name: format!("process {pid}"), pid: *pid });
        let dev = target.members.iter();
        let dev = dev.map(|member| Watched { name: member.id.clone(), pid: member.pid });
        // Somebody who names processes means these.
        if self.pid.is_empty() { dev.collect() } else { named.collect() }
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
