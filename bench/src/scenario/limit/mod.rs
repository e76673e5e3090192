//! `imago bench limit`: what this machine does without Imago, beside what it does with it.

mod clients;

use std::path::PathBuf;

use anyhow::ensure;
use imago_kit::cli::print;
use serde_json::json;

use self::clients::Clients;
use super::{group, load::LoadArgs, talk, target::TargetArgs};
use crate::{
    client::connect,
    measure::{cpu::Watched, run::Run},
    process::child::Child,
    report::{
        figure::{Comparison, Figure, Side},
        run::Report,
    },
};

/// Flags of `imago bench limit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago bench limit --rounds 5 --html limit.html\n\
Example: imago bench limit --fanout 1000\n\n\
The sides take turns, in a round each once; medians are shown, and the span of the rates. CPU \
time is that of all server processes for each delivery, without the clients'.")]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Clients of each side; each talks to the one beside it
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// In place of pairs, one client that talks to so many others at once, beside a bare WebSocket
    /// broadcast to as many
    #[arg(long, value_name = "RECEIVERS", conflicts_with = "clients")]
    fanout: Option<usize>,
    /// Data directory of another `imago dev` that is measured too under its name, for example one
    /// with another store; may be given several times
    #[arg(long, value_name = "DIR")]
    beside: Vec<PathBuf>,
    /// Times that each side is measured
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

/// What is measured; the first of a comparison is the limit.
enum Kind {
    Relay,
    Echo,
    Talk(Cluster),
    Broadcast,
    Fanout(Cluster),
}

/// A cluster, and what its figures are called.
struct Cluster {
    name: String,
    target: TargetArgs,
}

pub(crate) async fn run(args: LimitArgs) -> anyhow::Result<()> {
    ensure!((1..=100).contains(&args.rounds), "--rounds: expected 1 to 100");
    let load = &args.load;
    let ending = format!("{}, {} bytes", load.pace_in_words(), load.size);
    let (kinds, unit, title) = match args.fanout {
        Some(receivers) => {
            ensure!((1..=99_999).contains(&receivers), "--fanout: expected 1 to 99999");
            connect::check("--fanout", receivers + 1)?;
            let clusters = args.clusters("fan-out").map(Kind::Fanout);
            let kinds: Vec<Kind> = std::iter::once(Kind::Broadcast).chain(clusters).collect();
            (kinds, "DELIVERIES/S", format!("one to {receivers}, {ending}"))
        }
        None => {
            talk::check(args.clients)?;
            let clusters = args.clusters("1:1 talk").map(Kind::Talk);
            let kinds: Vec<Kind> = [Kind::Relay, Kind::Echo].into_iter().chain(clusters).collect();
            (kinds, "MESSAGES/S", format!("{} clients, {ending}", args.clients))
        }
    };
    let settings = json!({
        "scenario": "limit", "clients": args.fanout.is_none().then_some(args.clients),
        "fanout": args.fanout, "rounds": args.rounds, "load": load.json(),
    });
    let sides = args.measure(&kinds).await?;
    let comparison = Comparison { title, settings, unit, sides };
    print(comparison.table());
    args.target.files.write_json(&comparison.json())?;
    args.target.files.write_html(|| comparison.page())
}

impl LimitArgs {
    /// The clusters that are measured.
    fn clusters(&self, what: &str) -> impl Iterator<Item = Cluster> {
        let own = Cluster { name: format!("imago, {what}"), target: self.target.clone() };
        let beside = self.beside.iter().map(move |data| Cluster {
            name: format!("{}, {what}", data.file_name().unwrap_or(data.as_os_str()).display()),
            target: self.target.of(data),
        });
        std::iter::once(own).chain(beside)
    }

