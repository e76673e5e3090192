//! The examples do what they say.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use imago_proto::msg::{MessagePush, MessageReq};
use imago_tests::{RawClient, World, program};
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
