//! A process that stood still trusts nothing until it has heard from its peers. The wake is told by a
//! time in the future: nothing else runs between it and the checks, for there is one thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use imago_naming::Memory;
use imago_proto::{SessionId, link::ServerState};

use super::support::*;
use crate::{Route, monitor::MonitorSource};

const STILL: Duration = Duration::from_secs(60);

fn wake(gateway: &Gateway) {
    gateway.links.beat(Instant::now() + STILL);
}

fn reasons(gateway: &Gateway) -> Vec<String> {
    gateway.report.ready().err().unwrap_or_default()
}

async fn is_usable(gateway: &Gateway) {
    eventually("the link takes requests", || {
        gateway.link("logic-1").is_some_and(|link| link.is_usable())
    })
    .await;
}

#[tokio::test]
async fn a_woken_gateway_is_ready_once_a_logic_server_has_answered() {
    let (gateway, _logic) = pair(&Memory::new()).await;
    is_usable(&gateway).await;
    eventually("it is ready", || reasons(&gateway).is_empty()).await;
    let link = gateway.link("logic-1").unwrap();

    gateway.links.beat(Instant::now());
    assert!(link.is_usable(), "nothing has happened");
    wake(&gateway);
    assert!(!link.is_usable() && !gateway.handle.has_adult());
    let told = reasons(&gateway);
    assert!(told.iter().any(|why| why.starts_with("stood still for 60.")), "{told:?}");

    is_usable(&gateway).await;
    assert_eq!(reasons(&gateway), [""; 0]);
    assert!(Arc::ptr_eq(&link, &gateway.link("logic-1").unwrap()), "the link was whole");
}

#[tokio::test]
async fn requests_wait_for_the_first_answer_and_those_under_way_go_on() {
    let (gateway, logic) = pair(&Memory::new()).await;
    is_usable(&gateway).await;
    let owner = Arc::new(Answers::default());
    let route = Route { app: "app".into(), account: "alice".into() };
    let lane = gateway.handle.open_lane(SessionId(1), route, owner.clone());
    logic.role.is_stuck.send_replace(true);
    lane.submit(request(1));
    let link = gateway.link("logic-1").unwrap();
    assert_eq!(link.pending(), 1);

    wake(&gateway);
    lane.submit(request(2));
    assert_eq!((lane.in_flight(), link.pending()), (2, 1), "the second is held");
    is_usable(&gateway).await;
    assert_eq!(link.pending(), 2, "and goes with the first answer");
    logic.role.is_stuck.send_replace(false);
    eventually("both are answered", || lane.in_flight() == 0).await;
    // The role answers each by a task of its own.
    let mut answers = owner.0.lock().unwrap().clone();
    answers.sort_unstable();
    assert_eq!(answers, [(1, 0), (2, 0)]);
}

#[tokio::test]
async fn a_link_that_comes_after_the_wake_confirms_too() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    is_usable(&gateway).await;
    let old = gateway.link("logic-1").unwrap();
    wake(&gateway);
    // Its other side is gone: what its peer still answers is not heard.
    old.close();
    old.ended().await;
    assert!(reasons(&gateway).iter().any(|why| why.starts_with("stood still")));
    is_usable(&gateway).await;
    let new = gateway.link("logic-1").unwrap();
    assert!(!Arc::ptr_eq(&old, &new) && new.state() == ServerState::Adult);
    assert_eq!(reasons(&gateway), [""; 0]);
    drop(logic);
}