    /// Round by round, every other one backwards: what changes on the machine meets all alike.
    async fn measure(&self, kinds: &[Kind]) -> anyhow::Result<Vec<Side>> {
        let side = |kind: &Kind| Side { what: kind.name(), rounds: Vec::new() };
        let mut sides: Vec<Side> = kinds.iter().map(side).collect();
        for round in 0..self.rounds {
            let mut turns: Vec<_> = kinds.iter().zip(&mut sides).collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for (kind, side) in turns {
                side.rounds.push(Figure::of(&self.once(kind).await?));
            }
        }
        Ok(sides)
    }

    async fn once(&self, kind: &Kind) -> anyhow::Result<Report> {
        let (load, clients) = (&self.load, self.clients);
        let receivers = self.fanout.unwrap_or_default();
        match kind {
            Kind::Relay => relayed(load, clients).await,
            Kind::Echo => echoed(load, clients).await,
            Kind::Talk(cluster) => verified(talk::measure(&cluster.target, load, clients).await?),
            Kind::Broadcast => broadcast_to(load, receivers).await,
            Kind::Fanout(cluster) => {
                verified(group::measure_fanout(&cluster.target, load, receivers).await?)
            }
        }
    }
}

impl Kind {
    fn name(&self) -> String {
        match self {
            Self::Relay => "relay, plain TCP".to_owned(),
            Self::Echo => "bare WebSocket echo".to_owned(),
            Self::Broadcast => "bare WebSocket broadcast".to_owned(),
            Self::Talk(cluster) | Self::Fanout(cluster) => cluster.name.clone(),
        }
    }
}

fn verified(report: Report) -> anyhow::Result<Report> {
    report.verify()?;
    Ok(report)
}

/// Client → edge → core → edge → the other client, and an answer to the first by the same way.
///
/// What it has in common with talk: two processes; each message makes an answer and a delivery,
/// and all three pass both of them, among those of other clients on one connection, written in
/// batches from bounded queues; the clients send, stamp, read back and count by the same code.
/// What it leaves out: WebSocket frames and masks, packets, logins and sessions, the directory,
/// a second pair of servers, and above all the store: an answer promises nothing here.
async fn relayed(load: &LoadArgs, clients: usize) -> anyhow::Result<Report> {
    let (core, core_at) = start(&["core"]).await?;
    let (edge, edge_at) = start(&["edge", "--core", &core_at]).await?;
    let watched: Vec<Watched> =
        [core.watched("core"), edge.watched("edge")].into_iter().flatten().collect();
    let mut crowd = Clients::new(clients, clients, load, Run::new(1))?;
    for number in 0..clients {
        crowd.relay(&edge_at, number).await?;
    }
    crowd.measure("relay", load, &watched).await
}

/// Client → WebSocket → the same client. One process, and one message back that is both answer
/// and delivery.
async fn echoed(load: &LoadArgs, clients: usize) -> anyhow::Result<Report> {
    let (echo, address) = start(&["echo"]).await?;
    let watched: Vec<Watched> = echo.watched("echo").into_iter().collect();
    let mut crowd = Clients::new(clients, clients, load, Run::new(1))?;
    for number in 0..clients {
        crowd.echo(&address, number).await?;
    }
    crowd.measure("echo", load, &watched).await
}

/// Client → WebSocket → all others. One process; the sender is answered once the message is in
/// the queue of each.
async fn broadcast_to(load: &LoadArgs, receivers: usize) -> anyhow::Result<Report> {
    let (server, address) = start(&["broadcast"]).await?;
    let watched: Vec<Watched> = server.watched("broadcast").into_iter().collect();
    let mut crowd = Clients::new(receivers + 1, 1, load, Run::new(receivers as u64))?;
    for number in 0..=receivers {
        crowd.broadcast(&address, number).await?;
    }
    crowd.measure("broadcast", load, &watched).await
}

/// Starts a server of ours that is no part of Imago; gives its address, too.
async fn start(arguments: &[&str]) -> anyhow::Result<(Child, String)> {
    Child::listening(&[&["serve-limit"], arguments].concat()).await
}
