//! Servers and the registry are killed, or leave, in the middle of 2,000 messages between 20
//! clients on two gateways: nothing accepted is missing, doubled, reordered, or unanswered.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use imago_tests::{Server, Traffic, World};

const CLIENTS: usize = 20;
const EACH: u64 = 100;
/// Messages accepted before something happens.
const BEFORE: usize = 500;

struct Cluster {
    world: World,
    gateways: [Server; 2],
    logics: [Server; 2],
    traffic: Traffic,
}

impl Cluster {
    /// A cluster on Consul with its clients in the middle of talking.
    async fn in_full_swing() -> Self {
        let world = World::consul().await;
        let logics = [world.logic("logic-1", &[]).await, world.logic("logic-2", &[]).await];
        let gateways =
            [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
        for server in gateways.iter().chain(&logics) {
            server.ready().await;
        }
        let both = [&gateways[0], &gateways[1]];
        let mut traffic = Traffic::connect(&world, &both, CLIENTS).await;
        traffic.send(EACH);
        traffic.accepted(BEFORE).await;
        Self { world, gateways, logics, traffic }
    }

    /// Everything was accepted in the end, and the promises were kept; gives the gateways.
    async fn finish(self) -> [Server; 2] {
        let history = self.traffic.finish().await;
        history.assert_clean();
        assert_eq!(history.failures(), [""; 0], "the client retries until it is accepted");
        assert_eq!(history.accepted(), CLIENTS * EACH as usize);
        self.gateways
    }
}

/// Requests that a gateway answered with an error.
async fn refused(server: &Server) -> f64 {
    server.monitor().metric("imago_requests_refused_total").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_logic_server_loses_nothing() {
    let mut cluster = Cluster::in_full_swing().await;
    cluster.logics[0].kill9().await;
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_loses_nothing() {
    let mut cluster = Cluster::in_full_swing().await;
    cluster.gateways[0].kill9().await;
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_registry_changes_nothing_and_learns_everybody_again() {
    let mut cluster = Cluster::in_full_swing().await;
    cluster.world.agent().kill9().await;
    cluster.traffic.accepted(BEFORE * 2).await;
    cluster.world.agent().restart().await;
    // The agent has forgotten everybody: a newcomer is served all the same once they are back.
    let newcomer = cluster.world.logic("logic-3", &[]).await;
    newcomer.ready().await;
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_registry_changes_nothing_and_nobody_sees_an_error() {
    let mut cluster = Cluster::in_full_swing().await;
    cluster.world.agent().stop().await;
    cluster.traffic.accepted(BEFORE * 2).await;
    cluster.world.agent().restart().await;
    for gateway in &cluster.finish().await {
        assert_eq!(refused(gateway).await, 0.0, "{} refused requests", gateway.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_logic_server_loses_nothing_and_nobody_sees_an_error() {
    let mut cluster = Cluster::in_full_swing().await;
    assert_eq!(cluster.logics[0].stop().await, Some(0));
    for gateway in &cluster.finish().await {
        assert_eq!(refused(gateway).await, 0.0, "{} refused requests", gateway.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_gateway_loses_nothing_and_nobody_sees_an_error() {
    let mut cluster = Cluster::in_full_swing().await;
    assert_eq!(cluster.gateways[0].stop().await, Some(0));
    let [_, gateway] = cluster.finish().await;
    assert_eq!(refused(&gateway).await, 0.0);
}
