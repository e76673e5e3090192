//! A logic server stops in the middle of a write to PostgreSQL: others write on.

use std::time::Duration;

use imago_tests::{Device, Kind, To, eventually};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Store};

/// Pairs of accounts that talk to each other.
const PAIRS: usize = 8;
/// Time that the server is frozen for.
const FREEZE: Duration = Duration::from_secs(15);
/// How often it is tried to freeze it in the middle of a transaction.
const TRIES: usize = 60;
/// Longest time without an accepted message: in the whole cluster, and between two accounts that the
/// other server serves.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest time of accounts that the frozen server serves: its link is given up first, and what it
/// left is undone.
const PAUSE_OF_SERVED: Duration = Duration::from_secs(12);

/// Two accounts that talk to each other without an end.
struct Pair {
    names: [String; 2],
    devices: [Device; 2],
    /// One of them is served by the server that is frozen.
    is_served: bool,
}

async fn handled(cluster: &Cluster) -> f64 {
    let monitor = cluster.logics[0].monitor();
    monitor.metric("imago_handler_seconds_count").await.unwrap()
}

async fn pair(cluster: &Cluster, number: usize) -> Pair {
    let names = ["ann", "bob"].map(|name| format!("{name}-{number}"));
    let before = handled(cluster).await;
    let mut devices = Vec::new();
    for (name, gateway) in names.iter().zip([0, 1]) {
        devices.push(cluster.device(name, "", Kind::Sdk, gateway).online().await);
    }
    let devices: [Device; 2] = devices.try_into().ok().unwrap();
    for (device, to) in devices.iter().zip(names.iter().rev()) {
        device.says(&To::Account(to.clone())).await;
    }
    // Each is served by one server; the metric is written when a handler has ended.
    sleep(Duration::from_millis(300)).await;
    let is_served = handled(cluster).await > before;
    Pair { names, devices, is_served }
}

async fn chat(device: &Device, to: &str, stop: &CancellationToken) {
    let to = To::Account(to.to_owned());
    while !stop.is_cancelled() {
        device.talk(&to).await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// Freezes the first logic server where it holds a transaction open. Where it never does, as its
/// writes are one statement each, anywhere.
async fn freeze_within_a_write(cluster: &Cluster) {
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
        AND now() - state_change > interval '300 milliseconds'";
    let postgres = cluster.postgres.as_ref().unwrap();
    for tries in 1..=TRIES {
        cluster.logics[0].freeze();
        sleep(Duration::from_millis(400)).await;
        if postgres.run_sql("imago0", open).await != "0" {
            println!("frozen in a transaction at the {tries}th try");
            return;
        }
        cluster.logics[0].thaw();
        // Off the beat of the clients.
        sleep(Duration::from_millis(rand::random_range(5..40))).await;
    }
    cluster.logics[0].freeze();
}

/// The longest time between two of these moments, and the ends.
fn longest_pause(mut times: Vec<Instant>, from: Instant, until: Instant) -> Duration {
    times.retain(|time| (from..until).contains(time));
    times.insert(0, from);
    times.push(until);
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_frozen_in_a_write_stops_no_other_conversation() {
    let cluster = Cluster::start(Store::Postgres).await;
    let mut pairs = Vec::new();
    for number in 0..PAIRS {
        pairs.push(pair(&cluster, number).await);
    }
    assert!(pairs.iter().any(|pair| pair.is_served), "no pair is served by logic-1");
    assert!(pairs.iter().any(|pair| !pair.is_served), "all are served by logic-1");
    let stop = CancellationToken::new();
    let chats = pairs.iter().flat_map(|pair| {
        let others = pair.names.iter().rev();
        pair.devices.iter().zip(others).map(|(device, to)| chat(device, to, &stop))
    });
    let story = async {
        cluster.chronicle.until_accepted(PAIRS * 10, Duration::from_secs(30)).await;
        freeze_within_a_write(&cluster).await;
        let frozen = Instant::now();
        sleep(FREEZE).await;
        let thawed = Instant::now();
        cluster.logics[0].thaw();
        cluster.chronicle.heals();
        let before = cluster.chronicle.accepted();
        eventually(Duration::from_secs(30), "messages are accepted again", || async {
            (cluster.chronicle.accepted() > before + PAIRS * 2).then_some(())
        })
        .await;
        stop.cancel();
        (frozen, thawed)
    };
    let ((frozen, thawed), _) = tokio::join!(story, futures::future::join_all(chats));

    let times = |pair: &Pair| -> Vec<Instant> {
        let of = |name| cluster.chronicle.acceptances(name);
        let mut times: Vec<Instant> =
            pair.names.iter().flat_map(|name| of(name)).map(Instant::from_std).collect();
        times.sort();
        times
    };
    let mut all: Vec<Instant> = pairs.iter().flat_map(times).collect();
    all.sort();
    let pause = longest_pause(all, frozen, thawed);
    let mut faults = Vec::new();
    if pause > PAUSE {
        faults.push(format!("no message was accepted in the cluster for {pause:?}"));
    }
    for pair in &pairs {
        let pause = longest_pause(times(pair), frozen, thawed);
        if pause > if pair.is_served { PAUSE_OF_SERVED } else { PAUSE } {
            let (served, names) = (pair.is_served, pair.names.join(" and "));
            faults.push(format!("{names} (served by logic-1: {served}) waited {pause:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    cluster.chronicle.settles(Duration::from_secs(30)).await.assert_clean();
}
