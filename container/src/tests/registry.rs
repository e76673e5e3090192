//! What a registry that fails, forgets or flaps does to servers that are linked: nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use imago_naming::{Memory, Naming};
use imago_proto::SessionId;

use super::support::*;
use crate::{Route, monitor::MonitorSource};

fn route() -> Route {
    Route { app: "app".into(), account: "alice".into() }
}

/// Everything that goes over a link goes: a request, its answer, a session, a push.
async fn traffic_flows(gateway: &Gateway, logic: &Logic, round: u32) {
    let answers = Arc::new(Answers::default());
    let number = u64::from(round);
    let lane = gateway.handle.open_lane(SessionId(number), route(), answers.clone());
    lane.submit(request(round));
    eventually("an answer", || *answers.0.lock().unwrap() == [(round, 0)]).await;

    gateway.handle.session_up(&session(number)).await;
    let peer = gateway.links.identity.peer.clone();
    let told = (peer.clone(), number);
    eventually("a session", || logic.role.sessions.lock().unwrap().contains(&told)).await;

    let before = gateway.role.pushed.lock().unwrap().len();
    let push = imago_proto::link::Push { sessions: vec![number], ..Default::default() };
    logic.handle.push(&peer, push, "pushed".into());
    eventually("a push", || gateway.role.pushed.lock().unwrap().len() == before + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_registry_changes_nothing_for_servers_that_are_linked() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    let link = gateway.link("logic-1").unwrap();
    memory.set_outage(Some("nobody there"));
    eventually("the outage is seen", || gateway.report.peers().own.registry_error.is_some()).await;
    traffic_flows(&gateway, &logic, 1).await;
    assert!(!link.is_closed());
    assert!(gateway.role.is_open.load(Ordering::SeqCst));

    // A lost link is dialled again from what the registry said last.
    link.close();
    eventually("another link", || gateway.link("logic-1").is_some_and(|link| link.is_usable()))
        .await;
    traffic_flows(&gateway, &logic, 2).await;

    memory.set_outage(None);
    traffic_flows(&gateway, &logic, 3).await;
    gateway.running.leave().await;
    logic.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_forgets_everybody_and_remembers_them_cuts_no_link() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    let link = gateway.link("logic-1").unwrap();
    let entries = memory.find("chat", &[]).await.unwrap();
    memory.deregister("logic-1").await.unwrap();
    memory.deregister("gateway-1").await.unwrap();
    eventually("both are forgotten", || gateway.health("logic-1") == "unregistered").await;
    traffic_flows(&gateway, &logic, 1).await;

    memory.register(&entries[0]).await.unwrap();
    eventually("it is remembered", || gateway.health("logic-1") == "passing").await;
    let opened = Duration::from_millis(500);
    always(opened, "the link was cut for another one", || {
        !link.is_closed() && gateway.link("logic-1").is_some_and(|now| now.opened == link.opened)
    })
    .await;
    traffic_flows(&gateway, &logic, 2).await;

    // Remembered, it is dialled again once the link is lost.
    link.close();
    eventually("another link", || gateway.link("logic-1").is_some_and(|link| link.is_usable()))
        .await;
    gateway.running.leave().await;
    logic.running.leave().await;
}
