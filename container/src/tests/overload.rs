//! A logic server that is too slow is asked no more than it can answer.

use std::sync::Arc;

use imago_naming::Memory;
use imago_proto::{SessionId, Status, command};

use super::support::*;
use crate::{Lane, Request, Route, metrics_recorder};

const BUSY: u32 = Status::SystemException.code();

fn lane(gateway: &Gateway, owner: &Arc<Answers>) -> Lane {
    let route = Route { app: "app".into(), account: "alice".into() };
    gateway.handle.open_lane(SessionId(1), route, owner.clone())
}

impl Answers {
    fn with(&self, status: u32) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, of)| *of == status).count()
    }
}

/// How often this process has answered "busy" in place of a logic server.
fn refused() -> u64 {
    let text = metrics_recorder().unwrap().render();
    let line = text.lines().find_map(|line| line.strip_prefix("imago_forwards_refused_total "));
    line.expect("it is there from the start").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_stuck_server_are_soon_refused_at_once_and_served_when_it_goes_on() {
    let before = refused();
    let (gateway, logic) = pair(&Memory::new()).await;
    let owner = Arc::new(Answers::default());
    let lane = lane(&gateway, &owner);
    logic.role.is_stuck.send_replace(true);
    // What comes before anybody can know that the server is stuck waits for it.
    const EARLY: usize = 1000;
    (0..EARLY as u32).for_each(|number| lane.submit(request(number)));
    assert_eq!(owner.with(BUSY), 0);
    eventually("more is refused", || {
        lane.submit(request(5000));
        owner.with(BUSY) > 0
    })
    .await;
    // From now on nothing is added to what waits.
    let waiting = lane.in_flight();
    (6000..7000).for_each(|number| lane.submit(request(number)));
    assert_eq!(lane.in_flight(), waiting);
    // Other tests of this process are refused, too.
    let (counted, told) = (refused() - before, owner.with(BUSY) as u64);
    assert!(told > 1000 && counted >= told, "{counted} counted, {told} told");

    logic.role.is_stuck.send_replace(false);
    eventually("all that were let through are answered", || owner.with(0) >= waiting).await;
    eventually("and as many as ever are let through again", || {
        let refused = owner.with(BUSY);
        (0..EARLY as u32).for_each(|number| lane.submit(request(number)));
        owner.with(BUSY) == refused
    })
    .await;
    eventually("and answered", || lane.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_let_through_to_a_server_that_is_too_slow() {
    let (gateway, logic) = pair(&Memory::new()).await;
    let owner = Arc::new(Answers::default());
    let lane = lane(&gateway, &owner);
    logic.role.is_stuck.send_replace(true);
    (0..1000).for_each(|number| lane.submit(request(number)));
    eventually("more is refused", || {
        lane.submit(request(5000));
        owner.with(BUSY) > 0
    })
    .await;
    let waiting = lane.in_flight();
    lane.submit(Request { command: command::LOGIN_SIGNIN.to_owned(), ..request(6000) });
    assert_eq!(lane.in_flight(), waiting + 1);
    logic.role.is_stuck.send_replace(false);
}
