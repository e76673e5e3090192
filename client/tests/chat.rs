//! Talking and receiving: nothing lost, nothing twice, in order.

mod support;

use std::{future::ready, time::Duration};

use futures::{StreamExt, future::join_all};
use imago_client::{AckMode, Error, Message, Outgoing, Seq};

use self::support::{Server, bodies, eventually, numbers};

#[allow(clippy::unwrap_used, reason = "only tests use it")]
async fn two_people_chat(server: &Server) {
    let alice = server.client("alice").connect().await.unwrap();
    let bob = server.client("bob").connect().await.unwrap();
    assert_eq!(alice.session().account, "alice");
    assert_eq!(alice.session().gateway, server.url());
    let (mut to_alice, mut to_bob) = (alice.messages(), bob.messages());
    for number in 1..=20 {
        let receipt = alice.talk("bob", Outgoing::text("ping").extra("x")).await.unwrap();
        assert_eq!(receipt.seq, Seq(2 * number - 1));
        let ping = to_bob.next().await.unwrap();
        assert_eq!((ping.body.as_str(), ping.extra.as_str(), ping.kind), ("ping", "x", 1));
        assert_eq!((ping.sender.as_str(), ping.seq), ("alice", receipt.seq));
        assert_eq!(
            (ping.message_id, ping.conversation),
            (receipt.message_id, receipt.conversation)
        );
        bob.talk("alice", "pong").await.unwrap();
        assert_eq!(to_alice.next().await.unwrap().body, "pong");
    }
}

#[tokio::test]
async fn two_people_chat_over_websocket() {
    two_people_chat(&Server::ws().await).await;
}

#[tokio::test]
async fn two_people_chat_over_tcp() {
    two_people_chat(&Server::tcp().await).await;
}

/// A cluster, or an old one that does not know `chat.sync`.
async fn cluster(old: bool) -> Server {
    let server = Server::ws().await;
    server.world().faults.old = old;
    server
}

#[allow(clippy::unwrap_used, reason = "only tests use it")]
async fn what_came_while_away_arrives(server: &Server) {
    for number in 0..4500 {
        server.world().tell("bob", "alice", &number.to_string());
        if number % 3 == 0 {
            server.world().tell("alice", "bob", "her own, from another device");
        }
    }
    let alice = server.client("alice").connect().await.unwrap();
    let from_bob = |message: &Message| ready(message.sent_to.is_none());
    let mut messages = alice.messages().filter(from_bob);
    assert_eq!(bodies(&mut messages, 4500).await, numbers(0..4500));
}

#[tokio::test]
async fn what_came_while_away_arrives_after_the_login_page_by_page() {
    let server = cluster(false).await;
    what_came_while_away_arrives(&server).await;
    let asked = server.world().asked.clone();
    assert!(asked.len() >= 30 && asked.iter().all(|command| command == "chat.sync"), "{asked:?}");
}

#[tokio::test]
async fn what_came_while_away_arrives_from_an_old_server() {
    let server = cluster(true).await;
    what_came_while_away_arrives(&server).await;
    assert!(server.world().store.largest_content_request <= 200);
    let synced = server.world().asked.iter().filter(|command| *command == "chat.sync").count();
    assert_eq!(synced, 1, "once is enough");
}

#[tokio::test]
async fn copies_of_what_other_devices_sent_come_in_their_place() {
    let server = cluster(false).await;
    server.world().tell("bob", "alice", "0");
    server.world().tell("alice", "bob", "1");
    server.world().tell("bob", "alice", "2");
    let alice = server.client("alice").connect().await.unwrap();
    assert_eq!(bodies(&mut alice.messages(), 3).await, numbers(0..3));
    alice.talk("bob", "3").await.unwrap();
    alice.sync().await.unwrap();
    server.world().tell("bob", "alice", "4");
    let next = alice.messages().next().await.unwrap();
    assert_eq!(next.body, "4", "what this one sent is no copy");
}

#[allow(clippy::unwrap_used, reason = "only tests use it")]
async fn lost_and_doubled_pushes_are_not_noticed(server: &Server) {
    server.world().faults.lose_every = Some(3);
    server.world().faults.double = true;
    let alice = server.client("alice").connect().await.unwrap();
    let bob = server.client("bob").connect().await.unwrap();
    let mut messages = alice.messages();
    let (_, received) = tokio::join!(
        async {
            for number in 0..200 {
                bob.talk("alice", number.to_string()).await.unwrap();
                if number % 4 == 0 {
                    alice.talk("bob", "an answer").await.unwrap();
                }
            }
            // The last push may be lost for good: nothing after it shows the gap.
            alice.sync().await.unwrap();
        },
        bodies(&mut messages, 200)
    );
    assert_eq!(received, numbers(0..200));
}

#[tokio::test]
async fn lost_and_doubled_pushes_of_servers_are_not_noticed() {
    lost_and_doubled_pushes_are_not_noticed(&cluster(false).await).await;
}

#[tokio::test]
async fn lost_and_doubled_pushes_of_old_servers_are_not_noticed() {
    lost_and_doubled_pushes_are_not_noticed(&cluster(true).await).await;
}

