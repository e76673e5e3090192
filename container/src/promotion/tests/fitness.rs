//! Logic servers that have grown up and cannot use their store.

use super::*;

fn unfit(excluded: &[&str]) -> LogicAction {
    let excluded = excluded.iter().map(|id| (*id).into()).collect();
    LogicAction::AnnounceFitness { fitness: Fitness::Unfit, excluded }
}

fn say(core: &mut GatewayCore, id: &str, state: ServerState, now: Instant) -> Vec<GatewayAction> {
    core.on(GatewayEvent::LinkState { peer: peer(id, 1), state }, now)
}

/// A gateway with open doors and two servers.
fn two_servers(now: Instant) -> GatewayCore {
    let mut core = adult_gateway(now);
    core.on(GatewayEvent::Snapshot(vec![logic("l1", true), logic("l2", true)]), now);
    core.on(GatewayEvent::LinkUp(peer("l2", 1), ServerState::Adult), now);
    core.on(GatewayEvent::LinkSynced(peer("l2", 1)), now);
    core
}

#[test]
fn an_adult_server_says_each_change_of_its_fitness_once() {
    let now = Instant::now();
    let mut core = young_logic(&[], now);
    core.on(LogicEvent::FlagVisible { excluded: [].into() }, now);
    assert_eq!(core.on(LogicEvent::Reread(Some(Vec::new())), now), [announce(&[])]);
    assert_eq!(core.on(LogicEvent::Fitness(Fitness::Unfit), now), [unfit(&[])]);
    assert!(core.on(LogicEvent::Fitness(Fitness::Unfit), now).is_empty());
    assert_eq!(core.phase(), LogicPhase::Adult, "the flag and the links are as before");
    let fit = core.on(LogicEvent::Fitness(Fitness::Fit), now);
    assert_eq!(fit, [LogicAction::AnnounceFitness { fitness: Fitness::Fit, excluded: [].into() }]);
}

#[test]
fn a_server_that_is_unfit_when_it_grows_up_says_so_at_once() {
    let now = Instant::now();
    let mut core = young_logic(&[], now);
    assert!(core.on(LogicEvent::Fitness(Fitness::Unfit), now).is_empty(), "it is young");
    core.on(LogicEvent::FlagVisible { excluded: [].into() }, now);
    let adult = core.on(LogicEvent::Reread(Some(Vec::new())), now);
    let announced = LogicAction::AnnounceAdult { fitness: Fitness::Unfit, excluded: [].into() };
    assert_eq!(adult, [announced]);
}

#[test]
fn an_unfit_server_is_used_only_where_no_other_is_fit() {
    let now = Instant::now();
    let mut core = two_servers(now);
    let usable = |core: &GatewayCore| ["l1", "l2"].map(|id| core.is_usable(&peer(id, 1)));
    assert_eq!(usable(&core), [true, true]);
    assert!(say(&mut core, "l1", ServerState::Unfit, now).is_empty());
    assert_eq!(usable(&core), [false, true]);
    say(&mut core, "l2", ServerState::Unfit, now);
    assert_eq!(usable(&core), [true, true]);
    assert_eq!(core.phase(), GatewayPhase::Adult, "its clients stay");

    let fit = say(&mut core, "l2", ServerState::Adult, now);
    assert_eq!(fit, [GatewayAction::Redeliver], "of what it could not read");
    assert_eq!(usable(&core), [false, true]);
}

#[test]
fn a_lost_servers_pushes_are_asked_for_also_where_it_was_unfit() {
    let now = Instant::now();
    let mut core = two_servers(now);
    say(&mut core, "l1", ServerState::Unfit, now);
    let lost = core.on(GatewayEvent::LinkDown(peer("l1", 1)), now);
    assert_eq!(lost, [GatewayAction::Redeliver]);
}

#[test]
fn a_gateway_opens_with_unfit_servers_and_waits_for_them_as_for_others() {
    let now = Instant::now();
    let mut core = young_gateway(&[logic("l1", false), logic("l2", true)], now);
    core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Unfit), now);
    core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now);
    core.on(GatewayEvent::LinkDown(peer("l1", 1)), now);
    core.on(GatewayEvent::LinkUp(peer("l2", 1), ServerState::Unfit), now);
    assert!(core.on(GatewayEvent::LinkSynced(peer("l2", 1)), now).is_empty());
    assert!(core.waiting_for().contains_key("l1"), "it had grown up");
    core.on(GatewayEvent::LinkUp(peer("l1", 1), ServerState::Unfit), now);
    let actions = core.on(GatewayEvent::LinkSynced(peer("l1", 1)), now);
    assert_eq!(actions, [GatewayAction::OpenDoors]);
}
