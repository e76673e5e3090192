//! The life of a connection: login, loss, reconnection, the end.

mod support;

use std::time::Duration;

use futures::StreamExt;
use imago_client::{Client, CloseReason, Error, State};
use tokio::{net::TcpListener, runtime::Handle};

use self::support::{Server, bodies, eventually, quick};

#[tokio::test]
async fn bad_addresses_and_none_are_refused_at_once() {
    let none: [&str; 0] = [];
    assert_eq!(Client::builder(none).connect().await.unwrap_err(), Error::NoGateway);
    let url = "http://localhost:80".to_owned();
    let bad = Client::builder([&url]).connect().await.unwrap_err();
    assert_eq!(bad, Error::Address { url });
}

#[tokio::test]
async fn a_refused_token_ends_the_first_connect() {
    for server in [Server::ws().await, Server::tcp().await] {
        server.world().faults.logins.push_back(105);
        let refused = server.client("alice").connect().await.unwrap_err();
        assert_eq!(refused, Error::LoginRefused { status: 105, message: String::new() });
    }
}

#[tokio::test]
async fn a_token_that_is_refused_later_closes_the_client() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    server.world().faults.logins.push_back(105);
    server.cut();
    let mut state = alice.state();
    let closed = |state: &State| matches!(state, State::Closed { .. });
    let why = CloseReason::Refused { status: 105, message: String::new() };
    assert_eq!(*state.wait_for(closed).await.unwrap(), State::Closed { why: why.clone() });
    assert_eq!(alice.talk("bob", "hello").await, Err(Error::Closed(why)));
}

#[tokio::test]
async fn no_logic_server_yet_is_waited_for() {
    let server = Server::ws().await;
    server.world().faults.logins.extend([302, 300, 302]);
    server.client("alice").connect().await.unwrap();
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let waited = Duration::from_millis(200);
    let builder = quick(Client::builder([url]), "alice").connect_timeout(waited);
    let Err(Error::Unreachable { waited: told, last }) = builder.connect().await else {
        panic!("connected to a closed port");
    };
    assert_eq!(told, waited);
    assert!(last.contains("refused"), "{last}");
}

#[tokio::test]
async fn a_kick_is_told_and_final() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    server.world().tell("bob", "alice", "hello");
    let mut messages = alice.messages();
    assert_eq!(bodies(&mut messages, 1).await, ["hello"]);
    server.world().kick_another();
    alice.sync().await.unwrap();
    assert_eq!(*alice.state().borrow(), State::Online, "that notice was for another");
    server.kick("alice");
    let mut state = alice.state();
    let closed = State::Closed { why: CloseReason::Kicked };
    state.wait_for(|state| *state == closed).await.unwrap();
    assert_eq!(messages.next().await, None);
    assert_eq!(alice.talk("bob", "hello").await, Err(Error::Closed(CloseReason::Kicked)));
    eventually("disconnected", || server.sessions() == 0).await;
}

