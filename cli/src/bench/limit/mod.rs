//! `imago bench limit`: what this machine does without Imago, beside what it does with it.

mod clients;
mod frames;
mod serve;

use std::process::Stdio;

use anyhow::{Context, ensure};
use imago_container::cli::print;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub(crate) use self::serve::{ServeArgs, serve};
use super::{
    TargetArgs, cpu::Watched, load::LoadArgs, recorder::millis, report::Report, run::Run, talk,
};
use crate::table::table;

/// Flags of `imago bench limit`.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Clients of each kind; each talks to the one beside it
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Times that all are measured, one after the other; medians are shown
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

/// One of the things that are measured.
struct Figure {
    what: &'static str,
    rate: f64,
    p50: f64,
    p99: f64,
}

pub(super) async fn run(args: LimitArgs) -> anyhow::Result<()> {
    let LimitArgs { target, load, clients, rounds } = args;
    ensure!(
        clients >= 2 && clients.is_multiple_of(2),
        "--clients: expected an even number, 2 or more"
    );
    ensure!((1..=100).contains(&rounds), "--rounds: expected 1 to 100");
    let mut all: Vec<Vec<Figure>> = Vec::new();
    for _ in 0..rounds {
        all.push(vec![
            relayed(&load, clients).await?,
            echoed(&load, clients).await?,
            talked(&target, &load, clients).await?,
        ]);
    }
    let figures = medians(all);
    let limit = figures.first().map_or(f64::NAN, |figure| figure.rate);
    let rows: Vec<Vec<String>> = figures
        .iter()
        .map(|figure| {
            vec![
                figure.what.to_owned(),
                format!("{:.0}", figure.rate),
                format!("{:.0} %", figure.rate / limit * 100.0),
                format!("{:.2}", figure.p50),
                format!("{:.2}", figure.p99),
            ]
        })
        .collect();
    out!("{clients} clients, {}, {} bytes\n", load.pace_in_words(), load.size);
    print(table(&["", "MESSAGES/S", "OF THE LIMIT", "P50 MS", "P99 MS"], &rows));
    target.files.write_json(&json!({
        "scenario": "limit", "clients": clients, "rounds": rounds, "load": load.json(),
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
    }))
}

impl Figure {
    fn of(what: &'static str, report: &Report) -> Self {
        let delivery = &report.measured.delivery;
        let (p50, p99) = (millis(delivery, 0.5), millis(delivery, 0.99));
        Self { what, rate: report.rate(), p50, p99 }
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "per_second": self.rate, "p50_ms": self.p50, "p99_ms": self.p99,
        })
    }
}

/// The median of each value over all rounds.
fn medians(rounds: Vec<Vec<Figure>>) -> Vec<Figure> {
    let mut kinds: Vec<Vec<Figure>> = Vec::new();
    for round in rounds {
        for (place, figure) in round.into_iter().enumerate() {
            match kinds.get_mut(place) {
                Some(kind) => kind.push(figure),
                None => kinds.push(vec![figure]),
            }
        }
    }
    let of_kind = |kind: Vec<Figure>| {
        let middle = |value: fn(&Figure) -> f64| {
            let mut values: Vec<f64> = kind.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let what = kind.first().map_or("", |figure| figure.what);
        Figure {
            what,
            rate: middle(|figure| figure.rate),
            p50: middle(|figure| figure.p50),
            p99: middle(|figure| figure.p99),
        }
    };
    kinds.into_iter().map(of_kind).collect()
}

/// A process of this program that ends when its standard input does: with this one.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "serve-limit"]).args(arguments).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).await?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    fn watched(&self, name: &str) -> Option<Watched> {
        self.child.id().map(|pid| Watched { name: name.to_owned(), pid })
    }
}

/// Client → relay → relay → client, and the answer back: nothing is decoded, nothing stored.
async fn relayed(load: &LoadArgs, clients: usize) -> anyhow::Result<Figure> {
    let core = Process::start(&["core"]).await?;
    let edge = Process::start(&["edge", "--core", &core.address]).await?;
    let watched: Vec<Watched> =
        [core.watched("core"), edge.watched("edge")].into_iter().flatten().collect();
    let run = Run::new(1);
    let mut crowd = clients::Crowd::new(clients, load)?;
    for number in 0..clients {
        crowd.relay(&edge.address, number, run.clone()).await?;
    }
    let report = crowd.measure("relay", &run, load, &watched).await?;
    Ok(Figure::of("relay, plain TCP", &report))
}

/// Client → WebSocket → client.
async fn echoed(load: &LoadArgs, clients: usize) -> anyhow::Result<Figure> {
    let echo = Process::start(&["echo"]).await?;
    let watched: Vec<Watched> = echo.watched("echo").into_iter().collect();
    let run = Run::new(1);
    let mut crowd = clients::Crowd::new(clients, load)?;
    for number in 0..clients {
        crowd.echo(&echo.address, number, run.clone()).await?;
    }
    let report = crowd.measure("echo", &run, load, &watched).await?;
    Ok(Figure::of("bare WebSocket echo", &report))
}

async fn talked(target: &TargetArgs, load: &LoadArgs, clients: usize) -> anyhow::Result<Figure> {
    let report = talk::measure(target, load, clients).await?;
    report.verify()?;
    Ok(Figure::of("imago, 1:1 talk", &report))
}
