//! A gateway that reaches no logic server.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use imago_naming::{Memory, Naming, ServiceRegistration};

use super::support::*;
use crate::monitor::MonitorSource;

const ISOLATED: Duration = Duration::from_millis(300);

/// A gateway that is soon isolated, with its only logic server.
async fn pair(memory: &Memory) -> (Gateway, Logic) {
    let logic = Logic::start("logic-1", Arc::new(memory.clone())).await;
    let mut config = config();
    config.timing.isolated = ISOLATED;
    let gateway = Gateway::configured("gateway-1", Arc::new(memory.clone()), config);
    gateway.grown_up().await;
    (gateway, logic)
}

/// Has the gateway dial the server under another address.
async fn replace(memory: &Memory, gateway: &Gateway, entry: &ServiceRegistration) {
    let is_known = || gateway.report.peers().peers.iter().any(|peer| peer.health == "passing");
    memory.deregister(&entry.id).await.unwrap();
    eventually("it is forgotten", || !is_known()).await;
    memory.register(entry).await.unwrap();
    eventually("it is registered again", is_known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hands_its_clients_over_until_it_is_linked_again() {
    let memory = Memory::new();
    let (gateway, _logic) = pair(&memory).await;
    eventually("the flag is up", || gateway.report.ready().is_ok()).await;
    let entry = memory.find("chat", &[]).await.unwrap().remove(0);
    // Dialled from now on at a port without a listener.
    let mut astray = entry.clone();
    astray.port = 9;
    replace(&memory, &gateway, &astray).await;
    gateway.link("logic-1").unwrap().close();

    eventually("the doors are closed", || !gateway.role.is_open.load(Ordering::SeqCst)).await;
    eventually("it says so", || gateway.report.peers().own.state == "isolated").await;
    let reasons = gateway.report.ready().unwrap_err();
    let first = &reasons[0];
    assert!(first.starts_with("isolated: no logic server linked for 0."), "{reasons:?}");
    assert!(first.ends_with("s, clients are handed over"), "{reasons:?}");

    replace(&memory, &gateway, &entry).await;
    gateway.grown_up().await;
    eventually("ready", || gateway.report.ready().is_ok()).await;
    assert_eq!(gateway.report.peers().own.trouble, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_its_clients_where_there_is_no_server_anywhere() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    logic.running.leave().await;
    eventually("it has no server", || gateway.report.ready().is_err()).await;
    always(ISOLATED * 3, "the doors were closed", || gateway.role.is_open.load(Ordering::SeqCst))
        .await;
    let reasons = gateway.report.ready().unwrap_err();
    assert!(reasons[0].starts_with("no logic server linked for"), "{reasons:?}");
    let _next = Logic::start("logic-2", Arc::new(memory.clone())).await;
    eventually("ready", || gateway.report.ready().is_ok()).await;
}
