mod fitness;
mod isolation;

use std::time::{Duration, Instant};

use imago_proto::{Incarnation, link::ServerState};
use proptest::prelude::*;

use super::{model::World, *};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// I1, I2 and I4 hold in whatever order things happen, and I3 once they calm down.
    #[test]
    fn promotion_is_safe_in_any_order_and_ends(
        steps in proptest::collection::vec((any::<u8>(), any::<u16>(), 0_usize..3, 0_usize..3), 0..400)
    ) {
        let mut world = World::new();
        world.start_gateway(0);
        world.start_logic(0);
        for (what, choice, a, b) in steps {
            world.step(what, choice, a, b);
        }
        world.settle();
    }
}

fn peer(id: &str, life: u64) -> PeerId {
    PeerId { service_id: id.into(), incarnation: Incarnation(life) }
}

fn gateway(id: &str) -> GatewayRecord {
    GatewayRecord { peer: peer(id, 1), leaving: false, critical_since: None }
}

fn logic(id: &str, flag_up: bool) -> LogicRecord {
    LogicRecord {
        peer: peer(id, 1),
        flag_up,
        leaving: false,
        critical_since: None,
        excluded: Vec::new(),
    }
}

/// A logic server that knows these gateways.
fn young_logic(gateways: &[GatewayRecord], now: Instant) -> LogicCore {
    let mut core = LogicCore::new(Timing::default());
    core.on(LogicEvent::Visible, now);
    core.on(LogicEvent::Snapshot(gateways.to_vec()), now);
    core
}

fn raise(excluded: &[&str]) -> LogicAction {
    LogicAction::RaiseFlag { excluded: excluded.iter().map(|id| (*id).into()).collect() }
}

fn announce(excluded: &[&str]) -> LogicAction {
    let excluded = excluded.iter().map(|id| (*id).into()).collect();
    LogicAction::AnnounceAdult { fitness: Fitness::Fit, excluded }
}

#[test]
fn a_young_server_waits_for_every_gateway_then_looks_once_more() {
    let now = Instant::now();
    let all = [gateway("g1"), gateway("g2")];
    let mut core = young_logic(&all, now);
    assert!(core.on(LogicEvent::LinkSynced(peer("g1", 1)), now).is_empty());
    assert_eq!(core.waiting_for().keys().map(ServiceId::as_str).collect::<Vec<_>>(), ["g2"]);
    assert_eq!(core.on(LogicEvent::LinkSynced(peer("g2", 1)), now), [raise(&[])]);
    let visible = LogicEvent::FlagVisible { excluded: [].into() };
    assert_eq!(core.on(visible, now), [LogicAction::Reread]);

    // A gateway that came in between is waited for, flag up.
    let late = [gateway("g1"), gateway("g2"), gateway("g3")];
    assert!(core.on(LogicEvent::Reread(Some(late.to_vec())), now).is_empty());
    assert_eq!(core.phase(), LogicPhase::Young);
    assert_eq!(core.on(LogicEvent::LinkSynced(peer("g3", 1)), now), [LogicAction::Reread]);
    let adult = core.on(LogicEvent::Reread(Some(late.to_vec())), now);
    assert_eq!(adult, [announce(&[])]);
}

#[test]
fn a_link_with_an_older_life_of_a_gateway_does_not_count() {
    let now = Instant::now();
    let mut core = young_logic(&[gateway("g1")], now);
    assert!(core.on(LogicEvent::LinkSynced(peer("g1", 7)), now).is_empty());
    assert_eq!(core.on(LogicEvent::LinkSynced(peer("g1", 1)), now), [raise(&[])]);
}

#[test]
fn leaving_and_long_critical_gateways_are_not_waited_for() {
    let now = Instant::now();
    let leaving = GatewayRecord { leaving: true, ..gateway("g1") };
    let critical = GatewayRecord { critical_since: Some(now), ..gateway("g2") };
    let mut core = young_logic(&[leaving, critical], now);
    assert_eq!(core.waiting_for().len(), 1, "a moment of critical is not gone");
    let later = now + Timing::default().critical_grace + Duration::from_secs(1);
    assert_eq!(core.on(LogicEvent::Tick, later), [raise(&[])]);
}

