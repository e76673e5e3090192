//! `imago bench`: measures a cluster from outside, over the client's wire alone.

mod client;
mod measure;
mod process;
mod report;
mod scenario;

use clap::Subcommand;
use imago_kit::raise_open_files;

use self::{
    process::{burner, idling, relay, sink},
    scenario::{churn, group, idle, limit, login, overload, promote, storm, talk},
};

/// Flags of `imago bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago bench talk --clients 200 --duration 10s\n\n\
Without --gateway, the cluster that `imago dev` runs in this directory. Figures of one machine \
that runs servers and load together are good for comparisons within one run, not for more.")]
pub struct BenchArgs {
    /// Threads that the clients run on; as many as there are cores otherwise
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
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
    ServeLimit(relay::ServeArgs),
    /// The processes that hold idle clients
    #[command(hide = true)]
    ServeIdlers(idling::ServeArgs),
    /// The process that reads what `promote` sends beside
    #[command(hide = true)]
    ServeSink,
    /// A program that keeps a processor busy beside `overload`
    #[command(hide = true)]
    ServeBurner,
}

/// Measures. Scenarios that need processes of their own start the running program again with `bench` and one of
/// the hidden subcommands: the program must pass these on to here.
///
/// # Errors
/// When flags ask for what cannot be measured, or the cluster fails: its figures are worth nothing then.
pub async fn run(args: BenchArgs) -> anyhow::Result<()> {
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
        Scenario::ServeLimit(args) => relay::serve(args).await,
        Scenario::ServeIdlers(args) => idling::serve(args).await,
        Scenario::ServeSink => sink::serve().await,
        Scenario::ServeBurner => burner::serve().await,
    }
}
