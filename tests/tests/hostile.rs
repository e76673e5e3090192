//! Clients that misbehave disturb nobody else.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use bytes::Bytes;
use imago_proto::{Opcode, command, msg::MessageReq};
use imago_tests::{RawClient, Received, Server, World, eventually};
use tokio::task::JoinSet;

struct Cluster {
    world: World,
    gateways: [Server; 2],
    _logics: [Server; 2],
}

async fn cluster(settings: &[(&str, &str)]) -> Cluster {
    let world = World::gossip().await;
    let logics = [world.logic("logic-1", &[]).await, world.logic("logic-2", &[]).await];
    let gateways =
        [world.gateway("gateway-1", settings).await, world.gateway("gateway-2", settings).await];
    for server in gateways.iter().chain(&logics) {
        server.ready().await;
    }
    Cluster { world, gateways, _logics: logics }
}

/// Two clients that chat; each message has to arrive.
struct Pair {
    alice: RawClient,
    bob: RawClient,
    messages: u32,
}

impl Pair {
    async fn of(cluster: &Cluster) -> Self {
        let [first, second] = &cluster.gateways;
        let alice = RawClient::login(first, &cluster.world.token("pair-alice")).await;
        let bob = RawClient::login(second, &cluster.world.token("pair-bob")).await;
        Self { alice, bob, messages: 0 }
    }

