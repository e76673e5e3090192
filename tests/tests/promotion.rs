//! How servers grow up, with real processes and a real Consul.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::{Duration, Instant};

use imago_tests::{LinkProxy, Server, Traffic, World, eventually};

/// A logic server that gateways reach through a proxy.
async fn behind(world: &World, proxy: &LinkProxy, id: &str) -> Server {
    let server = world.logic(id, &[("service.port", &proxy.port())]).await;
    proxy.lead_to(server.address("link"));
    server
}

async fn state(server: &Server) -> String {
    server.monitor().peers().await.unwrap().own.state
}

/// Requests that gateways gave to logic servers, as those count them.
async fn handled(server: &Server) -> f64 {
    server.monitor().metric("imago_handler_seconds_count").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_young_server_gets_no_message_until_every_gateway_is_linked() {
    let world = World::consul().await;
    let first = world.logic("logic-1", &[]).await;
    let gateways = [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
    for server in [&first, &gateways[0], &gateways[1]] {
        server.ready().await;
    }
    let proxy = LinkProxy::start().await;
    proxy.block("gateway-2");
    let second = behind(&world, &proxy, "logic-2").await;
    eventually(Duration::from_secs(20), "logic-2 waits for gateway-2 alone", || async {
        let own = second.monitor().peers().await.ok()?.own;
        let waited: Vec<_> = own.waiting_for.iter().map(|waiting| waiting.id.as_str()).collect();
        (waited == ["gateway-2"]).then_some(())
    })
    .await;
    let (status, reasons) = second.monitor().ready().await.unwrap();
    assert_eq!(status, 503);
    assert!(reasons.contains("gateway-2"), "{reasons}");

    let mut traffic = Traffic::connect(&world, &[&gateways[0], &gateways[1]], 20).await;
    // Enough to go on for long after the path is unblocked.
    traffic.send(200);
    traffic.accepted(300).await;
    assert_eq!(state(&second).await, "young");
    assert_eq!(handled(&second).await, 0.0, "a young server got a request");

    let unblocked = Instant::now();
    proxy.unblock("gateway-2");
    second.ready().await;
    println!("adult {:?} after the path was unblocked", unblocked.elapsed());
    eventually(Duration::from_secs(20), "logic-2 gets its share", || async {
        (handled(&second).await > 0.0).then_some(())
    })
    .await;
    let history = traffic.finish().await;
    history.assert_clean();
    assert_eq!(history.accepted(), 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_grows_up_as_soon_as_three_gateways_are_linked() {
    let world = World::consul().await;
    let first = world.logic("logic-1", &[]).await;
    let mut gateways = Vec::new();
    for number in 1..=3 {
        gateways.push(world.gateway(&format!("gateway-{number}"), &[]).await);
    }
    first.ready().await;
    for gateway in &gateways {
        gateway.ready().await;
    }
    let started = Instant::now();
    let second = world.logic("logic-2", &[]).await;
    second.ready().await;
    println!("from start to adult with 3 gateways: {:?}", started.elapsed());
    let peers = second.monitor().peers().await.unwrap().peers;
    assert_eq!(peers.iter().filter(|peer| peer.linked && peer.synced).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lets_a_server_grow_up_without_a_gateway_which_fences_itself() {
    let world = World::consul().await;
    let first = world.logic("logic-1", &[]).await;
    let gateways = [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
    for server in [&first, &gateways[0], &gateways[1]] {
        server.ready().await;
    }
    let proxy = LinkProxy::start().await;
    proxy.block("gateway-2");
    let second = behind(&world, &proxy, "logic-2").await;
    let exclude = "/admin/promotion/exclude/gateway-2";
    eventually(Duration::from_secs(20), "the exclusion is taken", || async {
        (second.monitor().post(exclude).await.ok()? == 202).then_some(())
    })
    .await;
    second.ready().await;
    eventually(Duration::from_secs(20), "gateway-2 fences itself", || async {
        (state(&gateways[1]).await == "fenced").then_some(())
    })
    .await;
    // Its clients go to the other gateway.
    let client = world.client("alice", &[&gateways[0], &gateways[1]]).await;
    assert!(
        client.session().gateway.contains(&gateways[0].address("ws")),
        "{:?}",
        client.session()
    );

    proxy.unblock("gateway-2");
    gateways[1].ready().await;
    assert_eq!(state(&gateways[1]).await, "adult");
    let excluded = second.monitor().peers().await.unwrap().own.excluded;
    assert!(excluded.is_empty(), "{excluded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_is_dialled_again_and_what_was_pushed_meanwhile_arrives() {
    let world = World::gossip().await;
    let proxy = LinkProxy::start().await;
    let logic = behind(&world, &proxy, "logic-1").await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let mut traffic = Traffic::connect(&world, &[&gateway], 6).await;
    traffic.send(60);
    for accepted in [60, 140, 220] {
        traffic.accepted(accepted).await;
        proxy.cut();
    }
    let history = traffic.finish().await;
    history.assert_clean();
    assert_eq!(history.accepted(), 360);
}
