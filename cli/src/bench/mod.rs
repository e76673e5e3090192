//! `imago bench`: measures a cluster from outside, over the client's wire alone.

mod backoff;
mod burner;
mod child;
mod churn;
mod client;
mod connect;
mod cpu;
mod crowd;
mod failure;
mod glance;
mod group;
mod html;
mod idle;
mod idlers;
mod limit;
mod load;
mod login;
mod memory;
mod meter;
mod overload;
mod pace;
mod picture;
mod promote;
mod recorder;
mod report;
mod run;
mod seen;
mod sink;
mod stamp;
mod storm;
mod talk;
mod tokens;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Subcommand;
use imago_kit::raise_open_files;

use self::{cpu::Watched, report::FileArgs, tokens::Tokens};
use imago_local::{DevState, Member, SecretArgs, ws_url};

/// Flags of `imago bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago bench talk --clients 200 --duration 10s\n\n\
Without --gateway, the cluster that `imago dev` runs in this directory. Figures of one machine \
that runs servers and load together are good for comparisons within one run, not for more.")]
pub(crate) struct BenchArgs {
    /// Threads that the clients run on; as many as there are cores otherwise
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
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
    /// Pairs talk while clients are cut off and come back: that nothing is lost, nor comes twice
    Churn(churn::ChurnArgs),
    /// Clients connect, log in and close again: logins a second, and how long they take
    Login(login::LoginArgs),
    /// All clients are cut off at once and come back: time until they are logged in again
    Storm(storm::StormArgs),
    /// Clients that are connected and say nothing: memory of the gateways for each
    Idle(idle::IdleArgs),
    /// What this machine does without Imago, a relay and bare WebSockets, beside talk or fan-out
    Limit(limit::LimitArgs),
    /// More than the servers can do: what they accept, how they refuse the rest, and how soon they
    /// are well again; and that clients that wait for their answers are not refused on a busy machine
    Overload(overload::OverloadArgs),
    /// One more logic server, again and again: time from its start until it is Adult
    Promote(promote::PromoteArgs),
    /// The processes that `limit` measures with
    #[command(hide = true)]
    ServeLimit(limit::ServeArgs),
    /// The processes that hold idle clients
    #[command(hide = true)]
    ServeIdlers(idlers::ServeArgs),
    /// The process that reads what `promote` sends beside
    #[command(hide = true)]
    ServeSink,
    /// A program that keeps a processor busy beside `overload`
    #[command(hide = true)]
    ServeBurner,
}

/// Measures.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<()> {
    // What a scenario needs beyond that, it says itself.
    raise_open_files();
    match args.scenario {
        Scenario::Talk(args) => talk::run(args).await,
        Scenario::Group(args) => group::run(args).await,
        Scenario::Fanout(args) => group::fanout(args).await,
        Scenario::Churn(args) => churn::run(args).await,
        Scenario::Login(args) => login::run(args).await,
        Scenario::Storm(args) => storm::run(args).await,
        Scenario::Idle(args) => idle::run(args).await,
        Scenario::Limit(args) => limit::run(args).await,
        Scenario::Overload(args) => overload::run(args).await,
        Scenario::Promote(args) => promote::run(args).await,
        Scenario::ServeLimit(args) => limit::serve(args).await,
        Scenario::ServeIdlers(args) => idlers::serve(args).await,
        Scenario::ServeSink => sink::serve().await,
        Scenario::ServeBurner => burner::serve().await,
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
    /// File with a token a line, one for each client, in place of tokens made from the secret
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Process that is watched in place of those of `imago dev`; may be given several times
    #[arg(long, value_name = "[NAME=]PID")]
    pid: Vec<Watched>,
    #[command(flatten)]
    files: FileArgs,
}

/// A cluster that is measured.
struct Target {
    gateways: Vec<String>,
    tokens: Tokens,
    members: Vec<Member>,
}

impl TargetArgs {
    /// The cluster of another `imago dev`.
    fn of(&self, data: &Path) -> Self {
        let files = self.files.clone();
        Self {
            gateway: Vec::new(),
            secret: SecretArgs::of(data),
            tokens: None,
            pid: Vec::new(),
            files,
        }
    }

    fn target(&self) -> anyhow::Result<Target> {
        let dev = self.secret.dev();
        let members = dev.as_ref().map(|state| state.members.clone()).unwrap_or_default();
        let gateways = if self.gateway.is_empty() {
            dev.as_ref().map(DevState::gateways).map_err(|error| anyhow::anyhow!("{error:#}"))?
        } else {
            self.gateway.iter().map(|url| ws_url(url)).collect::<Result<_, _>>()?
        };
        if gateways.is_empty() {
            bail!("no gateway with a WebSocket port");
        }
        let tokens = match &self.tokens {
            Some(file) => Tokens::read(file)?,
            None => Tokens::made(self.secret.read()?),
        };
        Ok(Target { gateways, tokens, members })
    }

    /// The processes that are watched.
    fn watched(&self, target: &Target) -> Vec<Watched> {
        let dev = target.members.iter();
        let dev = dev.map(|member| Watched { name: member.id.clone(), pid: member.pid });
        // Somebody who names processes means these.
        if self.pid.is_empty() { dev.collect() } else { self.pid.clone() }
    }
}

impl Target {
    fn gateway(&self, number: usize) -> &str {
        self.gateways.get(number % self.gateways.len()).map_or("", String::as_str)
    }

    /// Whether there are tokens for so many clients.
    fn require(&self, clients: usize) -> anyhow::Result<()> {
        self.tokens.require(clients)
    }

    fn account(&self, number: usize) -> anyhow::Result<String> {
        self.tokens.account(number)
    }

    fn token(&self, account: &str) -> anyhow::Result<String> {
        self.tokens.token(account)
    }
}
