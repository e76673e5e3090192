//! A gateway that reaches no logic server.

use super::*;

const ISOLATED: Duration = Duration::from_secs(5);

/// A gateway that has lost its only link.
fn cut(now: Instant) -> GatewayCore {
    let mut core = adult_gateway(now);
    core.on(GatewayEvent::LinkDown(peer("l1", 1)), now);
    core
}

fn tick(core: &mut GatewayCore, now: Instant) -> Vec<GatewayAction> {
    core.on(GatewayEvent::Tick, now)
}

#[test]
fn a_gateway_that_is_cut_from_servers_that_work_hands_its_clients_over() {
    let now = Instant::now();
    let mut core = cut(now);
    assert!(tick(&mut core, now + ISOLATED - Duration::from_millis(1)).is_empty());
    assert_eq!(core.phase(), GatewayPhase::Adult);
    assert_eq!(tick(&mut core, now + ISOLATED), [GatewayAction::Isolate]);
    assert_eq!((core.phase(), core.alone_since()), (GatewayPhase::Isolated, Some(now)));
    assert!(tick(&mut core, now + ISOLATED * 2).is_empty(), "once is enough");

    core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Adult), now + ISOLATED);
    assert_eq!(core.phase(), GatewayPhase::Isolated, "it does not have the sessions yet");
    let back = core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now + ISOLATED);
    assert_eq!(back, [GatewayAction::OpenDoors]);
    assert_eq!(core.alone_since(), None);
}

#[test]
fn clients_are_held_where_the_registry_knows_no_server_that_works() {
    let now = Instant::now();
    let leaving = LogicRecord { leaving: true, ..logic("l1", true) };
    let gone = LogicRecord {
        critical_since: now.checked_sub(Timing::default().critical_grace * 2),
        ..logic("l1", true)
    };
    let reborn = LogicRecord { peer: peer("l1", 2), ..logic("l1", false) };
    for servers in [vec![], vec![leaving], vec![gone], vec![reborn]] {
        let mut core = cut(now);
        core.on(GatewayEvent::Snapshot(servers.clone()), now);
        for seconds in [5, 60, 3600] {
            let actions = tick(&mut core, now + Duration::from_secs(seconds));
            assert!(actions.is_empty(), "{servers:?}: {actions:?}");
        }
        assert_eq!(core.phase(), GatewayPhase::Adult);
    }
}

#[test]
fn a_registry_that_cannot_be_read_says_nothing_of_whether_others_work() {
    let now = Instant::now();
    let mut core = cut(now);
    core.on(GatewayEvent::Snapshot(Vec::new()), now);
    assert!(tick(&mut core, now + ISOLATED).is_empty());
    let actions = core.on(GatewayEvent::StaleSnapshot(Vec::new()), now + ISOLATED);
    assert_eq!(actions, [GatewayAction::Isolate]);

    // Beside a link it does not matter.
    let mut core = adult_gateway(now);
    core.on(GatewayEvent::StaleSnapshot(vec![logic("l1", true)]), now);
    assert!(tick(&mut core, now + ISOLATED * 10).is_empty());
}

#[test]
fn a_server_that_has_just_grown_up_gets_the_same_time_to_be_reached() {
    let now = Instant::now();
    let mut core = cut(now);
    let reborn = |flag_up| LogicRecord { peer: peer("l1", 2), ..logic("l1", flag_up) };
    core.on(GatewayEvent::Snapshot(vec![reborn(false)]), now);
    let later = now + ISOLATED * 3;
    tick(&mut core, later);
    let actions = core.on(GatewayEvent::Snapshot(vec![reborn(true)]), later);
    assert!(!actions.contains(&GatewayAction::Isolate), "its link may be about to come up");
    assert_eq!(tick(&mut core, later + ISOLATED), [GatewayAction::Isolate]);
}

#[test]
fn one_link_of_several_ends_an_isolation_unless_another_server_left_the_gateway_out() {
    let now = Instant::now();
    let excludes = LogicRecord { excluded: vec!["g1".into()], ..logic("l2", true) };
    for (second, opens) in [(logic("l2", true), true), (excludes, false)] {
        let mut core = cut(now);
        core.on(GatewayEvent::Snapshot(vec![logic("l1", true), logic("l2", true)]), now);
        tick(&mut core, now + ISOLATED);
        assert_eq!(core.phase(), GatewayPhase::Isolated);
        core.on(GatewayEvent::Snapshot(vec![logic("l1", true), second]), now + ISOLATED);
        core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Adult), now + ISOLATED);
        let actions = core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now + ISOLATED);
        assert_eq!(actions.contains(&GatewayAction::OpenDoors), opens, "{actions:?}");
    }
}

#[test]
fn an_unfit_server_is_better_than_none() {
    let now = Instant::now();
    let mut core = adult_gateway(now);
    let unfit = GatewayEvent::LinkState { peer: peer("l1", 1), state: ServerState::Unfit };
    core.on(unfit, now);
    assert!(tick(&mut core, now + ISOLATED * 10).is_empty());
    assert_eq!(core.phase(), GatewayPhase::Adult);
    assert_eq!(core.alone_since(), None);
}

#[test]
fn a_gateway_that_has_never_been_open_or_leaves_is_not_isolated() {
    let now = Instant::now();
    let mut young = young_gateway(&[logic("l1", true)], now);
    assert!(tick(&mut young, now + ISOLATED * 10).is_empty());
    let mut leaving = cut(now);
    leaving.on(GatewayEvent::Leave, now);
    assert!(tick(&mut leaving, now + ISOLATED * 10).is_empty());
}
