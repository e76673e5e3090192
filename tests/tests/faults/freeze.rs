//! A process is stopped in the middle of whatever it does, and goes on.

use std::time::Duration;

use futures::FutureExt;
use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, Store},
    rounds::{self, Fault},
};

/// Seconds that a process is frozen for.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=8;

const GATEWAY: Fault = Fault {
    name: "freeze a gateway",
    cluster: |_| Cluster::start(Store::Sqlite).boxed(),
    strike: |cluster, rng| gateway(cluster, rng).boxed(),
};

const LOGIC: Fault = Fault {
    name: "freeze a logic server",
    cluster: |_| Cluster::start(Store::Postgres).boxed(),
    strike: |cluster, rng| logic(cluster, rng).boxed(),
};

async fn gateway(cluster: &mut Cluster, rng: &mut StdRng) -> String {
    let (server, seconds) = (rng.random_range(0..2), rng.random_range(SECONDS));
    freeze(&cluster.gateways[server], seconds).await
}

async fn logic(cluster: &mut Cluster, rng: &mut StdRng) -> String {
    let (server, seconds) = (rng.random_range(0..2), rng.random_range(SECONDS));
    freeze(&cluster.logics[server], seconds).await
}

async fn freeze(server: &imago_tests::Server, seconds: u64) -> String {
    server.freeze();
    sleep(Duration::from_secs(seconds)).await;
    server.thaw();
    format!("{} frozen for {seconds} s", server.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_frozen_gateway() {
    rounds::run(&GATEWAY, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_frozen_logic_server() {
    rounds::run(&LOGIC, &[1]).await;
}
