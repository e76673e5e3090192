//! Logic servers that cannot do their work: others do it, where there are any.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use imago_naming::Memory;
use imago_proto::SessionId;

use super::support::*;
use crate::{Lane, Route, Trouble, monitor::MonitorSource};

fn lane(gateway: &Gateway, account: &str, owner: &Arc<Answers>) -> Lane {
    let route = Route { app: "app".into(), account: account.into() };
    gateway.handle.open_lane(SessionId(1), route, owner.clone())
}

fn trouble() -> Option<Trouble> {
    Some(Trouble { why: "the disk is full".to_owned(), since: Instant::now() })
}

/// A gateway with two servers.
async fn three(memory: &Memory) -> (Gateway, Logic, Logic) {
    let (gateway, first) = pair(memory).await;
    let second = Logic::start("logic-2", Arc::new(memory.clone())).await;
    eventually("the second is linked", || {
        gateway.link("logic-2").is_some_and(|link| link.is_usable())
    })
    .await;
    (gateway, first, second)
}

/// What the gateway has been told by a server.
async fn hears(gateway: &Gateway, server: &str, state: &str) {
    eventually(&format!("{server} is {state}"), || {
        gateway.report.peers().peers.iter().any(|peer| peer.id == server && peer.state == state)
    })
    .await;
}

fn pending(gateway: &Gateway) -> [usize; 2] {
    ["logic-1", "logic-2"].map(|id| gateway.link(id).map_or(0, |link| link.pending()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_to_a_fit_server_in_its_order() {
    let memory = Memory::new();
    let (gateway, first, second) = three(&memory).await;
    for logic in [&first, &second] {
        logic.role.is_stuck.send_replace(true);
    }
    let owner = Arc::new(Answers::default());
    let lane = lane(&gateway, "alice", &owner);
    lane.submit(request(1));
    let (unfit, fit, before, after) = match pending(&gateway) {
        [1, 0] => ("logic-1", &second, &first, [0, 2]),
        _ => ("logic-2", &first, &second, [2, 0]),
    };
    before.handle.set_trouble(trouble()).await;
    hears(&gateway, unfit, "unfit").await;
    lane.submit(request(2));
    lane.submit(request(3));
    assert_eq!(pending(&gateway).iter().sum::<usize>(), 1, "the first is not answered yet");

    before.role.is_stuck.send_replace(false);
    eventually("the others are with the fit one", || pending(&gateway) == after).await;
    fit.role.is_stuck.send_replace(false);
    eventually("all are answered", || lane.in_flight() == 0).await;
    // This server answers as it likes what it has in their order.
    let answers = owner.0.lock().unwrap().clone();
    assert_eq!((answers.len(), answers.first()), (3, Some(&(1, 0))), "{answers:?}");

    // What sessions miss is asked of the fit one alone.
    let asked = |logic: &Logic| logic.role.redeliveries.load(Ordering::SeqCst);
    for times in 1..=3 {
        assert!(gateway.links.forwarder.redeliver(Vec::new()));
        eventually("it is asked", || asked(fit) == times).await;
    }
    assert_eq!(asked(before), 0);

    // Back again, it gets what is its own, and may have pushed less than it should have.
    let owed = || gateway.role.owed.lock().unwrap().len();
    let owed_before = owed();
    before.handle.set_trouble(None).await;
    hears(&gateway, unfit, "adult").await;
    eventually("all sessions count as owed", || owed() > owed_before).await;
    before.role.is_stuck.send_replace(true);
    lane.submit(request(4));
    assert_eq!(gateway.link(unfit).map(|link| link.pending()), Some(1));
    before.role.is_stuck.send_replace(false);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_unfit_requests_go_to_them_and_no_door_closes() {
    let memory = Memory::new();
    let (gateway, first, second) = three(&memory).await;
    for (id, logic) in [("logic-1", &first), ("logic-2", &second)] {
        logic.handle.set_trouble(trouble()).await;
        hears(&gateway, id, "unfit").await;
    }
    let owner = Arc::new(Answers::default());
    for (number, account) in ["alice", "bob", "carol", "dave"].into_iter().enumerate() {
        let lane = lane(&gateway, account, &owner);
        lane.submit(request(number as u32));
        eventually("it is answered", || lane.in_flight() == 0).await;
    }
    assert!(owner.0.lock().unwrap().iter().all(|(_, status)| *status == 0));
    assert_eq!(gateway.report.peers().own.state, "adult");
    assert_eq!(gateway.report.ready(), Ok(()), "clients can log in");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfit_server_says_why_it_is_not_ready_and_each_new_link_hears_of_it() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    eventually("ready", || logic.report.ready().is_ok()).await;
    logic.handle.set_trouble(trouble()).await;
    eventually("not ready", || logic.report.ready().is_err()).await;
    let reasons = logic.report.ready().unwrap_err();
    assert!(reasons[0].starts_with("unfit: the disk is full, for 0."), "{reasons:?}");
    let own = logic.report.peers().own;
    assert_eq!(own.state, "unfit");
    assert!(own.trouble.is_some_and(|trouble| trouble.contains("the disk is full")));

    hears(&gateway, "logic-1", "unfit").await;
    let link = gateway.link("logic-1").unwrap();
    link.close();
    eventually("another link", || {
        gateway.link("logic-1").is_some_and(|now| now.opened != link.opened && now.is_usable())
    })
    .await;
    hears(&gateway, "logic-1", "unfit").await;
    logic.handle.set_trouble(None).await;
    eventually("ready again", || logic.report.ready().is_ok()).await;
    assert_eq!(logic.report.peers().own.trouble, None);
}
