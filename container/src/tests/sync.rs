//! A link that comes up tells of all sessions, many in a frame.

use std::sync::Arc;

use bytes::Bytes;
use imago_naming::Memory;
use imago_proto::{
    LinkFrame,
    link::{Session, SessionsUp, frame::Kind},
};

use super::support::*;

/// More than fit into some frames.
const MANY: u64 = 3000;

async fn has_all(logic: &Logic) {
    let all = || logic.role.sessions.lock().unwrap().len() == MANY as usize;
    eventually("all sessions are told", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_server_is_told_of_all_sessions_some_at_a_time() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    for id in 0..MANY {
        let told = Session { account: "a long name".repeat(4), ..session(id) };
        gateway.handle.session_up(&told).await;
    }
    let further = Logic::start("logic-2", Arc::new(memory.clone())).await;
    has_all(&further).await;
    let batches = further.role.batches.lock().unwrap().clone();
    assert!(batches.iter().all(|(told, _)| *told <= 512), "{batches:?}");
    let mut left = MANY;
    for (told, said) in batches {
        assert_eq!(said, left, "what is left is said");
        left -= told as u64;
    }
    assert_eq!(left, 0);
    further.running.leave().await;
    logic.running.leave().await;
    gateway.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_batch_ends_its_link_and_the_next_one_tells_all_again() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    for id in 0..MANY {
        gateway.handle.session_up(&session(id)).await;
    }
    has_all(&logic).await;
    let link = gateway.link("logic-1").unwrap();
    let broken = Bytes::from_static(b"\x05\x08");
    let frame = LinkFrame::with_payload(
        Kind::SessionsUp(SessionsUp { left: 9, ..SessionsUp::default() }),
        broken,
    );
    link.try_send(frame).unwrap();
    link.ended().await;
    logic.role.sessions.lock().unwrap().clear();
    has_all(&logic).await;
    gateway.running.leave().await;
    logic.running.leave().await;
}
