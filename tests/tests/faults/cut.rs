//! A link, or the way to the database, swallows what is sent, holds it back, or is slow.

use std::time::Duration;

use futures::FutureExt;
use imago_tests::{Pass, Way};
use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, Store},
    rounds::{self, Fault},
};

/// Seconds that something is cut for.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=8;
/// Milliseconds that bytes are late.
const DELAYS: std::ops::RangeInclusive<u64> = 50..=6000;

const BOTH_WAYS: Fault = Fault {
    name: "cut a link both ways",
    cluster: |_| Cluster::start(Store::Sqlite).boxed(),
    strike: |cluster, rng| link(cluster, rng, &[Way::Forth, Way::Back]).boxed(),
};

const ONE_WAY: Fault = Fault {
    name: "cut a link one way",
    cluster: |_| Cluster::start(Store::Sqlite).boxed(),
    strike: |cluster, rng| {
        let way = if rng.random() { Way::Forth } else { Way::Back };
        async move { link(cluster, rng, &[way]).await }.boxed()
    },
};

const SLOW: Fault = Fault {
    name: "delay a link",
    cluster: |_| Cluster::start(Store::Sqlite).boxed(),
    strike: |cluster, rng| slow(cluster, rng).boxed(),
};

const DATABASE: Fault = Fault {
    name: "cut a server off PostgreSQL",
    cluster: |_| Cluster::start(Store::Postgres).boxed(),
    strike: |cluster, rng| database(cluster, rng).boxed(),
};

/// What is cut is lost, or held back until it heals.
fn cut(rng: &mut StdRng) -> (Pass, Duration) {
    let pass = if rng.random() { Pass::Drop } else { Pass::Hold };
    (pass, Duration::from_secs(rng.random_range(SECONDS)))
}

/// One gateway's link with one logic server.
async fn link(cluster: &mut Cluster, rng: &mut StdRng, ways: &[Way]) -> String {
    let (gateway, logic) = (rng.random_range(0..2), rng.random_range(0..2));
    let (pass, time) = cut(rng);
    let (from, to) = (&cluster.gateways[gateway].id, &cluster.logics[logic].id);
    for way in ways {
        cluster.links[logic].set_for(from, *way, pass);
    }
    sleep(time).await;
    cluster.heal();
    format!("{from} to {to} {ways:?}: {pass:?} for {time:?}")
}

/// All links of one logic server.
async fn slow(cluster: &mut Cluster, rng: &mut StdRng) -> String {
    let logic = rng.random_range(0..2);
    let pass = Pass::Delay(Duration::from_millis(rng.random_range(DELAYS)));
    let time = Duration::from_secs(rng.random_range(SECONDS));
    cluster.links[logic].set_both(pass);
    sleep(time).await;
    cluster.heal();
    format!("links of {}: {pass:?} for {time:?}", cluster.logics[logic].id)
}

async fn database(cluster: &mut Cluster, rng: &mut StdRng) -> String {
    let logic = rng.random_range(0..2);
    let (pass, time) = cut(rng);
    cluster.queries[logic].set_both(pass);
    sleep(time).await;
    cluster.heal();
    format!("{} to PostgreSQL: {pass:?} for {time:?}", cluster.logics[logic].id)
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_link_cut_both_ways() {
    rounds::run(&BOTH_WAYS, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_link_cut_one_way() {
    rounds::run(&ONE_WAY, &[1, 6]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_slow_links() {
    rounds::run(&SLOW, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_server_cut_off_the_database() {
    rounds::run(&DATABASE, &[1]).await;
}
