//! What clients get of messages that come out of order, get lost or come twice, and what of it they
//! acknowledge.

use std::time::Duration;

use imago_proto::{
    COMMIT_UNKNOWN, command,
    link::{Given, Mark, Missing, Place, Push, Reply},
    msg::{Cursor, MessageAckReq, MessageIndexReq},
};
use prost::Message;
use tokio::time::{sleep, timeout};

use super::support::{Client, LOGIN, World, eventually};

/// A message whose predecessor's commit is its own sequence; its id is 100 more.
fn place(conversation: &str, seq: u64) -> Place {
    let message_id = i64::try_from(seq).unwrap() + 100;
    Place { conversation: conversation.to_owned(), seq, message_id, after: seq }
}

fn again(conversation: &str, seq: u64) -> Place {
    Place { after: COMMIT_UNKNOWN, ..place(conversation, seq) }
}

fn given(conversation: &str, from: u64, to: u64) -> Given {
    Given { conversation: conversation.to_owned(), from, to, message_id: 0 }
}

/// A client that logged in when commits up to this one were there.
async fn client_since(world: &World, account: &str, commit: u64) -> Client {
    let mark = Some(Mark::up_to(commit));
    world.logic.note(LOGIN, Reply { mark, ..Reply::default() });
    world.client(account).await
}

impl Client {
    async fn gets(&mut self, bodies: &[&str]) {
        for body in bodies {
            assert_eq!(self.recv_logic().await.body, *body);
        }
    }

    /// Nothing more has come over the link: an answer stands behind it.
    async fn gets_no_more(&mut self) {
        self.echo("nothing else").await;
    }
}

#[tokio::test]
async fn pushes_that_overtake_each_other_or_come_twice_are_put_in_order() {
    let world = World::start(&[]).await;
    let mut ann = client_since(&world, "ann", 3).await;
    for seq in [3, 5, 4, 5, 3, 6] {
        world.logic.push_message("ann", &place("a", seq));
    }
    ann.gets(&["a3", "a4", "a5", "a6"]).await;
    ann.gets_no_more().await;
    // The hole was filled in time.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.logic.take_asked(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_a_server_took_in_late_is_owed_what_that_one_stored_before() {
    let world = World::start(&[]).await;
    world.logic.stand_still(Duration::from_millis(300));
    let _ann = client_since(&world, "ann", 3).await;
    let asked = world.logic.next_asked().await;
    assert_eq!((asked.mark, asked.have), (Some(Mark::up_to(3)), vec![]));
    world.logic.stand_still(Duration::ZERO);
    let mut bob = client_since(&world, "bob", 3).await;
    bob.gets_no_more().await;
    assert_eq!(world.logic.take_asked(), [], "all servers knew of it in time");
}

#[tokio::test]
async fn a_lost_push_is_asked_for_and_newer_ones_wait_meanwhile() {
    let world = World::start(&[]).await;
    let mut ann = client_since(&world, "ann", 3).await;
    for seq in [3, 5, 6] {
        world.logic.push_message("ann", &place("a", seq));
    }
    world.logic.push_message("ann", &place("b", 9));
    world.logic.push_message("ann", &place("c", 2));
    ann.gets(&["a3", "c2"]).await;
    let asked = world.logic.next_asked().await;
    let session = world.logic.session_of("ann").unwrap().1.id;
    let mark = Some(Mark::up_to(3));
    let have = vec![given("a", 0, 3), given("c", 0, 2)];
    assert_eq!(asked, Missing { session, mark, have });
    ann.gets_no_more().await;
    for seq in [4, 5, 6] {
        world.logic.push_again("ann", &again("a", seq));
    }
    world.logic.redelivered("ann", Some(Mark::up_to(9))).await;
    ann.gets(&["a4", "a5", "a6", "b9"]).await;
    world.logic.push_message("ann", &place("d", 9));
    ann.gets(&["d9"]).await;
    ann.gets_no_more().await;
    let debts = || world.context.sessions.delivery.redelivery.len();
    eventually("nothing is owed", || debts() == 0).await;
    assert_eq!(world.logic.take_asked(), []);
}

#[tokio::test]
async fn a_session_that_is_owed_pushes_asks_until_it_has_them() {
    let world = World::start(&[("redeliver.interval", "100ms")]).await;
    let mut ann = client_since(&world, "ann", 3).await;
    let _bob = client_since(&world, "bob", 3).await;
    world.logic.owe(&["ann"]);
    assert_eq!(world.logic.next_asked().await.have, []);
    world.logic.push_again("ann", &again("a", 4));
    ann.gets(&["a4"]).await;
    // The store is away for a while.
    world.logic.redelivered("ann", None).await;
    assert_eq!(world.logic.next_asked().await.have, [given("a", 0, 4)]);
    // Once more while it is under way: once more behind it.
    world.logic.owe(&["ann"]);
    world.logic.redelivered("ann", Some(Mark::up_to(9))).await;
    let asked = world.logic.next_asked().await;
    assert_eq!((asked.mark, asked.have), (Some(Mark::up_to(9)), vec![]));
    world.logic.redelivered("ann", Some(Mark::up_to(9))).await;
    let debts = || world.context.sessions.delivery.redelivery.len();
    eventually("nothing is owed", || debts() == 0).await;
}

