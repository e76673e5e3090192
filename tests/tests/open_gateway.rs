//! Gateways with parts of their own, each a program of the crate `imago-examples`, in a real cluster.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{path::Path, time::Duration};

use imago_tests::{RawClient, Received, Server, World, eventually, program};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, UnixStream},
    time::timeout,
};

/// Path of an example.
fn example(name: &str) -> String {
    program(name).display().to_string()
}

/// Refusal and close code of a login.
async fn refused(client: &mut RawClient, token: &str) -> (u32, Received) {
    client.send_login(token).await;
    (client.packet().await.header.status, client.next().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_authenticator_knows_passwords_and_apps() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway_by(&example("custom_authenticator"), "gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let login = async |path: &str, token: &str| {
        let mut client = RawClient::connect_at(&gateway.address("ws"), path).await;
        client.send_login(token).await;
        assert_eq!(client.packet().await.header.status, 0);
        client
    };
    let mut alice = login("/workshop", "alice:wonderland").await;
    let mut bob = login("/workshop/?any=thing", "bob:builder").await;
    let mut elsewhere = login("/", "bob:builder").await;
    alice.talk(2, "bob", "hello").await;
    assert_eq!(alice.packet().await.header.status, 0);
    assert_eq!(bob.packet().await.header.command, "chat.user.talk");
    // The same account of another app gets nothing.
    assert!(timeout(Duration::from_millis(500), elsewhere.next()).await.is_err());

    let mut mallory = RawClient::connect(&gateway).await;
    let wrong = refused(&mut mallory, "alice:guess").await;
    assert_eq!(wrong, (105, Received::Close(Some(1008))));
    let mut lost = RawClient::connect_at(&gateway.address("ws"), "/kitchen").await;
    assert_eq!(refused(&mut lost, "alice:wonderland").await.0, 105);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_authenticator_has_clients_try_again_later() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway_by(&example("custom_authenticator"), "gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let mut early = RawClient::connect(&gateway).await;
    let later = refused(&mut early, "closed:until tomorrow").await;
    assert_eq!(later, (300, Received::Close(Some(1013))));
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

/// A gateway that listens on this socket too.
async fn unix_gateway(world: &World, socket: &Path) -> Server {
    let socket = socket.display().to_string();
    let environment = [("SOCKET", &*socket)];
    world.gateway_told(&example("unix_socket"), "gateway-1", &[], &environment).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_a_unix_socket_talk_with_those_on_tcp() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let socket = world.folder().join("clients.sock");
    let mut gateway = unix_gateway(&world, &socket).await;
    assert_eq!(gateway.address("unix"), socket.display().to_string());
    logic.ready().await;
    gateway.ready().await;
    let mut bob = RawClient::login(&gateway, &world.token("bob")).await;
    let stream = UnixStream::connect(&socket).await.unwrap();
    let mut alice = RawClient::upgrade(stream, "/").await;
    alice.send_login(&world.token("alice")).await;
    assert_eq!(alice.packet().await.header.status, 0);
    alice.talk(2, "bob", "over a Unix socket").await;
    assert_eq!(alice.packet().await.header.status, 0);
    assert_eq!(bob.packet().await.header.command, "chat.user.talk");
    bob.talk(3, "alice", "and back").await;
    assert_eq!(alice.packet().await.header.command, "chat.user.talk");

    // It leaves as any other, with the clients of each transport.
    gateway.terminate();
    assert_eq!(alice.next().await, Received::Close(Some(1001)));
    assert_eq!(gateway.ended().await, Some(0));
    assert!(!socket.exists(), "the socket is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_in_another_program_has_the_parts_that_it_was_given() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let environment = [("DENY", "127.0.0.2"), ("REQUESTS", "2")];
    let gateway =
        world.gateway_told(&example("embed_gateway"), "gateway-1", &[], &environment).await;
    logic.ready().await;
    gateway.ready().await;
    let at = gateway.address("ws").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut denied = socket.connect(at).await.unwrap();
    let ended = timeout(Duration::from_secs(10), denied.read_to_end(&mut Vec::new())).await;
    assert_eq!(ended.unwrap().unwrap_or_default(), 0, "it is closed without a word");

    let mut alice = RawClient::login(&gateway, &world.token("alice")).await;
    for (sequence, status) in [(2, 0), (3, 0), (4, 300)] {
        alice.talk(sequence, "bob", "hello").await;
        assert_eq!(alice.packet().await.header.status, status, "request {sequence}");
    }
}