#[tokio::test]
async fn a_gateway_that_answers_nothing_is_left() {
    let server = Server::tcp().await;
    let ms = Duration::from_millis;
    let alice = server.client("alice").ping(ms(50), ms(100)).connect().await.unwrap();
    server.world().faults.mute = true;
    let mut state = alice.state();
    let lost = |state: &State| matches!(state, State::Reconnecting { why, .. } if why.contains("no answer to a ping"));
    state.wait_for(lost).await.unwrap();
    server.world().faults.mute = false;
    alice.talk("bob", "hello again").await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_sends_nonsense_is_left() {
    for server in [Server::ws().await, Server::tcp().await] {
        let alice = server.client("alice").connect().await.unwrap();
        let mut state = alice.state();
        server.babble();
        let lost = |state: &State| matches!(state, State::Reconnecting { why, .. } if why.contains("no packet"));
        state.wait_for(lost).await.unwrap();
        alice.talk("bob", "hello again").await.unwrap();
    }
}

#[tokio::test]
async fn a_leaving_gateway_hands_its_clients_to_the_others() {
    for server in [Server::ws().await, Server::tcp().await] {
        let other = server.sibling().await;
        let urls = [server.url(), other.url()];
        let alice = quick(Client::builder(&urls), "alice").connect().await.unwrap();
        for _ in 0..4 {
            let before = alice.session();
            server.close_all(1001);
            alice.talk("bob", "hello").await.unwrap();
            assert_ne!(alice.session().gateway, before.gateway);
        }
    }
}

#[tokio::test]
async fn a_client_whose_token_expired_or_whose_place_was_taken_does_not_come_again() {
    for (code, why) in [(4401, CloseReason::Expired), (4409, CloseReason::Replaced)] {
        let server = Server::ws().await;
        let alice = server.client("alice").connect().await.unwrap();
        server.world().tell("bob", "alice", "hello");
        let mut messages = alice.messages();
        assert_eq!(bodies(&mut messages, 1).await, ["hello"]);
        let mut state = alice.state();
        server.close_all(code);
        let closed = State::Closed { why: why.clone() };
        state.wait_for(|state| !matches!(state, State::Online)).await.unwrap();
        assert_eq!(*state.borrow(), closed);
        assert_eq!(alice.talk("bob", "hello").await, Err(Error::Closed(why)));
        assert_eq!(messages.next().await, None);
        eventually("disconnected", || server.sessions() == 0).await;
    }
}

#[tokio::test]
async fn a_killed_gateway_is_replaced_by_another() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    drop(alice);
    let other = server.sibling().await;
    let builder = Client::builder([server.url(), other.url()]);
    let alice = quick(builder, "alice").connect().await.unwrap();
    let (dead, alive) = match alice.session().gateway == server.url() {
        true => (&server, &other),
        false => (&other, &server),
    };
    dead.kill();
    eventually("moved", || alice.session().gateway == alive.url()).await;
    server.world().tell("bob", "alice", "hello");
    assert_eq!(bodies(&mut alice.messages(), 1).await, ["hello"]);
}

#[tokio::test]
async fn the_state_tells_what_happens() {
    let server = Server::ws().await;
    let alice = server.client("alice").connect().await.unwrap();
    let mut state = alice.state();
    assert_eq!(*state.borrow_and_update(), State::Online);
    server.world().faults.logins.extend([300, 300]);
    server.cut();
    let third = |state: &State| matches!(state, State::Reconnecting { attempt: 3, .. });
    assert!(state.wait_for(third).await.is_ok());
    state.wait_for(|state| *state == State::Online).await.unwrap();
}

#[tokio::test]
async fn logging_out_acknowledges_and_ends() {
    for server in [Server::ws().await, Server::tcp().await] {
        for number in 1..=10 {
            server.world().tell("bob", "alice", "hello");
            let alice = server.client("alice").connect().await.unwrap();
            let mut messages = alice.messages();
            let hello = messages.next().await.unwrap();
            alice.ack(&hello);
            alice.logout().await.unwrap();
            let why = CloseReason::ClosedByUser;
            assert_eq!(*alice.state().borrow(), State::Closed { why: why.clone() });
            assert_eq!(server.world().store.cursor("alice", "bob"), number);
            assert_eq!(alice.logout().await, Err(Error::Closed(why)));
            assert_eq!(messages.next().await, None);
        }
        eventually("disconnected", || server.sessions() == 0).await;
    }
}

#[tokio::test]
async fn dropping_the_client_ends_its_tasks_and_its_stream() {
    for server in [Server::ws().await, Server::tcp().await] {
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        let alice = server.client("alice").connect().await.unwrap();
        let mut messages = alice.messages();
        let clone = alice.clone();
        drop(alice);
        clone.talk("bob", "a clone keeps it alive").await.unwrap();
        drop(clone);
        assert_eq!(messages.next().await, None);
        eventually("the server sees the end", || server.sessions() == 0).await;
        eventually("no task is left", || tasks() <= before).await;
    }
}
