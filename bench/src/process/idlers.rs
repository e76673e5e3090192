//! Clients that are connected and say nothing but pings, in processes of their own: one process may
//! not have enough files for all.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWriteExt, BufReader, Lines},
    process::ChildStdout,
    sync::watch,
    task::JoinSet,
    time::Instant,
};

use super::child::Child;
use crate::client::{connect::room, target::Target};

/// Clients of one process, where it may have that many files.
const EACH: usize = 10_000;
/// How long nothing may happen while they connect.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked how far they are.
const LOOK: Duration = Duration::from_millis(50);
/// Pings may come this often. Gateways close who is silent for two minutes.
pub(crate) const PINGS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(110);
/// What a process is told when it has been told of all of its clients.
pub(crate) const END: &str = ".";

/// What clients have done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Were logged in.
    pub(crate) connected: usize,
    /// Are no more, and why the last was lost.
    pub(crate) lost: usize,
    pub(crate) why: Option<String>,
    pub(crate) pings: u64,
    pub(crate) pongs: u64,
    /// A login failed: that of all others is given up.
    pub(crate) failed: Option<String>,
}

/// Connected clients. They end when this is dropped.
pub(crate) struct Idlers {
    processes: Vec<watch::Receiver<Told>>,
    _children: Vec<Child>,
    _readers: JoinSet<()>,
}

/// Clients of one process.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    clients: std::ops::Range<usize>,
}

impl Idlers {
    /// Connects and logs in `clients` clients, each of which pings at this interval. Gives up at the
    /// first that is not let in.
    pub(crate) async fn connect(
        target: &Target,
        clients: usize,
        ping_interval: Duration,
        progress: &ProgressBar,
    ) -> anyhow::Result<Self> {
        target.require(clients)?;
        let each = EACH.min(room()).max(1);
        let interval = format!("{}ms", ping_interval.as_millis());
        let mut starting = Vec::new();
        for first in (0..clients).step_by(each) {
            let (child, lines) = Child::start(&["serve-idlers", "--ping-interval", &interval])?;
            starting.push(Process { child, lines, clients: first..clients.min(first + each) });
        }
        let mut idlers =
            Self { processes: Vec::new(), _children: Vec::new(), _readers: JoinSet::new() };
        let mut tellings = Vec::new();
        for Process { child, lines, clients } in starting {
            let (told, telling) = watch::channel(Told::default());
            idlers.processes.push(telling);
            idlers._readers.spawn(read(lines, told));
            tellings.push(tell(child, target, clients));
        }
        let (children, ()) = tokio::try_join!(
            try_join_all(tellings),
            until_connected(&idlers.processes, clients, progress)
        )?;
        idlers._children = children;
        Ok(idlers)
    }

    /// What all of them have done so far.
    pub(crate) fn told(&self) -> Told {
        sum(&self.processes)
    }
}

/// Tells a process its clients.
async fn tell(
    mut child: Child,
    target: &Target,
    clients: std::ops::Range<usize>,
) -> anyhow::Result<Child> {
    for number in clients {
        let token = target.token(&target.account(number)?)?;
        let line = format!("{} {token}\n", target.gateway(number));
        let written = child.input().write_all(line.as_bytes()).await;
        written.context("a process of the load has ended")?;
    }
    child.input().write_all(format!("{END}\n").as_bytes()).await?;
    Ok(child)
}

/// Reads what a process tells of its clients.
async fn read(mut lines: Lines<BufReader<ChildStdout>>, told: watch::Sender<Told>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(now) = serde_json::from_str(&line) {
            told.send_replace(now);
        }
    }
    // Where it ends by itself, its clients have ended.
    told.send_modify(|told| {
        told.lost = told.connected;
        told.failed.get_or_insert_with(|| "a process of the load has ended".to_owned());
    });
}

/// Waits for the last of them.
async fn until_connected(
    processes: &[watch::Receiver<Told>],
    clients: usize,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let told = sum(processes);
        if let Some(why) = told.failed {
            bail!("{} of {clients} clients are connected; the next: {why}", told.connected);
        }
        progress.set_position(told.connected as u64);
        if told.connected == clients {
            return Ok(());
        }
        if told.connected > before {
            (before, since) = (told.connected, Instant::now());
        }
        ensure!(
            since.elapsed() < PATIENCE,
            "{before} of {clients} clients are connected, and no other within {PATIENCE:?}"
        );
        tokio::time::sleep(LOOK).await;
    }
}

fn sum(processes: &[watch::Receiver<Told>]) -> Told {
    processes.iter().fold(Told::default(), |sum, process| sum.and(&process.borrow()))
}

impl Told {
    fn and(self, other: &Self) -> Self {
        Self {
            connected: self.connected + other.connected,
            lost: self.lost + other.lost,
            why: self.why.or_else(|| other.why.clone()),
            pings: self.pings + other.pings,
            pongs: self.pongs + other.pongs,
            failed: self.failed.or_else(|| other.failed.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_processes_tell_is_added_up() {
        let told = |connected, failed: Option<&str>| Told {
            connected,
            lost: 1,
            pings: 5,
            pongs: 4,
            failed: failed.map(str::to_owned),
            why: None,
        };
        let processes = [told(3, None), told(4, Some("no")), told(5, None)];
        let processes = processes.map(|told| watch::channel(told).1);
        let sum = sum(&processes);
        assert_eq!((sum.connected, sum.lost, sum.pings, sum.pongs), (12, 3, 15, 12));
        assert_eq!(sum.failed.as_deref(), Some("no"));
    }

    #[tokio::test]
    async fn a_client_that_is_not_let_in_ends_the_wait() {
        let told = Told { failed: Some("refused".into()), connected: 2, ..Told::default() };
        let processes = [watch::channel(told).1];
        let waited = until_connected(&processes, 5, &ProgressBar::hidden()).await;
        let error = waited.unwrap_err().to_string();
        assert_eq!(error, "2 of 5 clients are connected; the next: refused");
    }
}