#[test]
fn no_time_alone_promotes_past_a_gateway_without_a_majority() {
    let now = Instant::now();
    let mut core = young_logic(&[gateway("g1"), gateway("g2")], now);
    core.on(LogicEvent::LinkSynced(peer("g1", 1)), now);
    let much_later = now + Duration::from_secs(3600);
    assert!(core.on(LogicEvent::Tick, much_later).is_empty());
    assert_eq!(core.phase(), LogicPhase::Young);
}

#[test]
fn one_broken_gateway_of_three_is_excluded_in_the_registry_before_the_promotion() {
    let now = Instant::now();
    let all = [gateway("g1"), gateway("g2"), gateway("g3")];
    let mut core = young_logic(&all, now);
    core.on(LogicEvent::LinkSynced(peer("g1", 1)), now);
    core.on(LogicEvent::LinkSynced(peer("g2", 1)), now);
    let overdue = now + Timing::default().exclude_after;
    let actions = core.on(LogicEvent::Tick, overdue);
    assert_eq!(actions, [LogicAction::Excluded(vec!["g3".into()]), raise(&["g3"])]);
    let excluded: std::collections::BTreeSet<ServiceId> = ["g3".into()].into();
    core.on(LogicEvent::FlagVisible { excluded }, overdue);
    let adult = core.on(LogicEvent::Reread(Some(all.to_vec())), overdue);
    assert_eq!(adult, [announce(&["g3"])]);

    // Back again: no longer excluded.
    let back = core.on(LogicEvent::LinkSynced(peer("g3", 1)), overdue);
    assert_eq!(back, [raise(&[]), announce(&[])]);
}

#[test]
fn nobody_is_given_up_on_for_the_time_that_this_process_stood_still() {
    let now = Instant::now();
    let timing = Timing::default();
    let critical = GatewayRecord { critical_since: Some(now), ..gateway("g4") };
    let all = [gateway("g1"), gateway("g2"), gateway("g3"), critical];
    let mut core = young_logic(&all, now);
    for id in ["g1", "g2"] {
        core.on(LogicEvent::LinkSynced(peer(id, 1)), now);
    }
    let still = timing.exclude_after.max(timing.critical_grace) * 2;
    assert!(core.on(LogicEvent::StoodStill(still), now + still).is_empty());
    assert!(core.on(LogicEvent::Tick, now + still).is_empty());
    let waiting: Vec<_> = core.waiting_for().keys().map(ServiceId::as_str).collect();
    assert_eq!(waiting, ["g3", "g4"]);
    let actions = core.on(LogicEvent::Tick, now + still + timing.exclude_after);
    assert!(matches!(&actions[..], [LogicAction::Excluded(_), ..]), "{actions:?}");

    let server = LogicRecord { critical_since: Some(now), ..logic("l1", true) };
    let mut core = young_gateway(&[server, logic("l2", true)], now);
    core.on(GatewayEvent::LinkUp(peer("l2", 1), ServerState::Adult), now);
    core.on(GatewayEvent::StoodStill(still), now + still);
    let actions = core.on(GatewayEvent::LinkSynced(peer("l2", 1)), now + still);
    assert!(actions.is_empty(), "the doors open without l1: {actions:?}");
}

#[test]
fn an_operator_may_exclude_at_once() {
    let now = Instant::now();
    let mut core = young_logic(&[gateway("g1")], now);
    let actions = core.on(LogicEvent::Exclude("g1".into()), now);
    assert_eq!(actions, [LogicAction::Excluded(vec!["g1".into()]), raise(&["g1"])]);
}

/// A gateway that knows these logic servers.
fn young_gateway(servers: &[LogicRecord], now: Instant) -> GatewayCore {
    let mut core = GatewayCore::new("g1".into(), Timing::default());
    core.on(GatewayEvent::Visible, now);
    core.on(GatewayEvent::Snapshot(servers.to_vec()), now);
    core
}

fn adult_gateway(now: Instant) -> GatewayCore {
    let mut core = young_gateway(&[logic("l1", true)], now);
    core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Adult), now);
    let actions = core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now);
    assert_eq!(actions, [GatewayAction::OpenDoors]);
    core
}

#[test]
fn a_snapshot_from_before_the_own_registration_does_not_count() {
    let now = Instant::now();
    let mut core = GatewayCore::new("g1".into(), Timing::default());
    assert!(core.on(GatewayEvent::Snapshot(vec![logic("l1", true)]), now).is_empty());
    assert!(!core.knows_servers());
}