#[tokio::test]
async fn messages_survive_connections_that_are_cut_again_and_again() {
    let server = Server::tcp().await;
    server.world().faults.cut_every = Some(7);
    let alice = server.client("alice").connect().await.unwrap();
    let bob = server.client("bob").connect().await.unwrap();
    let talks = (0..100).map(|number| alice.talk("bob", number.to_string()));
    let mut messages = bob.messages();
    let (receipts, received) = tokio::join!(join_all(talks), bodies(&mut messages, 100));
    let seqs: Vec<u64> = receipts.into_iter().map(|receipt| receipt.unwrap().seq.0).collect();
    assert_eq!(seqs, Vec::from_iter(1..=100), "once each, in the order of the calls");
    assert_eq!(received, numbers(0..100));
    assert_eq!(server.world().store.bodies("alice", "bob"), numbers(0..100));
}

#[tokio::test]
async fn busy_servers_are_asked_again_and_refusals_are_not() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    server.world().faults.talks.extend([300, 302, 300]);
    assert_eq!(alice.talk("bob", "one").await.unwrap().seq, Seq(1));
    server.world().faults.talks.extend([101]);
    let refused = alice.talk("bob", "two").await;
    assert_eq!(refused, Err(Error::Rejected { status: 101, message: String::new() }));
    assert_eq!(alice.talk("bob", "three").await.unwrap().seq, Seq(2));
}

#[tokio::test]
async fn an_unanswered_message_is_repeated_under_the_same_id() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    server.world().faults.swallowed = 2;
    assert_eq!(alice.talk("bob", "hello").await.unwrap().seq, Seq(1));
    assert_eq!(server.world().store.bodies("alice", "bob"), ["hello"]);
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_made_anew() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    let before = alice.session().channel_id;
    server.world().faults.talks.push_back(404);
    assert_eq!(alice.talk("bob", "hello").await.unwrap().seq, Seq(1));
    assert_ne!(alice.session().channel_id, before);
}

#[tokio::test]
async fn only_what_was_consumed_is_acknowledged() {
    let server = Server::ws().await;
    for number in 0..10 {
        server.world().tell("bob", "alice", &number.to_string());
    }
    let alice = server.client("alice").connect().await.unwrap();
    let mut messages = alice.messages();
    assert_eq!(bodies(&mut messages, 4).await, numbers(0..4));
    let cursor = || server.world().store.cursor("alice", "bob");
    eventually("asking for the fourth acknowledges the third", || cursor() == 3).await;
    drop((alice, messages));
    assert_eq!(cursor(), 3);

    let alice = server.client("alice").acks(AckMode::Manual).connect().await.unwrap();
    let mut messages = alice.messages();
    assert_eq!(bodies(&mut messages, 6).await, numbers(3..9), "the next process goes on there");
    let last = messages.next().await.unwrap();
    assert_eq!(cursor(), 3, "nothing is acknowledged by itself");
    alice.ack(&last);
    eventually("acknowledged by hand", || cursor() == 10).await;
}

#[tokio::test]
async fn a_slow_application_can_talk_and_gets_everything_later() {
    for old in [false, true] {
        let server = cluster(old).await;
        let alice = server.client("alice").queue(64).connect().await.unwrap();
        for number in 0..3000 {
            server.world().tell("bob", "alice", &number.to_string());
        }
        alice.talk("carol", "still here").await.unwrap();
        assert_eq!(bodies(&mut alice.messages(), 3000).await, numbers(0..3000));
    }
}

#[tokio::test]
async fn another_device_sees_what_this_one_sends() {
    let server = Server::ws().await;
    let phone = server.client("alice").connect().await.unwrap();
    let laptop = server.client("alice").connect().await.unwrap();
    phone.talk("bob", "hi").await.unwrap();
    let copy = laptop.messages().next().await.unwrap();
    assert_eq!((copy.body.as_str(), copy.sender.as_str()), ("hi", "alice"));
    assert_eq!(copy.sent_to.unwrap().as_str(), "bob");
}

#[tokio::test]
async fn a_listing_that_fails_is_asked_for_again() {
    for old in [false, true] {
        let server = cluster(old).await;
        server.world().faults.listings.extend([300, 300]);
        server.world().tell("bob", "alice", "hello");
        let alice = server.client("alice").connect().await.unwrap();
        assert_eq!(bodies(&mut alice.messages(), 1).await, ["hello"]);
        alice.sync().await.unwrap();
    }
}

#[tokio::test]
async fn a_deadline_says_whether_the_message_may_have_been_delivered() {
    let server = Server::ws().await;
    let deadline = Duration::from_millis(400);
    let alice = server.client("alice").talk_deadline(deadline).connect().await.unwrap();
    server.world().faults.swallowed = usize::MAX;
    let message = || Outgoing::text("hello").id("my id");
    let (waited, client_message_id) = (deadline, "my id".to_owned());
    let unconfirmed = alice.talk("bob", message()).await;
    assert_eq!(unconfirmed, Err(Error::Unconfirmed { waited, client_message_id }));
    server.world().faults.swallowed = 0;
    assert_eq!(alice.talk("bob", message()).await.unwrap().seq, Seq(1), "stored once");
    server.kill();
    eventually("offline", || *alice.state().borrow() != imago_client::State::Online).await;
    assert_eq!(alice.talk("bob", "two").await, Err(Error::NotSent(deadline)));
}
