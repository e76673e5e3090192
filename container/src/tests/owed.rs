//! A gateway is told when pushes may be missing at its sessions, and has a server push again.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use imago_naming::Memory;
use imago_proto::link::{Missing, Push};

use super::support::*;

/// All sessions.
const ALL: [u64; 0] = [];

fn take(gateway: &Gateway) -> Vec<Vec<u64>> {
    mem::take(&mut gateway.role.owed.lock().unwrap())
}

async fn are_all_owed(gateway: &Gateway, why: &str) {
    eventually(why, || gateway.role.owed.lock().unwrap().iter().any(|of| *of == ALL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_are_owed_when_a_link_is_lost_and_again_when_it_is_back() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    take(&gateway);
    let link = gateway.link("logic-1").unwrap();
    link.close();
    link.ended().await;
    are_all_owed(&gateway, "owed when it is lost").await;
    eventually("another link", || gateway.link("logic-1").is_some_and(|link| link.is_usable()))
        .await;
    eventually("owed when it is back", || gateway.role.owed.lock().unwrap().len() >= 2).await;
    assert!(take(&gateway).iter().all(|of| *of == ALL));

    // A server that ends is lost too.
    let further = Logic::start("logic-2", Arc::new(memory.clone())).await;
    eventually("it is linked", || gateway.link("logic-2").is_some_and(|link| link.is_usable()))
        .await;
    take(&gateway);
    further.running.leave().await;
    are_all_owed(&gateway, "owed when it has left").await;
    gateway.running.leave().await;
    logic.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_at_which_sessions_pushes_may_be_missing() {
    let (gateway, logic) = pair(&Memory::new()).await;
    take(&gateway);
    let peer = gateway.links.identity.peer.clone();
    logic.handle.owed(&peer, vec![7, 9]);
    logic.handle.owed_everywhere();
    eventually("both are told", || gateway.role.owed.lock().unwrap().len() == 2).await;
    assert_eq!(take(&gateway), [vec![7, 9], ALL.to_vec()]);
    gateway.running.leave().await;
    logic.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_are_owed_when_a_server_has_dropped_pushes() {
    let mut small = config();
    small.link.queue_frames = 16;
    let memory = Memory::new();
    let logic = Logic::configured("logic-1", Arc::new(memory.clone()), small).await;
    let gateway = Gateway::start("gateway-1", Arc::new(memory.clone()));
    gateway.grown_up().await;
    take(&gateway);
    let peer = gateway.links.identity.peer.clone();
    eventually("more is pushed than the queue holds", || {
        for _ in 0..1000 {
            logic.handle.push(&peer, Push::default(), "pushed".into());
        }
        gateway.role.owed.lock().unwrap().iter().any(|of| *of == ALL)
    })
    .await;
    gateway.running.leave().await;
    logic.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivery_is_asked_of_a_server_that_takes_requests_and_of_none_where_there_is_none() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    let missing = || vec![Missing { session: 1, ..Missing::default() }];
    assert!(gateway.handle.redeliver(missing()));
    let asked = || logic.role.redeliveries.load(Ordering::SeqCst);
    eventually("it is asked", || asked() == 1).await;
    logic.running.leave().await;
    eventually("none is left", || !gateway.handle.has_adult()).await;
    assert!(!gateway.handle.redeliver(missing()));
    gateway.running.leave().await;
}
