//! How many may come in, and who may not.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{task::JoinSet, time::sleep};

use super::support::{Client, FAST, LOGIN, Received, World, eventually, login_body, token};
use crate::{Acceptor, Address};

#[tokio::test]
async fn a_thousand_bad_logins_at_once_do_not_disturb_others() {
    let world = World::start(FAST).await;
    let mut chatting = world.client("alice").await;
    let mut bad = JoinSet::new();
    for number in 0..1000 {
        let at = world.tcp;
        bad.spawn(async move {
            let mut client = Client::tcp(at).await;
            client.request(LOGIN, login_body(&format!("bad token {number}"))).await;
            assert_eq!(client.recv_logic().await.header.status, 105);
            client.expect_close(1008).await;
        });
    }
    let mut refused = 0;
    while refused < 1000 {
        chatting.echo("not disturbed").await;
        while let Some(ended) = bad.try_join_next() {
            ended.unwrap();
            refused += 1;
        }
    }
    assert_eq!(world.logic.accounts(), ["alice"]);
}

#[tokio::test]
async fn one_account_has_only_so_many_connections() {
    let settings = [("limits.connections_per_account", "2"), ("limits.silent_after", "1h")];
    let world = World::start(&settings).await;
    let (one, _two) = (world.client("alice").await, world.client("alice").await);
    let mut third = Client::ws(world.ws).await;
    third.request(LOGIN, login_body(&token("alice"))).await;
    let (status, why) = third.recv_refusal().await;
    assert_eq!(status, 300);
    assert!(why.contains("too many connections"), "{why}");
    third.expect_close(1013).await;
    world.client("bob").await;

    drop(one);
    eventually("one has left", || {
        world.logic.accounts().iter().filter(|a| *a == "alice").count() == 1
    })
    .await;
    world.client("alice").await;
}

#[tokio::test]
async fn clients_over_the_limit_wait_until_another_leaves() {
    let world = World::start(&[("limits.connections", "2")]).await;
    let (_one, two) = (world.client("one").await, world.client("two").await);
    let mut third = Client::tcp(world.tcp).await;
    third.request(LOGIN, login_body(&token("three"))).await;
    let waits = tokio::time::timeout(std::time::Duration::from_millis(200), third.recv_patiently());
    assert!(waits.await.is_err(), "answered over the limit");
    drop(two);
    assert_eq!(third.recv_logic().await.header.status, 0);
}

#[tokio::test]
async fn clients_of_a_stuck_server_are_told_at_once_and_served_when_it_goes_on() {
    let stuck =
        [("forward.patience", "500ms"), ("forward.delay", "50ms"), ("forward.timeout", "1m")];
    let world = World::start(&[FAST, &stuck].concat()).await;
    // As many as a gateway lets a server owe in any case, and some more.
    let (mut waiting, each) = (Vec::new(), 64);
    for number in 0..5 {
        let mut client = world.client(&format!("waits-{number}")).await;
        for _ in 0..each {
            client.request("test.late", "").await;
        }
        waiting.push(client);
    }
    let mut other = world.client("other").await;
    let busy = loop {
        other.request("test.echo", "").await;
        let packet = other.recv_logic().await;
        if packet.header.status != 0 {
            break packet.header.status;
        }
        // It answers: only a silent server is stuck.
        sleep(Duration::from_secs(1)).await;
    };
    assert_eq!(busy, 300);
    // Each is answered, also those that come while the client is not read.
    let mut asked = Vec::new();
    for _ in 0..100 {
        asked.push(other.request("test.echo", "").await);
    }
    for sequence in asked {
        let header = other.recv_logic().await.header;
        assert_eq!((header.sequence, header.status), (sequence, busy));
    }
    world.logic.release(waiting.len() * each);
    for client in &mut waiting {
        for _ in 0..each {
            assert_eq!(client.recv_logic().await.header.status, 0);
        }
    }
    other.echo("served again").await;
}

struct Closed;

#[async_trait]
impl Acceptor for Closed {
    async fn accept(&self, _: &Address) -> Result<(), String> {
        Err("closed today".to_owned())
    }
}

#[tokio::test]
async fn an_acceptor_turns_connections_away_before_they_say_anything() {
    let world = World::start_with(&[], |builder| builder.acceptor(Arc::new(Closed))).await;
    let mut client = Client::tcp(world.tcp).await;
    assert_eq!(client.recv().await, Received::End);
}
