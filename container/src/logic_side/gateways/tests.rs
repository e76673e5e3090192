use std::collections::VecDeque;

use bytes::Bytes;
use imago_proto::{
    Incarnation,
    link::{Kick, Push},
};
use tokio::time::timeout;

use super::*;

const FRAMES: usize = 4;

fn gateways() -> Arc<Gateways> {
    let config = LinkConfig { queue_frames: FRAMES, ..LinkConfig::default() };
    let (events, _) = mpsc::channel(16);
    Arc::new(Gateways::new(config, events))
}

fn peer(id: &str, incarnation: u64) -> PeerId {
    PeerId { service_id: id.into(), incarnation: Incarnation(incarnation) }
}

fn push(number: u64) -> LinkFrame {
    LinkFrame::with_payload(
        Kind::Push(Push { sessions: vec![number], ..Push::default() }),
        Bytes::new(),
    )
}

fn kick(session: u64) -> LinkFrame {
    LinkFrame::new(Kind::Kick(Kick { session }))
}

fn state(state: ServerState) -> Kind {
    Kind::State(State { state: state.into(), excluded: Vec::new() })
}

fn admit(gateways: &Gateways, peer: &PeerId) -> Arc<Link> {
    gateways.admit(peer, CancellationToken::new()).unwrap()
}

/// What the link's writer would send now.
async fn taken(link: &Link) -> Vec<Kind> {
    let mut frames = VecDeque::new();
    let took = timeout(Duration::from_secs(1), link.queue().filled()).await;
    link.queue().take(&mut frames);
    took.expect("frames wait");
    link.queue().written();
    frames.into_iter().map(|frame| frame.kind).collect()
}

#[tokio::test]
async fn a_link_begins_with_the_state_and_then_has_what_was_parked() {
    let gateways = gateways();
    let peer = peer("gateway-1", 1);
    let lost = admit(&gateways, &peer);
    assert_eq!(taken(&lost).await, [state(ServerState::Young)]);
    lost.close();
    assert!(gateways.lost(&lost).is_some(), "it may come back");

    // More than there is room for.
    for number in 0..FRAMES as u64 + 3 {
        gateways.push(&peer, push(number));
    }
    gateways.announce(&State { state: ServerState::Adult.into(), ..State::default() });
    let back = admit(&gateways, &peer);
    let frames = taken(&back).await;
    assert_eq!(frames[0], state(ServerState::Adult));
    assert_eq!(frames.len(), 1 + FRAMES);
    assert!(!back.is_closed());
}

#[tokio::test]
async fn what_is_announced_while_a_link_comes_up_is_the_last_that_it_hears() {
    let gateways = gateways();
    let link = admit(&gateways, &peer("gateway-1", 1));
    gateways.announce(&State { state: ServerState::Adult.into(), ..State::default() });
    assert_eq!(taken(&link).await, [state(ServerState::Young), state(ServerState::Adult)]);
}

#[tokio::test]
async fn one_stuck_gateway_keeps_no_other_from_hearing_of_a_state() {
    let gateways = gateways();
    let peers = ["a", "b", "c", "d"].map(|id| peer(id, 1));
    let links = peers.each_ref().map(|peer| admit(&gateways, peer));
    let (stuck, healthy) = links.split_last().unwrap();
    // Nobody takes these.
    for number in 0..2 * FRAMES as u64 {
        gateways.kick(&stuck.peer, kick(number));
    }
    gateways.announce(&State { state: ServerState::Adult.into(), ..State::default() });
    for link in healthy {
        assert_eq!(taken(link).await, [state(ServerState::Young), state(ServerState::Adult)]);
    }
    assert!(stuck.is_closed(), "it took nothing");
}

#[tokio::test]
async fn a_kickout_has_room_where_pushes_have_none() {
    let gateways = gateways();
    let peer = peer("gateway-1", 1);
    let link = admit(&gateways, &peer);
    for number in 0..FRAMES as u64 + 3 {
        gateways.push(&peer, push(number));
    }
    gateways.kick(&peer, kick(7));
    assert_eq!(taken(&link).await.last(), Some(&Kind::Kick(Kick { session: 7 })));
}

#[tokio::test]
async fn nothing_of_an_earlier_life_reaches_a_later_one() {
    let gateways = gateways();
    let (first, second) = (peer("gateway-1", 1), peer("gateway-1", 2));
    let old = admit(&gateways, &first);
    gateways.push(&first, push(1));
    let new = admit(&gateways, &second);
    assert!(old.is_closed());
    gateways.push(&first, push(2));
    gateways.kick(&first, kick(3));
    assert_eq!(taken(&new).await, [state(ServerState::Young)]);
    // The end of the old link is not the end of the new one.
    assert!(gateways.lost(&old).is_none());
    assert!(gateways.link_with(&second.service_id).is_some());
}

#[tokio::test]
async fn a_second_link_of_the_same_life_is_refused_until_the_first_has_ended() {
    let gateways = gateways();
    let peer = peer("gateway-1", 1);
    let first = admit(&gateways, &peer);
    assert!(gateways.admit(&peer, CancellationToken::new()).is_none());
    first.close();
    assert!(gateways.admit(&peer, CancellationToken::new()).is_none(), "it may still take frames");
    assert!(gateways.lost(&first).is_some());
    admit(&gateways, &peer);
}
