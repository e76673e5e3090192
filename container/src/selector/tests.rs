use proptest::prelude::*;

use super::*;

mod zones;

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
    fn whatever_the_names_and_weights_each_server_gets_its_share(
        names in proptest::collection::btree_set("[a-z0-9-]{1,16}", 2..6),
        weights in proptest::collection::vec(1_u32..8, 6),
        app in "[a-z]{0,8}",
    ) {
        const ACCOUNTS: usize = 4000;
        let candidates: Vec<_> =
            names.iter().zip(&weights).map(|(name, &weight)| server(name, "", weight, 0)).collect();
        let mut counts = vec![0_f64; candidates.len()];
        for account in 0..ACCOUNTS {
            let route = Route { app: app.as_str().into(), ..route(&format!("user-{account}")) };
            counts[Hash.pick(&candidates, &route).unwrap()] += 1.0;
        }
        let total: u32 = candidates.iter().map(|candidate| candidate.weight).sum();
        for (candidate, count) in candidates.iter().zip(counts) {
            let share = f64::from(candidate.weight) / f64::from(total);
            let deviation = (ACCOUNTS as f64 * share * (1.0 - share)).sqrt();
            // Six standard deviations of a fair draw: a few false alarms in a billion.
            prop_assert!((count - ACCOUNTS as f64 * share).abs() < 6.0 * deviation + 1.0);
        }
    }

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
fn random_draws_by_weight() {
    let mut candidates = servers(2);
    candidates[0].weight = 9;
    let counts = counts(&Random, &candidates, 2000);
    // Expected 1800; the bounds are more than five standard deviations wide.
    assert!((1720..=1880).contains(&counts[0]), "{counts:?}");
}

#[test]
fn least_pending_breaks_ties_by_hash_so_that_all_gateways_agree() {
    let mut candidates = servers(4);
    candidates[1].pending = 7;
    let idle: Vec<_> = [0, 2, 3].map(|index: usize| candidates[index].clone()).into();
    let counts = counts(&LeastPending, &candidates, 600);
    assert!(counts[1] == 0 && counts.iter().filter(|count| **count > 100).count() == 3);
    for account in ["alice", "bob", "carol"] {
        let picked = LeastPending.pick(&candidates, &route(account)).unwrap();
        let expected = Hash.pick(&idle, &route(account)).unwrap();
        assert_eq!(candidates[picked].service_id, idle[expected].service_id);
    }
}

#[test]
fn least_pending_takes_the_idle_one() {
    let candidates = [server("a", "", 1, 2), server("b", "", 1, 1), server("c", "", 1, 5)];
    assert_eq!(LeastPending.pick(&candidates, &route("alice")), Some(1));
}
