//! Logins are stamped in the order in which they come, whatever the gateways' wall clocks say.

use std::sync::Arc;

use imago_naming::Memory;
use imago_proto::{Stamp, link::Session};

use super::support::*;
use crate::link::FrameSink;
use imago_kit::unix_nanos;

const HOUR: i64 = 3_600_000_000_000;

/// Two gateways, of which the clock of the first is an hour ahead, with a logic server.
async fn cluster(memory: &Memory) -> (Gateway, Gateway, Logic) {
    let (ahead, logic) = pair(memory).await;
    let right = Gateway::start("gateway-2", Arc::new(memory.clone()));
    right.grown_up().await;
    (ahead, right, logic)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_comes_after_all_that_a_logic_server_was_told_of() {
    let (ahead, right, logic) = cluster(&Memory::new()).await;
    for number in 1..20 {
        // What its wall clock says now.
        ahead.links.heard(Stamp::at(unix_nanos() + HOUR));
        let first = ahead.handle.login_stamp().await;
        assert!(first.unix_millis() >= Stamp::at(unix_nanos() + HOUR / 2).unix_millis());
        let login = Session { order: first.0, ..session(number) };
        ahead.handle.session_up(&login).await;
        eventually("the logic server is told", || {
            logic.role.sessions.lock().unwrap().iter().any(|(_, id)| *id == number)
        })
        .await;
        let second = right.handle.login_stamp().await;
        assert!(first < second, "{first:?}, {second:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_link_is_told_how_far_the_stamps_are() {
    let memory = Memory::new();
    let (ahead, right, logic) = cluster(&memory).await;
    let far = Stamp::at(unix_nanos() + HOUR);
    ahead.links.heard(far);
    let login = Session { order: ahead.handle.login_stamp().await.0, ..session(1) };
    ahead.handle.session_up(&login).await;
    let second = Logic::start("logic-2", Arc::new(memory)).await;
    for gateway in [&ahead, &right] {
        eventually("it is linked with both", || {
            gateway.link("logic-2").is_some_and(|link| link.is_usable())
        })
        .await;
    }
    // The one that was told when the login came leaves: the other one was told of it by the sync.
    logic.running.leave().await;
    assert!(right.handle.login_stamp().await > far);
    drop(second);
}
