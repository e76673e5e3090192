//! How long a gateway chooses, among few servers and among many.

use std::{hint::black_box, sync::Arc};

use imago_container::{
    Route,
    selector::{Candidate, Hash, LeastPending, Random, RoundRobin, Selector, Zone, ZoneRules},
};

use crate::{Run, Scenario};

/// Selectors.
pub const SELECTOR: &[Scenario] = &[
    Scenario::new("selector/hash-3", || pick(Hash, 3)),
    Scenario::new("selector/hash-50", || pick(Hash, 50)),
    Scenario::new("selector/round-robin-3", || pick(RoundRobin::default(), 3)),
    Scenario::new("selector/round-robin-50", || pick(RoundRobin::default(), 50)),
    Scenario::new("selector/random-3", || pick(Random, 3)),
    Scenario::new("selector/random-50", || pick(Random, 50)),
    Scenario::new("selector/least-pending-3", || pick(LeastPending, 3)),
    Scenario::new("selector/least-pending-50", || pick(LeastPending, 50)),
    Scenario::new("selector/zone-3", || pick(zone(), 3)),
    Scenario::new("selector/zone-50", || pick(zone(), 50)),
];

const TIMES: usize = 1000;
const ZONES: [&str; 3] = ["east", "north", "west"];

/// Rules for two of the zones, and a list of some accounts.
fn zone() -> Zone {
    let listed = (0..10).map(|number| (format!("listed-{number}"), "north".to_owned()));
    Zone::new(ZoneRules {
        whitelist: listed.collect(),
        shares: vec![("east".to_owned(), 3), ("west".to_owned(), 1)],
        ..ZoneRules::default()
    })
}

fn candidates(count: usize) -> Vec<Candidate> {
    let zones = ZONES.map(Arc::<str>::from);
    let candidate = |(number, zone): (usize, &Arc<str>)| Candidate {
        service_id: format!("logic-{number:02}").into(),
        zone: zone.clone(),
        weight: 1 + number as u32 % 2,
        pending: number % 5,
    };
    (0..count).zip(zones.iter().cycle()).map(candidate).collect()
}

fn pick(selector: impl Selector, servers: usize) -> Run {
    let candidates = candidates(servers);
    let route = |number| Route { app: "kim".into(), account: format!("user-{number}").into() };
    let routes: Vec<Route> = (0..TIMES).map(route).collect();
    Run::batches(routes, 1, move |route| {
        black_box(selector.pick(black_box(&candidates), route));
    })
}
