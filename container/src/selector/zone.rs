//! Keeps sessions in zones, and lets them out when a zone has no server.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::{Candidate, Selector, hash};
use crate::{Route, metrics};
use imago_kit::settings::Settings;

/// Zones with their shares of the traffic.
type Shares = Vec<(String, u32)>;

/// Who belongs to which zone. The first that speaks of a session decides: `whitelist`,
/// `by_account`, `by_app`, `shares`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneRules {
    /// Account → zone.
    pub whitelist: HashMap<String, String>,
    /// Account → zones with their shares.
    pub by_account: HashMap<String, Shares>,
    /// App → zones with their shares.
    pub by_app: HashMap<String, Shares>,
    /// Zones with their shares for everybody else.
    pub shares: Shares,
    /// What is spread over the zones.
    pub spread: Spread,
}

/// What is spread over zones by their shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Each account goes its own way.
    #[default]
    Account,
    /// All accounts of an app go to the same zone, and meet there.
    App,
}

/// Chooses a zone by [`ZoneRules`], then a server in it by rendezvous hash. Where the zone has no
/// server, the session's other zones follow by their shares, then those that no rule names, in an
/// order fixed for the session; each such request is counted. Without a rule for a session, all
/// zones are equal.
#[derive(Clone, Debug)]
pub struct Zone {
    rules: ZoneRules,
}

// === impl ZoneRules ===

impl ZoneRules {
    /// Reads the section `selector.zone`: `whitelist` (`account=zone`), `weights`
    /// (`scope:zone=share,zone=share`, the scope being `*`, `app/<app>` or `account/<account>`)
    /// and `by` (`account` or `app`). Errors are collected in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let mut rules = Self::default();
        for entry in settings.list("selector.zone.whitelist") {
            if let Err(why) = rules.allow(&entry) {
                settings.reject("selector.zone.whitelist", &format!("{entry:?}: {why}"));
            }
        }
        for entry in settings.list("selector.zone.weights") {
            if let Err(why) = rules.weigh(&entry) {
                settings.reject("selector.zone.weights", &format!("{entry:?}: {why}"));
            }
        }
        if settings.choice("selector.zone.by", &["account", "app"]) == "app" {
            rules.spread = Spread::App;
        }
        rules
    }

    fn allow(&mut self, entry: &str) -> Result<(), &'static str> {
        let pair = entry.rsplit_once('=').map(|(account, zone)| (account.trim(), zone.trim()));
        let (account, zone) = pair
            .filter(|(account, zone)| !account.is_empty() && !zone.is_empty())
            .ok_or("expected account=zone")?;
        insert_new(&mut self.whitelist, account, zone.to_owned())
    }

    fn weigh(&mut self, entry: &str) -> Result<(), &'static str> {
        const EXPECTED: &str = "expected scope:zone=share,zone=share with shares from 1 to 1000 \
             and the scope *, app/<app> or account/<account>";
        let (scope, shares) = entry.rsplit_once(':').ok_or(EXPECTED)?;
        let shares = parse_shares(shares).ok_or(EXPECTED)?;
        let zones: HashSet<&str> = shares.iter().map(|(zone, _)| zone.as_str()).collect();
        if zones.len() < shares.len() {
            return Err("expected each zone once");
        }
        match scope.trim().split_once('/') {
            None if scope.trim() == "*" && self.shares.is_empty() => {
                self.shares = shares;
                Ok(())
            }
            None if scope.trim() == "*" => Err(TWICE),
            Some(("app", app)) if !app.is_empty() => insert_new(&mut self.by_app, app, shares),
            Some(("account", account)) if !account.is_empty() => {
                insert_new(&mut self.by_account, account, shares)
            }
            _ => Err(EXPECTED),
        }
    }

    /// Zones with their shares for a session; empty where no rule speaks of it.
    fn shares_of(&self, route: &Route) -> &[(String, u32)] {
        let by_account = self.by_account.get(route.account.as_str());
        by_account.or_else(|| self.by_app.get(route.app.as_str())).unwrap_or(&self.shares)
    }
}

const TWICE: &str = "expected one entry for each account or scope";

fn insert_new<T>(map: &mut HashMap<String, T>, name: &str, value: T) -> Result<(), &'static str> {
    match map.entry(name.to_owned()) {
        Entry::Occupied(_) => Err(TWICE),
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
    }
}

fn parse_shares(text: &str) -> Option<Shares> {
    let shares = text.split(',').map(|share| {
        let (zone, share) = share.split_once('=')?;
        let share = share.trim().parse().ok().filter(|share| (1..=1000).contains(share))?;
        Some((zone.trim().to_owned(), share)).filter(|(zone, _)| !zone.is_empty())
    });
    shares.collect()
}

// === impl Zone ===

impl Zone {
    /// A selector with these rules.
    pub fn new(rules: ZoneRules) -> Self {
        Self { rules }
    }
}

impl Selector for Zone {
    fn pick(&self, candidates: &[Candidate], route: &Route) -> Option<usize> {
        let key = hash::key_of(route);
        let shares = self.rules.shares_of(route);
        let listed = self.rules.whitelist.get(route.account.as_str()).map(String::as_str);
        if listed.is_none() && shares.is_empty() {
            return hash::best(candidates.iter().enumerate(), key);
        }
        let spread = match self.rules.spread {
            Spread::Account => key,
            Spread::App => hash::key_of_app(route),
        };
        let rank = |zone: &str| rank(zone, listed, shares, spread);
        let zone = highest(candidates.iter().map(|candidate| &*candidate.zone), rank)?;
        let home = listed.or_else(|| highest(shares.iter().map(|(zone, _)| &**zone), rank));
        if home != Some(zone) {
            metrics::zone_fallback();
        }
        hash::best(candidates.iter().enumerate().filter(|(_, other)| &*other.zone == zone), key)
    }
}

/// The zone with the highest rank; of equal ones the first by name. Zones may come repeatedly.
fn highest<'a>(
    zones: impl Iterator<Item = &'a str>,
    rank: impl Fn(&str) -> f64,
) -> Option<&'a str> {
    let mut best: Option<(f64, &str)> = None;
    for zone in zones {
        if best.is_some_and(|(_, known)| known == zone) {
            continue;
        }
        let rank = rank(zone);
        if best.is_none_or(|(top, known)| rank > top || (rank == top && zone < known)) {
            best = Some((rank, zone));
        }
    }
    best.map(|(_, zone)| zone)
}

/// How much a session wants to be in a zone: the whitelisted one most, then weighted ones by
/// weighted rendezvous, then the rest by plain rendezvous.
fn rank(zone: &str, listed: Option<&str>, shares: &[(String, u32)], key: u64) -> f64 {
    if listed == Some(zone) {
        return f64::INFINITY;
    }
    match shares.iter().find(|(name, _)| name == zone) {
        Some((_, share)) => hash::score(zone, *share, key),
        // Scores are positive, so this is below each of theirs and keeps the order.
        None => -1.0 / hash::score(zone, 1, key),
    }
}
