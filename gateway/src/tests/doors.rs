//! When clients are let in, and how they are handed over.

use std::time::Duration;

use bytes::Bytes;
use imago_container::GatewayRole;
use imago_proto::link::Push;
use tokio::{net::TcpStream, time::timeout};

use super::support::{Client, LOGIN, PATIENCE, Received, World, eventually, login_body, token};
use crate::{
    lifecycle::Doors,
    role::{HandOver, Role},
};

fn role(world: &World) -> Role {
    let context = &world.context;
    Role {
        sessions: context.sessions.clone(),
        fan_out: context.fan_out.clone(),
        memory: context.memory.clone(),
        life: context.life.clone(),
        hand_over: HandOver { batch: 1, pause: Duration::from_millis(1) },
        redeliver_interval: Duration::ZERO,
    }
}

#[tokio::test]
async fn clients_wait_until_the_gateway_has_a_logic_server() {
    let world = World::start_young(&[], |builder| builder).await;
    let mut early = Client::tcp(world.tcp).await;
    early.request(LOGIN, login_body(&token("alice"))).await;
    let waits = timeout(Duration::from_millis(200), early.recv_patiently());
    assert!(waits.await.is_err(), "accepted while young");
    world.start_logic().await;
    assert_eq!(early.recv_logic().await.header.status, 0);
}

#[tokio::test]
async fn a_login_without_a_logic_server_is_answered_302() {
    let world = World::start(&[("forward.hold", "200ms")]).await;
    world.leave_logic.cancel();
    eventually("no logic server", || !world.context.handle.has_adult()).await;
    let mut client = Client::ws(world.ws).await;
    client.request(LOGIN, login_body(&token("alice"))).await;
    assert_eq!(client.recv_refusal().await.0, 302);
    client.expect_close(1013).await;
}

#[tokio::test]
async fn a_leaving_gateway_gives_outstanding_answers_and_closes_with_1001() {
    let mut world = World::start(&[]).await;
    let mut waiting = Client::ws(world.ws).await;
    waiting.log_in("waiting").await;
    waiting.request("test.late", "answer").await;
    eventually("forwarded", || !world.logic.forwards("test.late").is_empty()).await;
    let mut idle = Client::ws(world.ws).await;
    idle.log_in("idle").await;
    let mut stranger = Client::ws(world.ws).await;

    world.leave.cancel();
    idle.expect_close(1001).await;
    stranger.expect_close(1001).await;
    eventually("the port is closed", || world.context.sessions.len() == 1).await;
    assert!(TcpStream::connect(world.ws).await.is_err(), "still accepting");

    world.logic.release(1);
    assert_eq!(waiting.recv_logic().await.body, "answer");
    waiting.expect_close(1001).await;
    timeout(PATIENCE, &mut world.gateway).await.unwrap().unwrap().unwrap();
    eventually("all sessions over", || world.logic.accounts().is_empty()).await;
}

#[tokio::test]
async fn a_leaving_gateway_waits_no_longer_than_it_may() {
    let mut world = World::start(&[("drain.timeout", "1s"), ("forward.timeout", "30s")]).await;
    let mut waiting = Client::ws(world.ws).await;
    waiting.log_in("waiting").await;
    waiting.request("test.silent", "").await;
    eventually("forwarded", || !world.logic.forwards("test.silent").is_empty()).await;
    world.leave.cancel();
    waiting.expect_close(1001).await;
    timeout(PATIENCE, &mut world.gateway).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn no_pause_follows_the_last_clients_of_a_leaving_gateway() {
    let mut world = World::start(&[("drain.timeout", "10m"), ("drain.pause", "1m")]).await;
    let mut idle = Client::ws(world.ws).await;
    idle.log_in("idle").await;
    world.leave.cancel();
    idle.expect_close(1001).await;
    timeout(PATIENCE, &mut world.gateway).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_gateway_that_never_opened_its_doors_leaves_at_once() {
    let mut world = World::start_young(&[], |builder| builder).await;
    let _early = Client::tcp(world.tcp).await;
    world.leave.cancel();
    timeout(PATIENCE, &mut world.gateway).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_fenced_gateway_hands_its_clients_over_and_takes_none_until_it_is_open_again() {
    let world = World::start(&[]).await;
    let role = role(&world);
    let mut inside = Client::ws(world.ws).await;
    inside.log_in("inside").await;
    let mut half_in = Client::ws(world.ws).await;

    role.fence();
    inside.expect_close(1001).await;
    half_in.request(LOGIN, login_body(&token("late"))).await;
    assert_eq!(half_in.recv_refusal().await.0, 302);
    half_in.expect_close(1001).await;
    let mut outside = Client::tcp(world.tcp).await;
    assert_eq!(outside.recv().await, Received::End);
    assert!(world.logic.session_of("late").is_none());

    role.open_doors();
    assert_eq!(*world.context.life.doors.borrow(), Doors::Open);
    world.client("back").await;
}

#[tokio::test]
async fn pushes_and_kicks_for_unknown_sessions_are_ignored() {
    let world = World::start(&[]).await;
    let role = role(&world);
    role.push(Push { sessions: vec![77, 78], ..Push::default() }, Bytes::from_static(b"nobody"));
    role.kick(imago_proto::SessionId(77), Bytes::new());
}
