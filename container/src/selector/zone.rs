//! Keeps sessions in zones, and lets them out when a zone has no server.

use std::collections::HashMap;

use super::{Candidate, Selector, hash};
use crate::{Route, metrics, settings::Settings};

/// Zones with their shares of the traffic.
type Shares = Vec<(String, u32)>;

/// Who belongs to which zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneRules {
    /// Account → zone, before everything else.
    pub whitelist: HashMap<String, String>,
    /// App → zones with their shares.
    pub by_app: HashMap<String, Shares>,
    /// Zones with their shares for everybody else.
    pub shares: Shares,
}

impl ZoneRules {
    /// Reads `selector.zone.whitelist` (`account=zone`) and `selector.zone.weights`
    /// (`app:zone=share,zone=share`, where the app `*` is everybody else).
    pub fn read(settings: &mut Settings) -> Self {
        let mut rules = Self::default();
        for entry in settings.list("selector.zone.whitelist") {
            match entry.split_once('=') {
                Some((account, zone)) if !account.is_empty() && !zone.is_empty() => {
                    rules.whitelist.insert(account.to_owned(), zone.to_owned());
                }
                _ => settings
                    .reject("selector.zone.whitelist", "expected entries like \"account=zone\""),
            }
        }
        for entry in settings.list("selector.zone.weights") {
            match parse_weights(&entry) {
                Some(("*", shares)) => rules.shares = shares,
                Some((app, shares)) => {
                    rules.by_app.insert(app.to_owned(), shares);
                }
                None => settings.reject(
                    "selector.zone.weights",
                    "expected entries like \"app:zone-a=80,zone-b=20\" with shares from 1 to 1000, app * for everybody else",
                ),
            }
        }
        rules
    }
}

fn parse_weights(entry: &str) -> Option<(&str, Shares)> {
    let (app, shares) = entry.split_once(':')?;
    let shares = shares
        .split(',')
        .map(|share| {
            let (zone, share) = share.split_once('=')?;
            let share = share.trim().parse().ok().filter(|share| (1..=1000).contains(share))?;
            Some((zone.trim().to_owned(), share)).filter(|(zone, _)| !zone.is_empty())
        })
        .collect::<Option<Shares>>()?;
    Some((app.trim(), shares)).filter(|(app, _)| !app.is_empty())
}

/// Chooses a zone (whitelist, then shares of the app, then shares for everybody), then a server in
/// it by rendezvous hash. Where the zone has no server, the other zones follow in an order
/// fixed for the account; each such request is counted.
#[derive(Clone, Debug)]
pub struct Zone {
    rules: ZoneRules,
}

impl Zone {
    /// A selector with these rules.
    pub fn new(rules: ZoneRules) -> Self {
        Self { rules }
    }

    /// The zone that a session belongs to; `None` where no rule names one.
    fn home(&self, route: &Route, key: u64) -> Option<&str> {
        if let Some(zone) = self.rules.whitelist.get(route.account.as_str()) {
            return Some(zone);
        }
        let shares = self.rules.by_app.get(route.app.as_str()).unwrap_or(&self.rules.shares);
        let scored = shares.iter().map(|(zone, share)| (hash::score(zone, *share, key), zone));
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, zone)| zone.as_str())
    }
}

impl Selector for Zone {
    fn pick(&self, candidates: &[Candidate], route: &Route) -> Option<usize> {
        let key = hash::key_of(route);
        let in_zone = |zone: &str| {
            hash::best(candidates.iter().enumerate().filter(|(_, other)| &*other.zone == zone), key)
        };
        let Some(home) = self.home(route, key) else {
            return hash::best(candidates.iter().enumerate(), key);
        };
        if let Some(picked) = in_zone(home) {
            return Some(picked);
        }
        let mut others: Vec<&str> = candidates.iter().map(|candidate| &*candidate.zone).collect();
        others.sort_unstable();
        others.dedup();
        others.sort_by(|a, b| hash::score(b, 1, key).total_cmp(&hash::score(a, 1, key)));
        let picked = others.first().and_then(|zone| in_zone(zone));
        if picked.is_some() {
            metrics::zone_fallback();
        }
        picked
    }
}
