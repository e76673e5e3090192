//! The Rust client calls a command that an application has added, and receives its pushes.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{future::IntoFuture, process::Stdio, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use imago_client::{Client, Error, FromBody};
use imago_proto::msg::{MessagePush, MessageReq, MessageResp};
use imago_tests::{Server, World, program};
use prost::Message;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Path of an example that `cargo build --workspace --all-targets` made.
fn example(name: &str) -> String {
    program("examples").join(name).display().to_string()
}

/// A cluster whose logic server knows `my.shout`.
async fn cluster(world: &World) -> (Server, Server) {
    let logic = world.logic_by(&example("custom_handler"), "logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    (logic, gateway)
}

async fn client(world: &World, gateway: &Server, account: &str) -> Client {
    let builder = Client::builder([gateway.ws()]).token(world.token(account));
    builder.connect().await.unwrap()
}

fn shout(body: &str) -> MessageReq {
    MessageReq { body: body.into(), ..MessageReq::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_the_applications_is_called_and_its_push_received() {
    let world = World::gossip().await;
    let (_logic, gateway) = cluster(&world).await;
    let (alice, bob) =
        (client(&world, &gateway, "alice").await, client(&world, &gateway, "bob").await);
    let (mut pushes, mut others) = (bob.pushes(), bob.pushes());

    let answer: MessageResp = alice.request("my.shout", "bob", &shout("wake up")).await.unwrap();
    assert_eq!(answer, MessageResp::default());
    for stream in [&mut pushes, &mut others] {
        let push = timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
        assert_eq!((&*push.command, &*push.dest), ("my.shout", "bob"));
        let heard: MessagePush = push.decode().unwrap();
        assert_eq!((&*heard.sender, &*heard.body), ("alice", "WAKE UP"));
    }

    let bytes = shout("as bytes").encode_to_vec();
    let answer = alice.request_bytes("my.shout", "bob", bytes).idempotent().await.unwrap();
    assert_eq!(answer.body, Bytes::new());
    let push = timeout(PATIENCE, pushes.next()).await.unwrap().unwrap();
    assert_eq!(push.decode::<MessagePush>().unwrap().body, "AS BYTES");

    // Messages are delivered beside it, and a push is no message.
    alice.talk("bob", "hello").await.unwrap();
    let message = timeout(PATIENCE, bob.messages().next()).await.unwrap().unwrap();
    assert_eq!(message.body, "hello");
    assert_eq!(pushes.missed(), 0);
    drop(bob);
    assert_eq!(timeout(PATIENCE, pushes.next()).await.unwrap(), None);
}

/// An answer that is never readable.
#[derive(Debug)]
struct Unreadable;

impl FromBody for Unreadable {
    fn from_body(_body: Bytes) -> Option<Self> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_unreadable_answers_are_typed_errors() {
    let world = World::gossip().await;
    let (_logic, gateway) = cluster(&world).await;
    let alice = client(&world, &gateway, "alice").await;
    let refused = alice.request::<MessageResp>("my.shout", "bob", &shout("")).await.unwrap_err();
    let message = "body: expected something to shout".to_owned();
    assert_eq!(refused, Error::Rejected { status: 101, message });
    let unknown = alice.request_bytes("my.whisper", "bob", Bytes::new()).await.unwrap_err();
    assert!(matches!(unknown, Error::Rejected { status: 301, .. }), "{unknown:?}");
    let own = alice.request_bytes("chat.sync", "", Bytes::new()).await.unwrap_err();
    assert!(matches!(own, Error::Unsendable { .. }), "{own:?}");
    let answer = alice.request::<Unreadable>("my.shout", "bob", &shout("hello")).await.unwrap_err();
    assert_eq!(answer, Error::Answer { command: "my.shout".into() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_sent_in_time_was_not_carried_out() {
    let world = World::gossip().await;
    let (_logic, mut gateway) = cluster(&world).await;
    let alice = client(&world, &gateway, "alice").await;
    gateway.kill9().await;
    let mut state = alice.state();
    let is_away = |state: &imago_client::State| *state != imago_client::State::Online;
    timeout(PATIENCE, state.wait_for(is_away)).await.unwrap().unwrap();
    let waited = Duration::from_millis(100);
    let request =
        || alice.request::<MessageResp>("my.shout", "bob", &shout("hello")).within(waited);
    assert_eq!(request().await, Err(Error::NotSent(waited)));
    assert_eq!(request().idempotent().await, Err(Error::Timeout(waited)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_connection_is_lost_before_the_answer_has_an_unknown_outcome() {
    let world = World::gossip().await;
    let (logic, mut gateway) = cluster(&world).await;
    let alice = client(&world, &gateway, "alice").await;
    logic.freeze();
    let request = alice.request::<MessageResp>("my.shout", "bob", &shout("hello"));
    let answer = tokio::spawn(request.within(PATIENCE).into_future());
    // What is sent later shows that the request was sent.
    let later =
        alice.request_bytes("my.shout", "bob", Bytes::new()).within(Duration::from_millis(300));
    assert!(matches!(later.await, Err(Error::OutcomeUnknown { .. })));
    gateway.kill9().await;
    let lost = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap_err();
    let Error::OutcomeUnknown { command, why } = &lost else { panic!("{lost:?}") };
    assert!(command == "my.shout" && why.contains("the connection was lost"), "{lost}");
    assert!(!lost.is_retryable());
    logic.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_program_shouts_and_hears() {
    let world = World::gossip().await;
    let (_logic, gateway) = cluster(&world).await;
    let token = world.token("alice");
    let mut program = Command::new(example("shout"))
        .args([&gateway.ws(), &token, "alice", "is anyone here?"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap());
    }
    assert_eq!(heard, ["shouted at alice", "alice shouts IS ANYONE HERE?"]);
}
