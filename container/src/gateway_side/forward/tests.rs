use std::{
    cell::RefCell,
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use imago_proto::{Incarnation, Status, link::Reply};
use proptest::prelude::*;

use super::core::*;
use crate::{ForwardConfig, LaneOwner, PeerId, Request};

fn server(number: u64) -> PeerId {
    PeerId { service_id: format!("l{number}").into(), incarnation: Incarnation(number) }
}

fn request(number: u64) -> Request {
    Request {
        command: "chat.user.talk".into(),
        sequence: number as u32,
        dest: "bob".into(),
        body: Bytes::new(),
        acked: Vec::new(),
    }
}

/// Servers that note what they get.
#[derive(Default)]
struct Fake {
    up: RefCell<Vec<PeerId>>,
    draining: RefCell<BTreeSet<PeerId>>,
    full: RefCell<bool>,
    sent: RefCell<Vec<(PeerId, u64)>>,
    /// What the session waited for, each time.
    own: RefCell<Vec<usize>>,
    owed: RefCell<i64>,
    held: RefCell<usize>,
    places: usize,
    /// Comes up in the moment in which a request is held.
    late: RefCell<Option<PeerId>>,
}

impl Fake {
    fn with(up: &[u64]) -> Self {
        let up = up.iter().map(|number| server(*number)).collect();
        Self { up: RefCell::new(up), places: 100, ..Self::default() }
    }

    fn sent_to(&self, number: u64) -> Vec<u64> {
        let sent = self.sent.borrow();
        sent.iter().filter(|(to, _)| *to == server(number)).map(|(_, id)| *id).collect()
    }

    fn down(&self, number: u64) {
        self.up.borrow_mut().retain(|up| *up != server(number));
    }
}

impl Servers for Fake {
    fn pick(&self, _: Option<&PeerId>) -> Option<PeerId> {
        let draining = self.draining.borrow();
        self.up.borrow().iter().find(|up| !draining.contains(up)).cloned()
    }

    fn availability(&self, server: &PeerId) -> Availability {
        if self.draining.borrow().contains(server) {
            Availability::Draining
        } else {
            Availability::Usable
        }
    }

    fn send(&self, server: &PeerId, id: u64, own: usize, _: &Request) -> Sent {
        if !self.up.borrow().contains(server) {
            return Sent::Gone;
        }
        if *self.full.borrow() {
            return Sent::Full;
        }
        self.sent.borrow_mut().push((server.clone(), id));
        self.own.borrow_mut().push(own);
        *self.owed.borrow_mut() += 1;
        Sent::Queued
    }

    fn answered(&self, server: &PeerId, _: Duration) {
        self.settle(server);
    }

    fn settle(&self, _: &PeerId) {
        *self.owed.borrow_mut() -= 1;
    }

    fn hold(&self) -> bool {
        let mut held = self.held.borrow_mut();
        if *held >= self.places {
            return false;
        }
        *held += 1;
        self.up.borrow_mut().extend(self.late.take());
        true
    }

    fn release(&self) {
        *self.held.borrow_mut() -= 1;
    }
}

/// An owner that notes its answers.
#[derive(Default)]
struct Owner {
    refused: Mutex<Vec<(u32, Status)>>,
}

impl Owner {
    fn refused(&self) -> Vec<(u32, Status)> {
        self.refused.lock().unwrap().clone()
    }
}

impl LaneOwner for Owner {
    fn answered(&self, _: &Request, _: Reply, _: Bytes) {}

    fn refused(&self, request: &Request, status: Status, _: &str) {
        self.refused.lock().unwrap().push((request.sequence, status));
    }
}

fn lane() -> (LaneCore, Owner, Instant) {
    (LaneCore::new(ForwardConfig::default()), Owner::default(), Instant::now())
}

#[test]
fn requests_stay_with_one_server_while_any_is_in_flight() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[1]);
    lane.submit(1, request(1), &servers, &owner, now);
    servers.up.borrow_mut().insert(0, server(0));
    lane.submit(2, request(2), &servers, &owner, now);
    assert_eq!(servers.sent_to(1), [1, 2]);
    assert!(lane.answered(1, &servers, now).is_some());
    assert!(lane.answered(2, &servers, now).is_some());
    lane.submit(3, request(3), &servers, &owner, now);
    assert_eq!(servers.sent_to(0), [3]);
    assert_eq!(*servers.owed.borrow(), 1);
    assert_eq!(*servers.own.borrow(), [0, 1, 0]);
}

#[test]
fn a_lost_servers_requests_go_to_another_in_their_order() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[1]);
    for id in 1..=3 {
        lane.submit(id, request(id), &servers, &owner, now);
    }
    assert!(lane.answered(2, &servers, now).is_some());
    servers.down(1);
    servers.up.borrow_mut().push(server(2));
    lane.lost(&server(1), &servers, &owner, now);
    assert_eq!(servers.sent_to(2), [1, 3]);
    assert!(lane.answered(2, &servers, now).is_none(), "already answered");
    assert!(owner.refused().is_empty());
}

#[test]
fn without_a_server_requests_are_held_and_then_answered_302() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[]);
    lane.submit(1, request(1), &servers, &owner, now);
    assert_eq!(*servers.held.borrow(), 1);
    lane.tick(&servers, &owner, now + Duration::from_secs(1));
    assert!(owner.refused().is_empty());
    lane.tick(&servers, &owner, now + Duration::from_secs(2));
    assert_eq!(owner.refused(), [(1, Status::ServiceNotFound)]);
    assert_eq!(*servers.held.borrow(), 0);
}