    async fn chats(&mut self) {
        for _ in 0..5 {
            self.messages += 1;
            self.alice.talk(self.messages, "pair-bob", "still here").await;
            let answer = self.alice.packet().await;
            assert_eq!((answer.header.sequence, answer.header.status), (self.messages, 0));
            let push = self.bob.packet().await;
            assert_eq!(push.header.command, command::CHAT_USER_TALK);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_on_the_wire_ends_its_own_connection_with_the_right_code() {
    let cluster = cluster(&[("auth.login_timeout", "1s")]).await;
    let mut pair = Pair::of(&cluster).await;
    let gateway = &cluster.gateways[0];
    let token = cluster.world.token("mallory");

    // 2^63 - 1 bytes are announced.
    let mut client = RawClient::login(gateway, &token).await;
    client.bytes(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]).await;
    assert_eq!(client.closed().await, Some(1009));
    pair.chats().await;

    // Another magic.
    let mut client = RawClient::login(gateway, &token).await;
    client.frame(Opcode::Binary, Bytes::from_static(b"\xca\xfe\xba\xbe0123456789")).await;
    assert_eq!(client.closed().await, Some(1002));

    // A text frame that holds no packet.
    let mut client = RawClient::login(gateway, &token).await;
    client.frame(Opcode::Text, Bytes::from_static(b"hello?")).await;
    assert_eq!(client.closed().await, Some(1002));

    // A frame without a mask.
    let mut client = RawClient::login(gateway, &token).await;
    client.bytes(&[0x82, 0x01, 0x00]).await;
    assert_eq!(client.closed().await, Some(1002));

    // Half a packet, then silence, before the login.
    let mut client = RawClient::connect(gateway).await;
    client.bytes(&[0x82, 0xa6, 1, 2, 3, 4, 0xc2]).await;
    assert_eq!(client.closed().await, Some(1008));
    pair.chats().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_answered_before_the_close() {
    let cluster = cluster(&[]).await;
    let gateway = &cluster.gateways[0];

    let mut client = RawClient::connect(gateway).await;
    client.send_login("not a token").await;
    let answer = client.packet().await;
    assert_eq!((answer.header.command.as_str(), answer.header.status), ("login.signin", 105));
    assert_eq!(client.closed().await, Some(1008));

    let mut client = RawClient::connect(gateway).await;
    client.talk(5, "bob", "hello before the login").await;
    let answer = client.packet().await;
    assert_eq!((answer.header.sequence, answer.header.status), (5, 103));
    assert_eq!(client.closed().await, Some(1008));

    let mut client = RawClient::login(gateway, &cluster.world.token("carol")).await;
    client.send_login(&cluster.world.token("carol")).await;
    assert_eq!(client.packet().await.header.status, 103, "a second login");
    client.request("chat.nonsense", 7, "", &()).await;
    assert_eq!(client.packet().await.header.status, 301, "an unknown command");
    client.request("nonsense", 8, "", &()).await;
    assert_eq!(client.packet().await.header.status, 301, "an unknown prefix");
    client.talk(9, "", "to nobody").await;
    assert_eq!(client.packet().await.header.status, 100);
    let long = MessageReq { r#type: 1, body: "x".repeat(5001), ..MessageReq::default() };
    client.request(command::CHAT_USER_TALK, 10, "bob", &long).await;
    assert_eq!(client.packet().await.header.status, 101);
    client.request(command::LOGIN_SIGNOUT, 11, "", &()).await;
    assert_eq!(client.packet().await.header.status, 0);
    client.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_cut_off_and_nobody_else_notices() {
    let cluster =
        cluster(&[("limits.queue_messages", "64"), ("limits.queue_bytes", "256 KiB")]).await;
    let mut pair = Pair::of(&cluster).await;
    let _deaf = RawClient::login(&cluster.gateways[0], &cluster.world.token("deaf")).await;
    let mut loud = RawClient::login(&cluster.gateways[1], &cluster.world.token("loud")).await;
    let gateway = cluster.gateways[0].monitor();
    let body = "x".repeat(4900);
    let mut sequence = 0;
    // The kernel's buffers take a few megabytes before the gateway's queue fills.
    while gateway.metric("imago_slow_readers_total").await.unwrap() == 0.0 {
        for _ in 0..100 {
            sequence += 1;
            loud.talk(sequence, "deaf", &body).await;
            assert_eq!(loud.packet().await.header.status, 0);
        }
        pair.chats().await;
        assert!(sequence < 20_000, "not cut off after {sequence} messages");
    }
    pair.chats().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bad_logins_at_once_are_all_refused_and_nobody_else_notices() {
    let cluster = cluster(&[]).await;
    let mut pair = Pair::of(&cluster).await;
    let address = cluster.gateways[0].address("ws");
    let mut attackers = JoinSet::new();
    for _ in 0..1000 {
        let mut client = RawClient::connect_to(&address).await;
        attackers.spawn(async move {
            client.send_login("eyJhbGciOiJub25lIn0.e30.").await;
            client.packet().await.header.status
        });
    }
    pair.chats().await;
    while let Some(status) = attackers.join_next().await {
        assert_eq!(status.unwrap(), 105);
    }
    pair.chats().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_logins_at_one_instant_exactly_one_survives_and_the_other_is_told() {
    let cluster = cluster(&[]).await;
    let mut pair = Pair::of(&cluster).await;
    for round in 0..10 {
        let account = format!("twin-{round}");
        let token = cluster.world.token(&account);
        let [first, second] = &cluster.gateways;
        let (mut a, mut b) = (RawClient::connect(first).await, RawClient::connect(second).await);
        tokio::join!(a.send_login(&token), b.send_login(&token));
        assert_eq!(a.packet().await.header.status, 0);
        assert_eq!(b.packet().await.header.status, 0);
        let (loser, winner) = tokio::select! {
            kicked = a.next() => (kicked, &mut b),
            kicked = b.next() => (kicked, &mut a),
        };
        let Received::Packet(imago_proto::Packet::Logic(notice)) = loser else {
            panic!("expected the notice, got {loser:?}");
        };
        assert_eq!(notice.header.command, command::LOGIN_SIGNIN);
        winner.talk(3, "pair-bob", "I am the one").await;
        assert_eq!(winner.packet().await.header.status, 0);
        assert_eq!(pair.bob.packet().await.header.command, command::CHAT_USER_TALK);
        let left = || async {
            let mut sessions = 0;
            for gateway in &cluster.gateways {
                sessions += gateway.monitor().peers().await.ok()?.own.sessions?;
            }
            // The pair, and the survivors of this and the earlier rounds that are still there.
            (sessions == 2 + 1).then_some(())
        };
        eventually(Duration::from_secs(10), "one of the two is left", left).await;
    }
    pair.chats().await;
}
