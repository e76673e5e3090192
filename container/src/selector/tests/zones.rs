//! Tests of zone-aware selection.

use super::*;
use imago_kit::{recorder, with_local_recorder};

fn two_zones() -> [Candidate; 2] {
    [server("a", "east", 1, 0), server("b", "west", 1, 0)]
}

fn rules() -> ZoneRules {
    ZoneRules {
        whitelist: [("vip".to_owned(), "east".to_owned())].into(),
        by_account: [("robot".to_owned(), vec![("east".to_owned(), 1)])].into(),
        by_app: [("game".to_owned(), vec![("west".to_owned(), 1)])].into(),
        shares: vec![("east".to_owned(), 1), ("west".to_owned(), 3)],
        spread: Spread::Account,
    }
}

/// What `work` returns, and how often it counted a fallback.
fn fallbacks<T>(work: impl FnOnce() -> T) -> (T, u32) {
    let (recorder, recorded) = recorder();
    let result = with_local_recorder(&recorder, work);
    let text = recorded.render();
    let line = text.lines().find_map(|line| line.strip_prefix("imago_zone_fallbacks_total "));
    (result, line.map_or(0, |count| count.parse().unwrap()))
}

#[test]
fn the_first_rule_that_speaks_of_a_session_decides() {
    let zone = Zone::new(rules());
    let game = |account: &str| Route { app: "game".into(), ..route(account) };
    assert_eq!(zone.pick(&two_zones(), &game("vip")), Some(0));
    assert_eq!(zone.pick(&two_zones(), &game("robot")), Some(0));
    assert_eq!(zone.pick(&two_zones(), &game("bob")), Some(1));
    let (counts, fallbacks) = fallbacks(|| counts(&zone, &two_zones(), 4000));
    // Expected 1000; the bounds are more than five standard deviations wide.
    assert!((850..=1150).contains(&counts[0]), "{counts:?}");
    assert_eq!(fallbacks, 0);
}

#[test]
fn without_a_rule_all_zones_are_equal() {
    let zone = Zone::new(ZoneRules::default());
    let (picked, fallbacks) = fallbacks(|| zone.pick(&two_zones(), &route("alice")));
    assert_eq!(picked, Hash.pick(&two_zones(), &route("alice")));
    assert_eq!(fallbacks, 0);
}

#[test]
fn spread_by_app_keeps_an_app_together() {
    let zone = Zone::new(ZoneRules { spread: Spread::App, ..rules() });
    let mut seen = [0, 0];
    for app in 0..400 {
        let in_app = |account: &str| Route { app: format!("app-{app}").into(), ..route(account) };
        let first = zone.pick(&two_zones(), &in_app("alice")).unwrap();
        assert_eq!(zone.pick(&two_zones(), &in_app("bob")), Some(first));
        seen[first] += 1;
    }
    assert!((50..=150).contains(&seen[0]), "{seen:?}");
}

#[test]
fn an_empty_zone_falls_back_to_another_and_is_counted() {
    let zone = Zone::new(rules());
    let west = [server("b", "west", 1, 0), server("c", "west", 1, 0)];
    let (picked, fallbacks) = fallbacks(|| zone.pick(&west, &route("vip")));
    assert!(picked.is_some());
    assert_eq!(fallbacks, 1);
}

#[test]
fn fallback_prefers_zones_of_the_rule_to_strange_ones() {
    let zone = Zone::new(rules());
    let rest = [server("b", "north", 1, 0), server("c", "south", 1, 0), server("d", "west", 1, 0)];
    for account in 0..50 {
        assert_eq!(zone.pick(&rest, &route(&format!("user-{account}"))), Some(2));
    }
    let strange = &rest[..2];
    let counts = counts(&zone, strange, 200);
    assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
}

proptest! {
    #[test]
    fn every_gateway_falls_back_to_the_same_server(
        zones in proptest::collection::vec("[a-d]", 1..8),
        turn in 0_usize..8,
        account in "[a-z]{1,12}",
    ) {
        let zone = Zone::new(ZoneRules { shares: vec![("gone".to_owned(), 5)], ..rules() });
        let all: Vec<_> = zones
            .iter()
            .enumerate()
            .map(|(number, zone)| server(&format!("logic-{number}"), zone, 1, 0))
            .collect();
        let mut turned = all.clone();
        turned.rotate_left(turn % all.len());
        let a = zone.pick(&all, &route(&account)).unwrap();
        let b = zone.pick(&turned, &route(&account)).unwrap();
        prop_assert_eq!(&all[a].service_id, &turned[b].service_id);
    }
}

const DEFAULTS: &str =
    "[selector]\nkind = \"zone\"\n[selector.zone]\nwhitelist = []\nweights = []\nby = \"account\"";

fn settings(whitelist: &str, weights: &str) -> Settings {
    let set = |key: &str, text: &str| (format!("selector.zone.{key}"), text.to_owned());
    let overrides = [set("whitelist", whitelist), set("weights", weights), set("by", "app")];
    Settings::load(DEFAULTS, &[], None, &overrides).unwrap()
}

#[test]
fn rules_are_read_from_the_configuration() {
    let weights = "*:east=1, west=3; app/game:west=1; account/robot:east=1";
    let mut settings = settings("vip=east", weights);
    let read = ZoneRules::read(&mut settings);
    settings.finish().unwrap();
    assert_eq!(read, ZoneRules { spread: Spread::App, ..rules() });
}

#[test]
fn bad_rules_are_named_one_by_one() {
    let weights =
        "*:east=0;*:east;kim:east=1;app/:east=1;*:a=1,a=2;*:a=1;*:b=1;app/x:a=1;app/x:b=1";
    let mut settings = settings("vip;=east;bob=;eve=a;eve=b", weights);
    read(&mut settings);
    let text = settings.finish().unwrap_err().to_string();
    for part in
        ["\"vip\": expected account=zone", "\"=east\"", "\"bob=\"", "\"eve=b\": expected one"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    for entry in
        ["*:east=0", "*:east", "kim:east=1", "app/:east=1", "*:a=1,a=2", "*:b=1", "app/x:b=1"]
    {
        assert!(text.contains(&format!("{entry:?}: expected")), "{entry} is not in {text}");
    }
    assert!(text.starts_with("11 errors"), "{text}");
}
