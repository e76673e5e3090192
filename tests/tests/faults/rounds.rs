//! A round: a crowd talks, something breaks and heals, and everything has arrived.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use futures::future::BoxFuture;
use imago_tests::Verdict;
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{cluster::Cluster, crowd::Crowd};

/// Messages accepted before something breaks, and after it healed.
const BEFORE: usize = 80;
const AFTER: usize = 120;
/// Time in which they have to be.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time after the last message in which everything has to have arrived: whether in time is judged
/// for each message.
const SETTLES: Duration = Duration::from_secs(30);

/// A kind of fault.
pub(crate) struct Fault {
    /// For the report.
    pub(crate) name: &'static str,
    /// Makes the cluster.
    pub(crate) cluster: for<'a> fn(&'a mut StdRng) -> BoxFuture<'a, Cluster>,
    /// Breaks something, waits, and mends it; says what it did.
    pub(crate) strike: for<'a> fn(&'a mut Cluster, &'a mut StdRng) -> BoxFuture<'a, String>,
}

/// What rounds of one kind come to.
#[derive(Default)]
struct Tally {
    rounds: usize,
    accepted: usize,
    lost: usize,
    late: usize,
    faults: usize,
    duplicates: usize,
    failures: String,
}

/// Runs rounds with these seeds, or as many as the environment says.
pub(crate) async fn run(fault: &Fault, seeds: &[u64]) {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let rounds: Option<u64> = number("IMAGO_FAULT_ROUNDS");
    let first: Option<u64> = number("IMAGO_FAULT_SEED");
    let seeds = match (rounds, first) {
        (None, None) => seeds.to_vec(),
        (rounds, first) => (0..rounds.unwrap_or(1)).map(|more| first.unwrap_or(1) + more).collect(),
    };
    let mut tally = Tally::default();
    for seed in seeds {
        let (what, verdict) = round(fault, seed).await;
        tally.add(seed, &what, &verdict);
    }
    // Not by `println`, which is for failed tests only.
    let report = tally.report(fault.name);
    let _ = std::io::stderr().write_all(report.as_bytes());
    assert!(tally.failures.is_empty(), "{}: {}", fault.name, tally.failures);
}

async fn round(fault: &Fault, seed: u64) -> (String, Verdict) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut cluster = (fault.cluster)(&mut rng).await;
    let mut crowd = Crowd::gather(&cluster).await;
    crowd.talk(seed);
    let begins = goes_on(&cluster, BEFORE).await;
    let what = (fault.strike)(&mut cluster, &mut rng).await;
    cluster.chronicle.heals();
    let goes_on = goes_on(&cluster, AFTER).await;
    crowd.falls_silent().await;
    let mut verdict = cluster.chronicle.settles(SETTLES).await;
    if !begins || !goes_on {
        let when = if begins { "after healing" } else { "before anything broke" };
        verdict.faults.push(format!("hardly a message is accepted {when}"));
    }
    (what, verdict)
}

/// Returns whether this number of further messages is accepted in time.
async fn goes_on(cluster: &Cluster, messages: usize) -> bool {
    let (start, until) = (cluster.chronicle.accepted(), Instant::now() + PATIENCE);
    while cluster.chronicle.accepted() < start + messages {
        if Instant::now() > until {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}

impl Tally {
    fn add(&mut self, seed: u64, what: &str, verdict: &Verdict) {
        self.rounds += 1;
        self.accepted += verdict.accepted;
        self.lost += verdict.lost.len();
        self.late += verdict.late.len();
        self.faults += verdict.faults.len();
        self.duplicates += verdict.duplicates;
        if !verdict.is_clean() {
            let failures = &mut self.failures;
            let _ = writeln!(failures, "\nround of IMAGO_FAULT_SEED={seed}, {what}: {verdict}");
        }
    }

    fn report(&self, name: &str) -> String {
        let Self { rounds, accepted, lost, late, faults, duplicates, .. } = self;
        format!(
            "{:<28} {:>6} {:>8} {:>6} {:>6} {:>6} {:>10}\n\
             {name:<28} {rounds:>6} {accepted:>8} {lost:>6} {late:>6} {faults:>6} {duplicates:>10}\n",
            "fault", "rounds", "accepted", "lost", "late", "faults", "duplicates"
        )
    }
}
