//! Two servers with one id in one registry: exactly one stays.

use std::sync::Arc;

use imago_naming::{Memory, Naming};

use super::support::*;
use crate::{Clash, Error, monitor::MonitorSource};

fn clash(ended: Result<(), Error>) -> Clash {
    match ended {
        Err(Error::Clash(clash)) => *clash,
        other => panic!("expected a clash, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_logic_server_asks_the_first_and_ends_before_it_registers() {
    let memory = Memory::new();
    let (gateway, first) = pair(&memory).await;
    let before = memory.instances("chat").await.unwrap();
    let link = gateway.link("logic-1").unwrap();
    let second = Logic::start("logic-1", Arc::new(memory.clone())).await;
    let (own, other) = (second.handle.incarnation(), first.handle.incarnation());
    let lost = clash(second.running.ended().await);
    assert_eq!(lost.service_id().as_str(), "logic-1");
    assert_eq!((lost.own.incarnation, lost.rival.claim.incarnation), (own, other));
    assert_eq!(memory.instances("chat").await.unwrap(), before);
    assert!(!link.is_closed());
    first.running.leave().await;
    gateway.running.leave().await;
}

/// Neither has a port that tells whether it lives.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_be_asked_keeps_its_id_and_its_link() {
    let memory = Memory::new();
    let (first, logic) = pair(&memory).await;
    let link = first.link("logic-1").unwrap();
    let second = Gateway::start("gateway-1", Arc::new(memory.clone()));
    let lost = clash(second.running.ended().await);
    assert_eq!(lost.rival.claim.incarnation, first.handle.incarnation());
    let entries = memory.instances("gateway").await.unwrap();
    let incarnation = first.handle.incarnation().to_string();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(entry.service.meta("incarnation"), Some(&*incarnation));
    assert!(!link.is_closed(), "its link was cut");
    first.running.leave().await;
    logic.running.leave().await;
}

/// Each gateway is in a registry of its own, as when these are cut off from each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_clash_that_no_registry_shows_cuts_no_link_and_the_refused_one_ends() {
    let (memory, other) = (Memory::new(), Memory::new());
    let (first, logic) = pair(&memory).await;
    let link = first.link("logic-1").unwrap();
    let entry = memory.instances("chat").await.unwrap().remove(0);
    other.register(&entry.service).await.unwrap();
    let second = Gateway::start("gateway-1", Arc::new(other.clone()));
    let refused = || second.report.ready().unwrap_err().join(", ");
    eventually("the second one waits", || refused().contains("logic-1")).await;
    let lost = clash(second.running.ended_within(2 * SOON).await);
    assert_eq!(lost.rival.claim.incarnation, first.handle.incarnation());
    assert!(!link.is_closed(), "its link was cut");
    first.running.leave().await;
    logic.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_gateways_that_start_at_once_one_stays() {
    for _ in 0..20 {
        let memory = Memory::new();
        let twins = [(); 2].map(|()| Gateway::start("gateway-1", Arc::new(memory.clone())));
        let one_has_ended = || twins.iter().any(|twin| twin.running.has_ended());
        eventually("one of them has ended", one_has_ended).await;
        let [a, b] = twins;
        let (ended, stays) = if a.running.has_ended() { (a, b) } else { (b, a) };
        let incarnation = stays.handle.incarnation();
        assert_eq!(clash(ended.running.ended().await).rival.claim.incarnation, incarnation);
        let entries = memory.instances("gateway").await.unwrap();
        let incarnation = incarnation.to_string();
        assert!(
            entries.iter().any(|entry| entry.service.meta("incarnation") == Some(&incarnation))
        );
        stays.running.leave().await;
        assert_eq!(memory.instances("gateway").await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_one_of_its_id_that_is_leaving() {
    let memory = Memory::new();
    let first = Logic::start("logic-1", Arc::new(memory.clone())).await;
    let entries = || async { memory.instances("chat").await.unwrap() };
    while entries().await.is_empty() {
        tokio::task::yield_now().await;
    }
    first.role.is_never_idle.store(true, std::sync::atomic::Ordering::SeqCst);
    let leaving = tokio::spawn(first.running.leave());
    while entries().await.iter().any(|entry| entry.service.state().as_str() != "leaving") {
        tokio::task::yield_now().await;
    }
    let second = Logic::start("logic-1", Arc::new(memory.clone())).await;
    leaving.await.unwrap();
    let incarnation = second.handle.incarnation().to_string();
    while !entries()
        .await
        .iter()
        .any(|entry| entry.service.meta("incarnation") == Some(&incarnation))
    {
        tokio::task::yield_now().await;
    }
    second.running.leave().await;
}
