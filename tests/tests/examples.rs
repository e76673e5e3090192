//! The examples do what they say.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use imago_proto::msg::{MessagePush, MessageReq};
use imago_tests::{RawClient, World, eventually, program};
use prost::Message;

/// Path of an example that `cargo build --workspace --all-targets` made.
fn example(name: &str) -> String {
    program("examples").join(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_handler_answers_its_command_and_pushes() {
    let world = World::gossip().await;
    let logic = world.logic_by(&example("custom_handler"), "logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let mut alice = RawClient::login(&gateway, &world.token("alice")).await;
    let mut bob = RawClient::login(&gateway, &world.token("bob")).await;
    let shout = |body: &str| MessageReq { r#type: 1, body: body.into(), ..MessageReq::default() };
    alice.request("my.shout", 2, "bob", &shout("wake up")).await;
    assert_eq!(alice.packet().await.header.status, 0);
    let push = bob.packet().await;
    let heard = MessagePush::decode(push.body).unwrap();
    assert_eq!((heard.sender.as_str(), heard.body.as_str()), ("alice", "WAKE UP"));
    alice.request("my.shout", 3, "bob", &shout("")).await;
    assert_eq!(alice.packet().await.header.status, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_authenticator_knows_passwords() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway_by(&example("custom_authenticator"), "gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let mut alice = RawClient::login(&gateway, "alice:wonderland").await;
    alice.talk(2, "bob", "hello").await;
    assert_eq!(alice.packet().await.header.status, 0);
    let mut mallory = RawClient::connect(&gateway).await;
    mallory.send_login("alice:guess").await;
    assert_eq!(mallory.packet().await.header.status, 105);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_selector_keeps_an_app_on_one_server() {
    let world = World::gossip().await;
    let logics = [world.logic("logic-1", &[]).await, world.logic("logic-2", &[]).await];
    let gateway = world.gateway_by(&example("custom_selector"), "gateway-1", &[]).await;
    for server in logics.iter().chain([&gateway]) {
        server.ready().await;
    }
    eventually(Duration::from_secs(20), "the gateway knows both", || async {
        let peers = gateway.monitor().peers().await.ok()?.peers;
        (peers.iter().filter(|peer| peer.synced && peer.state == "adult").count() == 2)
            .then_some(())
    })
    .await;
    for account in ["alice", "bob", "mallory", "zoe"] {
        let mut client = RawClient::login(&gateway, &world.token(account)).await;
        client.talk(2, "nobody", "hello").await;
        assert_eq!(client.packet().await.header.status, 0);
    }
    let mut handled = Vec::new();
    for logic in &logics {
        let count = logic.monitor().metric("imago_handler_seconds_count").await.unwrap();
        handled.push(count as u64);
    }
    handled.sort_unstable();
    assert_eq!(handled, [0, 8], "an app stays with one server");
}