/// Its servers' answers may lie in the sockets, unread.
#[test]
fn a_gateway_that_stood_still_gives_what_is_under_way_the_time_anew() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[1]);
    lane.submit(1, request(1), &servers, &owner, now);
    servers.draining.borrow_mut().insert(server(1));
    lane.submit(2, request(2), &servers, &owner, now);
    let still = Duration::from_secs(8);
    lane.postpone(still);
    let config = ForwardConfig::default();
    let tick = |lane: &mut LaneCore, after: Duration| {
        lane.tick(&servers, &owner, now + after);
        owner.refused().len()
    };
    assert_eq!(tick(&mut lane, still + config.hold - Duration::from_millis(1)), 0);
    assert_eq!(tick(&mut lane, still + config.hold), 1);
    assert_eq!(tick(&mut lane, still + config.timeout - Duration::from_millis(1)), 1);
    assert_eq!(tick(&mut lane, still + config.timeout), 2);
}

#[test]
fn held_requests_go_to_the_first_server_that_comes() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[]);
    lane.submit(1, request(1), &servers, &owner, now);
    lane.submit(2, request(2), &servers, &owner, now);
    servers.up.borrow_mut().push(server(7));
    lane.pump(&servers, &owner, now);
    assert_eq!(servers.sent_to(7), [1, 2]);
    assert_eq!(*servers.held.borrow(), 0);
}

#[test]
fn a_server_that_comes_while_a_request_is_being_held_is_not_missed() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[]);
    *servers.late.borrow_mut() = Some(server(7));
    lane.submit(1, request(1), &servers, &owner, now);
    assert_eq!(servers.sent_to(7), [1]);
    assert_eq!(*servers.held.borrow(), 0);
}

#[test]
fn a_silent_server_and_too_many_lost_ones_are_answered_for_with_300() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[1]);
    lane.submit(1, request(1), &servers, &owner, now);
    lane.tick(&servers, &owner, now + Duration::from_secs(5));
    assert_eq!(owner.refused(), [(1, Status::SystemException)]);

    lane.submit(2, request(2), &servers, &owner, now);
    for lost in 1..=3 {
        servers.down(lost);
        servers.up.borrow_mut().push(server(lost + 1));
        lane.lost(&server(lost), &servers, &owner, now);
    }
    assert_eq!(owner.refused().last(), Some(&(2, Status::SystemException)));
    assert_eq!(lane.len(), 0);
}

#[test]
fn a_draining_server_gets_no_more_and_the_next_waits_for_its_last_answer() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[1, 2]);
    lane.submit(1, request(1), &servers, &owner, now);
    servers.draining.borrow_mut().insert(server(1));
    lane.submit(2, request(2), &servers, &owner, now);
    assert_eq!(servers.sent_to(2), [0; 0], "order: the first is not answered yet");
    lane.answered(1, &servers, now);
    lane.pump(&servers, &owner, now);
    assert_eq!(servers.sent_to(2), [2]);
}

#[test]
fn a_full_queue_and_too_many_held_are_answered_busy() {
    let (mut lane, owner, now) = lane();
    let servers = Fake::with(&[1]);
    *servers.full.borrow_mut() = true;
    lane.submit(1, request(1), &servers, &owner, now);
    assert_eq!(owner.refused(), [(1, Status::SystemException)]);

    let crowded = Fake { places: 1, ..Fake::with(&[]) };
    lane.submit(2, request(2), &crowded, &owner, now);
    lane.submit(3, request(3), &crowded, &owner, now);
    assert_eq!(owner.refused().last(), Some(&(3, Status::SystemException)));
}

proptest! {
    /// Whatever happens, each request ends in exactly one answer, each server gets requests in
    /// their order, and nothing is owed or held in the end.
    #[test]
    fn every_request_is_answered_once_and_order_holds(
        steps in proptest::collection::vec((0_u8..7, 0_u64..4), 1..120)
    ) {
        let (mut lane, owner, mut now) = lane();
        let servers = Fake::with(&[0]);
        let (mut next, mut answered) = (1, Vec::new());
        for (what, number) in steps {
            match what {
                0 | 1 => {
                    lane.submit(next, request(next), &servers, &owner, now);
                    next += 1;
                }
                2 => {
                    let first = servers.sent.borrow().iter().map(|(_, id)| *id)
                        .find(|id| !answered.contains(id));
                    if let Some(id) = first && lane.answered(id, &servers, now).is_some() {
                        answered.push(id);
                        lane.pump(&servers, &owner, now);
                    }
                }
                3 => {
                    servers.down(number);
                    lane.lost(&server(number), &servers, &owner, now);
                }
                4 => {
                    if !servers.up.borrow().contains(&server(number)) {
                        servers.up.borrow_mut().push(server(number));
                        lane.pump(&servers, &owner, now);
                    }
                }
                5 => now += Duration::from_millis(700),
                _ => lane.tick(&servers, &owner, now),
            }
            prop_assert_eq!(lane.deadline(), lane.deadlines().min());
        }
        servers.up.borrow_mut().clear();
        lane.tick(&servers, &owner, now + Duration::from_secs(60));
        lane.tick(&servers, &owner, now + Duration::from_secs(120));
        prop_assert_eq!(lane.len(), 0);
        prop_assert_eq!(*servers.held.borrow(), 0);
        let mut ends: Vec<u64> = owner.refused().iter().map(|(id, _)| u64::from(*id)).collect();
        ends.extend(&answered);
        ends.sort_unstable();
        prop_assert_eq!(ends, (1..next).collect::<Vec<_>>());
    }
}