#[test]
fn a_gateway_opens_only_when_linked_with_every_server_whose_flag_is_up() {
    let now = Instant::now();
    let mut core = young_gateway(&[logic("l1", true), logic("l2", true), logic("l3", false)], now);
    core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Adult), now);
    assert!(core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now).is_empty());
    core.on(GatewayEvent::LinkUp(peer("l2", 1), ServerState::Young), now);
    let actions = core.on(GatewayEvent::LinkSynced(peer("l2", 1)), now);
    assert_eq!(actions, [GatewayAction::OpenDoors]);
    assert!(!core.is_usable(&peer("l2", 1)), "not said that it is adult");
}

#[test]
fn a_server_that_said_it_is_adult_is_waited_for_before_the_registry_shows_its_flag() {
    let now = Instant::now();
    let mut core = young_gateway(&[logic("l1", false), logic("l2", true)], now);
    core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Adult), now);
    core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now);
    core.on(GatewayEvent::LinkDown(peer("l1", 1)), now);
    core.on(GatewayEvent::LinkUp(peer("l2", 1), ServerState::Adult), now);
    assert!(core.on(GatewayEvent::LinkSynced(peer("l2", 1)), now).is_empty());
    assert_eq!(core.waiting_for().keys().map(ServiceId::as_str).collect::<Vec<_>>(), ["l1"]);
    core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Adult), now);
    let actions = core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now);
    assert_eq!(actions, [GatewayAction::OpenDoors]);
}

#[test]
fn with_no_adult_server_there_is_nobody_to_serve() {
    let now = Instant::now();
    let core = young_gateway(&[], now);
    assert_eq!(core.phase(), GatewayPhase::Young);
}

#[test]
fn an_excluded_gateway_fences_itself_until_it_is_linked_again() {
    let now = Instant::now();
    let mut core = adult_gateway(now);
    let excludes = LogicRecord { excluded: vec!["g1".into()], ..logic("l2", true) };
    let actions = core.on(GatewayEvent::Snapshot(vec![logic("l1", true), excludes]), now);
    assert!(actions.contains(&GatewayAction::Fence(vec!["l2".into()])), "{actions:?}");
    core.on(GatewayEvent::LinkUp(peer("l2", 1), ServerState::Adult), now);
    let actions = core.on(GatewayEvent::LinkSynced(peer("l2", 1)), now);
    assert_eq!(actions, [GatewayAction::OpenDoors]);
}

#[test]
fn a_link_outranks_the_registry() {
    let now = Instant::now();
    let mut core = adult_gateway(now);
    let actions = core.on(GatewayEvent::Snapshot(Vec::new()), now);
    assert_eq!(
        actions,
        [GatewayAction::StopDialling("l1".into()), GatewayAction::Vanished("l1".into())]
    );
    assert!(core.is_usable(&peer("l1", 1)));
    assert_eq!(core.phase(), GatewayPhase::Adult);
}

#[test]
fn a_new_life_ends_the_link_with_the_old_one() {
    let now = Instant::now();
    let mut core = adult_gateway(now);
    let reborn = LogicRecord { peer: peer("l1", 2), ..logic("l1", false) };
    let actions = core.on(GatewayEvent::Snapshot(vec![reborn]), now);
    assert_eq!(
        actions,
        [GatewayAction::CloseStale(peer("l1", 1)), GatewayAction::Dial(peer("l1", 2))]
    );
    assert!(!core.is_usable(&peer("l1", 1)));
}

#[test]
fn a_lost_server_has_another_one_redeliver_and_a_degraded_gateway_asks_again() {
    let now = Instant::now();
    let mut core = adult_gateway(now);
    core.on(GatewayEvent::Snapshot(vec![logic("l1", true), logic("l2", true)]), now);
    core.on(GatewayEvent::LinkUp(peer("l2", 1), ServerState::Adult), now);
    let back = core.on(GatewayEvent::LinkSynced(peer("l2", 1)), now);
    assert_eq!(back, [GatewayAction::Redeliver], "an adult server came up");
    let lost = core.on(GatewayEvent::LinkDown(peer("l2", 1)), now);
    assert_eq!(lost, [GatewayAction::Redeliver]);
    assert!(core.on(GatewayEvent::Tick, now).is_empty());
    let later = now + Timing::default().redeliver_interval;
    assert_eq!(core.on(GatewayEvent::Tick, later), [GatewayAction::Redeliver]);
}
