use proptest::prelude::*;

use super::*;

fn route(account: &str) -> Route {
    Route { app: "kim".into(), account: account.into() }
}

fn server(id: &str, zone: &str, weight: u32, pending: usize) -> Candidate {
    Candidate { service_id: id.into(), zone: zone.into(), weight, pending }
}

fn servers(count: usize) -> Vec<Candidate> {
    (0..count).map(|number| server(&format!("logic-{number}"), "", 1, 0)).collect()
}

fn counts(selector: &dyn Selector, candidates: &[Candidate], accounts: usize) -> Vec<usize> {
    let mut counts = vec![0; candidates.len()];
    for account in 0..accounts {
        counts[selector.pick(candidates, &route(&format!("user-{account}"))).unwrap()] += 1;
    }
    counts
}

#[test]
fn nobody_is_picked_from_nobody() {
    let zone = Zone::new(ZoneRules::default());
    let all: [&dyn Selector; 5] = [&Hash, &RoundRobin::default(), &Random, &LeastPending, &zone];
    for selector in all {
        assert_eq!(selector.pick(&[], &route("alice")), None);
    }
}

#[test]
fn hash_spreads_accounts_by_weight() {
    let mut candidates = servers(4);
    candidates[0].weight = 3;
    let counts = counts(&Hash, &candidates, 12_000);
    // Expected 6000, 2000, 2000, 2000; the bounds are about five standard deviations wide.
    assert!((5700..=6300).contains(&counts[0]), "{counts:?}");
    assert!(counts[1..].iter().all(|count| (1800..=2200).contains(count)), "{counts:?}");
}

proptest! {
    #[test]
    fn removing_a_server_moves_only_its_own_accounts(
        count in 2_usize..8, removed in 0_usize..8, account in "[a-z]{1,12}"
    ) {
        let all = servers(count);
        let removed = removed % count;
        let before = Hash.pick(&all, &route(&account)).unwrap();
        let mut rest = all.clone();
        rest.remove(removed);
        let after = Hash.pick(&rest, &route(&account)).unwrap();
        if before != removed {
            prop_assert_eq!(&all[before].service_id, &rest[after].service_id);
        }
    }

    #[test]
    fn every_gateway_picks_the_same_whatever_order_it_learned(
        count in 1_usize..8, turn in 0_usize..8, account in "[a-z]{1,12}"
    ) {
        let all = servers(count);
        let mut turned = all.clone();
        turned.rotate_left(turn % count);
        let a = Hash.pick(&all, &route(&account)).unwrap();
        let b = Hash.pick(&turned, &route(&account)).unwrap();
        prop_assert_eq!(&all[a].service_id, &turned[b].service_id);
    }
}

#[test]
fn round_robin_takes_turns_and_random_reaches_everybody() {
    let candidates = servers(3);
    assert_eq!(counts(&RoundRobin::default(), &candidates, 9), [3, 3, 3]);
    assert!(counts(&Random, &candidates, 1000).iter().all(|&count| count > 0));
}

#[test]
fn least_pending_takes_the_idle_one() {
    let candidates = [server("a", "", 1, 2), server("b", "", 1, 1), server("c", "", 1, 5)];
    assert_eq!(LeastPending.pick(&candidates, &route("alice")), Some(1));
}

fn zones() -> Zone {
    Zone::new(ZoneRules {
        whitelist: [("vip".to_owned(), "east".to_owned())].into(),
        by_app: [("game".to_owned(), vec![("west".to_owned(), 1)])].into(),
        shares: vec![("east".to_owned(), 1), ("west".to_owned(), 3)],
    })
}

#[test]
fn zones_follow_whitelist_then_app_then_shares() {
    let candidates = [server("a", "east", 1, 0), server("b", "west", 1, 0)];
    let zone = zones();
    assert_eq!(zone.pick(&candidates, &route("vip")), Some(0));
    let game = Route { app: "game".into(), ..route("bob") };
    assert_eq!(zone.pick(&candidates, &game), Some(1));
    let counts = counts(&zone, &candidates, 4000);
    assert!((850..=1150).contains(&counts[0]), "{counts:?}");
}

#[test]
fn an_empty_zone_falls_back_to_another() {
    let candidates = [server("b", "west", 1, 0), server("c", "west", 1, 0)];
    assert!(zones().pick(&candidates, &route("vip")).is_some());
}
