//! Servers that are stopped for longer than a link may be silent, and go on as if nothing had
//! happened: they read what they were sent, link anew, and serve.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{ops::RangeInclusive, time::Duration};

use imago_proto::{LogicPacket, command, msg::MessagePush};
use imago_tests::{RawClient, Server, World, eventually};
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than the five seconds for which a link may be silent.
const FREEZE: Duration = Duration::from_secs(7);

async fn servers(logics: &[&str]) -> (World, [Server; 2], Vec<Server>) {
    let world = World::gossip().await;
    let mut all = Vec::new();
    for id in logics {
        all.push(world.logic(id, &[]).await);
    }
    let gateways = [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
    for server in gateways.iter().chain(&all) {
        server.ready().await;
    }
    for gateway in &gateways {
        for logic in &all {
            linked(gateway, logic).await;
        }
    }
    (world, gateways, all)
}

/// Waits until a gateway gives a logic server requests.
async fn linked(gateway: &Server, logic: &Server) {
    let what = format!("{} is linked with {}", gateway.id, logic.id);
    eventually(PATIENCE, &what, || async {
        let peers = gateway.monitor().peers().await.ok()?.peers;
        let peer = peers.into_iter().find(|peer| peer.id == logic.id)?;
        (peer.linked && peer.synced && peer.state == "adult").then_some(())
    })
    .await;
}

async fn logs(server: &Server, words: &str) {
    let what = format!("{} logs {words:?}", server.id);
    eventually(PATIENCE, &what, || async { server.log().contains(words).then_some(()) }).await;
}

/// Sends messages that are their own numbers; each has to be accepted.
async fn says(from: &mut RawClient, to: &str, numbers: RangeInclusive<u32>) {
    for number in numbers {
        from.talk(number, to, &number.to_string()).await;
        let accepted = |packet: &LogicPacket| packet.header.sequence == number;
        loop {
            let packet = timeout(PATIENCE, from.packet()).await.unwrap();
            if accepted(&packet) {
                assert_eq!(packet.header.status, 0, "message {number}");
                break;
            }
        }
    }
}

/// These messages in the order in which they come for the first time, once all have.
async fn hears(client: &mut RawClient, numbers: RangeInclusive<u32>) -> Vec<u32> {
    let mut heard = Vec::new();
    while heard.len() < numbers.clone().count() {
        let packet = timeout(PATIENCE, client.packet()).await.unwrap();
        if packet.header.command != command::CHAT_USER_TALK {
            continue;
        }
        let number = MessagePush::decode(packet.body).unwrap().body.parse().unwrap();
        if numbers.contains(&number) && !heard.contains(&number) {
            heard.push(number);
        }
    }
    heard
}

/// What was pushed while the gateway stood still lies in its socket, whose other side the logic
/// server has closed. It comes before what waited for the next link, and before anything is
/// redelivered: the gateway has read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_stopped_hands_on_what_it_was_sent_and_links_anew() {
    let (world, gateways, logics) = servers(&["logic-1"]).await;
    let [frozen, other] = &gateways;
    let mut ann = RawClient::login(frozen, &world.token("ann")).await;
    let mut bob = RawClient::login(other, &world.token("bob")).await;
    says(&mut bob, "ann", 2..=21).await;
    hears(&mut ann, 2..=21).await;

    frozen.freeze();
    let until = Instant::now() + FREEZE;
    says(&mut bob, "ann", 22..=41).await;
    logs(&logics[0], "peer silent").await;
    says(&mut bob, "ann", 42..=61).await;
    sleep_until(until).await;
    frozen.thaw();

    assert_eq!(hears(&mut ann, 22..=61).await, Vec::from_iter(22..=61));
    linked(frozen, &logics[0]).await;
    frozen.ready().await;
    says(&mut bob, "ann", 62..=70).await;
    hears(&mut ann, 62..=70).await;
    says(&mut ann, "bob", 2..=5).await;
    let log = frozen.log();
    assert!(log.contains("this process stood still"), "{log}");
    assert!(!log.contains("peer silent"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logic_server_that_was_stopped_links_anew_and_serves() {
    let (world, gateways, logics) = servers(&["logic-1", "logic-2"]).await;
    let mut ann = RawClient::login(&gateways[0], &world.token("ann")).await;
    let mut bob = RawClient::login(&gateways[1], &world.token("bob")).await;
    says(&mut bob, "ann", 2..=11).await;
    hears(&mut ann, 2..=11).await;

    let [frozen, other] = &logics[..] else { panic!("two logic servers") };
    frozen.freeze();
    let until = Instant::now() + FREEZE;
    for gateway in &gateways {
        logs(gateway, "peer silent").await;
    }
    says(&mut bob, "ann", 12..=21).await;
    hears(&mut ann, 12..=21).await;
    sleep_until(until).await;
    frozen.thaw();
    for gateway in &gateways {
        linked(gateway, frozen).await;
    }
    frozen.ready().await;
    let log = frozen.log();
    assert!(log.contains("this process stood still") && !log.contains("peer silent"), "{log}");

    // All requests go to the one that stood still.
    other.terminate();
    logs(other, "leaving").await;
    says(&mut bob, "ann", 22..=31).await;
    hears(&mut ann, 22..=31).await;
}

/// The links of both are whole when they go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_woken_gateway_is_ready_only_when_a_logic_server_has_answered() {
    let (world, gateways, logics) = servers(&["logic-1"]).await;
    let ([frozen, other], logic) = (&gateways, &logics[0]);
    let mut ann = RawClient::login(frozen, &world.token("ann")).await;
    logic.freeze();
    frozen.freeze();
    tokio::time::sleep(FREEZE).await;
    frozen.thaw();
    // Asked before any server can have answered: the process may serve this before its own timers.
    let (status, why) = frozen.monitor().ready().await.unwrap();
    assert!(status == 503 && why.contains("stood still"), "{status}: {why}");
    logic.thaw();
    frozen.ready().await;
    let mut bob = RawClient::login(other, &world.token("bob")).await;
    says(&mut bob, "ann", 2..=5).await;
    hears(&mut ann, 2..=5).await;
}
