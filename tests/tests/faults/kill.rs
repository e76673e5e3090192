//! A process is killed; the database is started again.

use std::time::Duration;

use futures::FutureExt;
use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, Store},
    rounds::{self, Fault},
};

/// Seconds that the database is away for.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=12;

const GATEWAY: Fault = Fault {
    name: "kill a gateway",
    cluster: |_| Cluster::start(Store::Sqlite).boxed(),
    strike: |cluster, rng| {
        let server = rng.random_range(0..2);
        async move {
            cluster.gateways[server].kill9().await;
            format!("gateway-{} killed", server + 1)
        }
        .boxed()
    },
};

const LOGIC: Fault = Fault {
    name: "kill a logic server",
    cluster: |rng| {
        let store = if rng.random() { Store::Sqlite } else { Store::Postgres };
        Cluster::start(store).boxed()
    },
    strike: |cluster, rng| {
        let server = rng.random_range(0..2);
        async move {
            cluster.logics[server].kill9().await;
            format!("logic-{} killed", server + 1)
        }
        .boxed()
    },
};

const DATABASE: Fault = Fault {
    name: "kill PostgreSQL",
    cluster: |_| Cluster::start(Store::Postgres).boxed(),
    strike: |cluster, rng| database(cluster, rng).boxed(),
};

async fn database(cluster: &mut Cluster, rng: &mut StdRng) -> String {
    let seconds = rng.random_range(SECONDS);
    let postgres = cluster.postgres.as_mut().unwrap();
    postgres.kill9().await;
    sleep(Duration::from_secs(seconds)).await;
    postgres.start_again().await;
    format!("PostgreSQL killed, away for {seconds} s")
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_killed_gateway() {
    rounds::run(&GATEWAY, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_killed_logic_server() {
    rounds::run(&LOGIC, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_a_killed_database() {
    rounds::run(&DATABASE, &[1]).await;
}