#[tokio::test]
async fn all_sessions_are_asked_for_when_all_are_owed() {
    let world = World::start(&[]).await;
    let mut clients = Vec::new();
    for number in 0..300 {
        clients.push(client_since(&world, &format!("client{number}"), 3).await);
    }
    world.logic.owe(&[]);
    let (mut asked, mut most) = (0, 0);
    while asked < 300 {
        let mut some = Vec::new();
        eventually("more are asked for", || {
            some = world.logic.take_asked();
            !some.is_empty()
        })
        .await;
        asked += some.len();
        most = most.max(some.len());
        for missing in some {
            world.logic.redelivered_session(missing.session, Some(Mark::up_to(3))).await;
        }
    }
    assert!(asked == 300 && most <= 256, "{asked}, {most} at a time");
    let debts = || world.context.sessions.delivery.redelivery.len();
    eventually("nothing is owed", || debts() == 0).await;
}

#[tokio::test]
async fn what_comes_before_the_login_is_answered_follows_it_in_order() {
    let world = World::start(&[]).await;
    let mut ann = Client::tcp(world.tcp).await;
    ann.request(LOGIN, super::support::login_body(&super::support::token("mute"))).await;
    eventually("it is told", || world.logic.session_of("mute").is_some()).await;
    for seq in [5, 4, 9] {
        world.logic.push_message("mute", &place("a", seq));
    }
    world.logic.answer_login("mute", Some(Mark::up_to(4))).await;
    assert_eq!(ann.recv_logic().await.header.command, LOGIN);
    ann.gets(&["a4", "a5"]).await;
    assert_eq!(world.logic.next_asked().await.have, [given("a", 0, 5)]);
}

#[tokio::test]
async fn a_session_that_ends_is_owed_nothing() {
    let world = World::start(&[]).await;
    let ann = client_since(&world, "ann", 3).await;
    world.logic.push_message("ann", &place("a", 9));
    world.logic.next_asked().await;
    assert_eq!(world.context.sessions.delivery.redelivery.len(), 1);
    drop(ann);
    let debts = || world.context.sessions.delivery.redelivery.len();
    eventually("nothing is owed", || debts() == 0).await;
}

#[tokio::test]
async fn a_session_is_asked_for_again_when_the_link_is_lost_meanwhile() {
    let world = World::start(&[("redeliver.jitter", "0s")]).await;
    let mut ann = client_since(&world, "ann", 3).await;
    world.logic.push_message("ann", &place("a", 9));
    world.logic.next_asked().await;
    world.logic.push_again("ann", &again("a", 7));
    ann.gets(&["a7"]).await;
    world.restart_logic().await;
    let asked = world.logic.next_asked().await;
    assert_eq!(asked.have, [given("a", 0, 7)]);
    world.logic.push_again("ann", &again("a", 8));
    world.logic.redelivered("ann", Some(Mark::up_to(9))).await;
    ann.gets(&["a8", "a9"]).await;
}

#[tokio::test]
async fn more_than_may_wait_comes_by_the_redelivery() {
    let world = World::start(&[]).await;
    let mut ann = client_since(&world, "ann", 1).await;
    for seq in 3..100 {
        world.logic.push_message("ann", &place("a", seq));
    }
    world.logic.next_asked().await;
    for seq in 2..100 {
        world.logic.push_again("ann", &again("a", seq));
    }
    for seq in 2..100 {
        ann.gets(&[&format!("a{seq}")]).await;
    }
    world.logic.redelivered("ann", Some(Mark::up_to(99))).await;
    ann.gets_no_more().await;
}

