//! A gateway's whole machine vanishes without a word, and is back.

use std::time::Duration;

use futures::FutureExt;
use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use crate::{
    cluster::Cluster,
    rounds::{self, Fault},
};

/// Seconds that it is away for.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=8;

const GATEWAY: Fault = Fault {
    name: "isolate a gateway",
    cluster: |_| Cluster::with_a_machine().boxed(),
    strike: |cluster, rng| isolate(cluster, rng).boxed(),
};

async fn isolate(cluster: &mut Cluster, rng: &mut StdRng) -> String {
    let seconds = rng.random_range(SECONDS);
    cluster.isolate();
    sleep(Duration::from_secs(seconds)).await;
    cluster.heal();
    format!("gateway-1 isolated for {seconds} s")
}

#[tokio::test(flavor = "multi_thread")]
async fn round_with_an_isolated_gateway() {
    rounds::run(&GATEWAY, &[1]).await;
}
