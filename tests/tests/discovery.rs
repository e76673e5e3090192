//! Real servers, and what stands in the registry beside them.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::{Duration, Instant};

use imago_tests::{ConsulAgent, Server, World, eventually};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

const PATIENCE: Duration = Duration::from_secs(30);

async fn register(agent: &ConsulAgent, id: &str, name: &str, fields: Value) {
    let mut body = json!({ "ID": id, "Name": name, "Address": "127.0.0.1", "Port": 9 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    agent.put("/v1/agent/service/register", body.to_string()).await;
}

fn lines(server: &Server, words: &str) -> usize {
    server.log().lines().filter(|line| line.contains(words)).count()
}

/// Waits until a server's log has this.
async fn says(server: &Server, words: &str) {
    let what = format!("{} says {words:?}", server.id);
    eventually(PATIENCE, &what, || async { (lines(server, words) > 0).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_no_servers_of_ours_stop_no_start() {
    let mut world = World::consul().await;
    for name in ["chat", "gateway"] {
        let agent = world.agent();
        register(agent, &format!("typo-{name}"), name, json!({ "Port": 70_000 })).await;
        register(agent, &format!("foreign-{name}"), name, json!({})).await;
        let meta = json!({ "Meta": { "protocol": "imago-link", "incarnation": "nonsense" } });
        register(agent, &format!("nonsense-{name}"), name, meta).await;
    }
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    for (server, peers) in [(&logic, "gateway"), (&gateway, "chat")] {
        for id in ["typo", "foreign", "nonsense"] {
            says(server, &format!("{id}-{peers}")).await;
        }
        let monitor = server.monitor();
        assert!(monitor.metric("imago_naming_entries_skipped_total").await.unwrap() > 0.0);
        assert!(monitor.metric("imago_registry_foreign_entries_total").await.unwrap() > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_flaps_floods_no_log() {
    let mut world = World::consul().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let agent = world.agent();
    let before = [&logic, &gateway].map(|server| server.log().lines().count());
    let until = Instant::now() + Duration::from_secs(5);
    let mut round = 0;
    while Instant::now() < until {
        for name in ["chat", "gateway"] {
            register(agent, "flaps", name, json!({ "Meta": { "round": round.to_string() } })).await;
        }
        register(agent, "typo", "chat", json!({ "Port": 70_000 + round })).await;
        round += 1;
    }
    for (server, before) in [&logic, &gateway].into_iter().zip(before) {
        let lines = server.log().lines().count() - before;
        assert!(lines < 20, "{round} rounds made {lines} lines in the log of {}", server.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_that_are_no_gossip_flood_no_log() {
    let world = World::gossip().await;
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let seed = world.naming().split_once("?").unwrap().1.to_owned();
    let naming = format!("gossip://127.0.0.1:{port}?{seed}");
    let logic = world.logic("logic-1", &[("naming.url", &naming)]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    gateway.ready().await;
    let before = logic.log().lines().count();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..500 {
        stranger.send_to(b"no gossip", ("127.0.0.1", port)).await.unwrap();
    }
    says(&logic, "invalid-chitchat-payload").await;
    let monitor = logic.monitor();
    eventually(PATIENCE, "they are counted", || async {
        let counted = monitor.metric("imago_log_lines_left_out_total").await.ok()?;
        (counted > 100.0).then_some(())
    })
    .await;
    let lines = logic.log().lines().count() - before;
    assert!(lines < 10, "{lines} lines");
    logic.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_maintenance_keeps_its_sessions_and_gets_no_new_ones() {
    let mut world = World::consul().await;
    let logics = [world.logic("logic-1", &[]).await, world.logic("logic-2", &[]).await];
    let gateway = world.gateway("gateway-1", &[]).await;
    for server in logics.iter().chain([&gateway]) {
        server.ready().await;
    }
    let monitor = gateway.monitor();
    let health = async |server: &str, expected: &str| {
        let what = format!("{server} is {expected}");
        eventually(PATIENCE, &what, || async {
            let peers = monitor.peers().await.ok()?.peers;
            peers.iter().any(|it| it.id == server && it.health == expected).then_some(())
        })
        .await;
    };
    let requests = async |server: &Server| {
        server.monitor().metric("imago_handler_seconds_count").await.unwrap()
    };

    let path = "/v1/agent/service/maintenance/logic-2";
    world.agent().put(&format!("{path}?enable=true&reason=a+new+disk"), "").await;
    health("logic-2", "maintenance").await;
    says(&gateway, "maintenance begins").await;
    let before = requests(&logics[1]).await;
    for number in 0..20 {
        let client = world.client(&format!("alice-{number}"), &[&gateway]).await;
        client.talk("bob", "hello").await.unwrap();
    }
    assert_eq!(requests(&logics[1]).await, before, "it was given requests of new sessions");
    // It is alive and linked: it stays Adult, and so does the gateway.
    assert_eq!(logics[1].monitor().ready().await.unwrap().0, 200);
    assert_eq!(monitor.ready().await.unwrap().0, 200);

    world.agent().put(&format!("{path}?enable=false"), "").await;
    health("logic-2", "passing").await;
    says(&gateway, "maintenance ends").await;
    eventually(PATIENCE, "it gets requests again", || async {
        let name = format!("carol-{}", rand::random::<u32>());
        world.client(&name, &[&gateway]).await.talk("bob", "hello").await.ok()?;
        (requests(&logics[1]).await > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_in_maintenance_is_not_ready() {
    let mut world = World::consul().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let client = world.client("alice", &[&gateway]).await;
    let path = "/v1/agent/service/maintenance/gateway-1";
    world.agent().put(&format!("{path}?enable=true&reason=a+new+disk"), "").await;
    let monitor = gateway.monitor();
    let said = eventually(PATIENCE, "it is not ready", || async {
        let (status, text) = monitor.ready().await.ok()?;
        (status == 503).then_some(text)
    })
    .await;
    assert!(said.contains("maintenance"), "{said}");
    says(&gateway, "maintenance begins").await;
    // The client that it has is served on.
    client.talk("bob", "hello").await.unwrap();
    world.agent().put(&format!("{path}?enable=false"), "").await;
    gateway.ready().await;
    says(&gateway, "maintenance ends").await;
}