#[tokio::test]
async fn each_of_many_receivers_gets_what_it_misses() {
    let world = World::start(&[]).await;
    let mut clients = Vec::new();
    for number in 0..100 {
        // Some miss what was before.
        let since = if number % 10 == 0 { 1 } else { 2 };
        clients.push(client_since(&world, &format!("client{number}"), since).await);
    }
    let names: Vec<String> = (0..100).map(|number| format!("client{number}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    for seq in [2, 4, 3, 3, 5] {
        let push = Push { place: Some(place("a", seq)), ..Push::default() };
        world.logic.push_as(&all, push, format!("a{seq}"));
    }
    let mut asked = Vec::new();
    eventually("those that miss something ask", || {
        asked.append(&mut world.logic.take_asked());
        asked.len() == 10
    })
    .await;
    for (number, client) in clients.iter_mut().enumerate() {
        if number % 10 == 0 {
            client.gets_no_more().await;
            world.logic.push_again(&names[number], &again("a", 1));
        }
        let missed = if number % 10 == 0 { &["a1"][..] } else { &[] };
        client.gets(missed).await;
        client.gets(&["a2", "a3", "a4", "a5"]).await;
        client.gets_no_more().await;
    }
}

#[tokio::test]
async fn a_message_id_acknowledges_what_its_session_was_given() {
    let world = World::start(&[]).await;
    let mut ann = client_since(&world, "ann", 9).await;
    world.logic.push_message("ann", &place("a", 4));
    world.logic.push_message("ann", &place("b", 7));
    ann.gets(&["a4", "b7"]).await;
    let note = Reply { place: Some(place("a", 5)), ..Reply::default() };
    world.logic.note(command::CHAT_USER_TALK, note);
    ann.request(command::CHAT_USER_TALK, "").await;
    ann.recv_logic().await;
    world.logic.push_message("ann", &place("a", 6));
    ann.gets(&["a6"]).await;

    let ack = MessageAckReq { message_id: 107, cursors: Vec::new() };
    let first = vec![given("a", 4, 4), given("b", 7, 7)];
    assert_eq!(acked(&world, &mut ann, command::CHAT_TALK_ACK, &ack).await, first);
    // It failed, or was lost: the same again.
    assert_eq!(acked(&world, &mut ann, command::CHAT_TALK_ACK, &ack).await, first);
    let note = Reply { acked: vec![given("a", 0, 5), given("b", 0, 7)], ..Reply::default() };
    world.logic.note(command::CHAT_TALK_ACK, note);
    acked(&world, &mut ann, command::CHAT_TALK_ACK, &ack).await;
    assert_eq!(acked(&world, &mut ann, command::CHAT_TALK_ACK, &ack).await, []);
    let cursors = vec![Cursor { conversation: "x".into(), seq: 3 }];
    let ack = MessageAckReq { message_id: 106, cursors };
    let rest = [given("a", 6, 6)];
    assert_eq!(acked(&world, &mut ann, command::CHAT_TALK_ACK, &ack).await, rest);
    assert_eq!(acked(&world, &mut ann, "chat.other", &ack).await, []);
    ann.request(command::CHAT_TALK_ACK, &b"\xff"[..]).await;
    ann.recv_logic().await;
    assert_eq!(world.logic.forwards(command::CHAT_TALK_ACK).last().unwrap().0.acked, []);
}

#[tokio::test]
async fn a_page_is_acknowledged_by_asking_for_the_next_one() {
    let world = World::start(&[]).await;
    let mut ann = client_since(&world, "ann", 9).await;
    let page = vec![given("a", 1, 4), given("b", 2, 2)];
    let told = vec![page[0].clone(), Given { message_id: 104, ..page[1].clone() }];
    let note = Reply { given: told, ..Reply::default() };
    world.logic.note(command::CHAT_OFFLINE_INDEX, note);
    let ask = |message_id| MessageIndexReq { message_id };
    let index = command::CHAT_OFFLINE_INDEX;
    assert_eq!(acked(&world, &mut ann, index, &ask(0)).await, []);
    world.logic.push_message("ann", &place("a", 5));
    ann.gets(&["a5"]).await;
    assert_eq!(acked(&world, &mut ann, index, &ask(104)).await, page);
    assert_eq!(acked(&world, &mut ann, index, &ask(-1)).await, []);
}

/// What a request acknowledges, as the logic server gets it.
async fn acked(
    world: &World,
    client: &mut Client,
    command: &str,
    request: &impl Message,
) -> Vec<Given> {
    let body = request.encode_to_vec();
    client.request(command, body.clone()).await;
    client.recv_logic().await;
    let (forward, forwarded) = world.logic.forwards(command).pop().unwrap();
    assert_eq!(forwarded, body, "the body goes on as it is");
    forward.acked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_written_before_the_push_of_its_message() {
    let world = World::start(super::support::FAST).await;
    let mut ann = client_since(&world, "ann", 0).await;
    let mut clients = vec![client_since(&world, "bob", 0).await];
    for number in 0..80 {
        clients.push(client_since(&world, &format!("client{number}"), 0).await);
    }
    let names: Vec<String> = (0..80).map(|number| format!("client{number}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).chain(["bob"]).collect();
    for seq in 1..=1000 {
        let place = Place { after: 0, ..place("a", seq) };
        let (to, others) = if seq % 50 == 0 { (&all[..], 80) } else { (&all[80..], 0) };
        world.logic.push_behind_next(to, &place);
        let note = Reply { place: Some(place), ..Reply::default() };
        world.logic.note("chat.user.talk", note);
        ann.request("chat.user.talk", "").await;
        // Bob has it: so ann's answer is with the kernel.
        clients[0].gets(&[&format!("a{seq}")]).await;
        let at_once = timeout(Duration::ZERO, ann.recv_patiently()).await;
        assert!(at_once.is_ok(), "the push of a{seq} came before its answer");
        for client in &mut clients[1..=others] {
            client.recv_logic().await;
        }
    }
}
