//! Whether what the store says to each account, and what each client got, is what the model says.
//! Pure.

mod lives;
mod talks;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    model::{Fate, Model, Said, Talk},
    old::Entry,
    op::DEVICES,
    view::{Seen, View},
};

/// Messages of each conversation by their places, from all who see some of them.
type Truth = BTreeMap<Talk, BTreeMap<u64, Seen>>;

/// What a client got, in its order.
pub(super) type Got = Vec<(Talk, Seen)>;

/// What is judged.
pub(super) struct Evidence<'a> {
    /// By account.
    pub(super) views: &'a BTreeMap<String, View>,
    /// Of each life.
    pub(super) got: &'a [Got],
    /// What old clients of these accounts are listed on devices that are offline.
    pub(super) listed: &'a BTreeMap<usize, (String, Vec<Entry>)>,
}

struct Verdict<'a> {
    model: &'a Model,
    views: &'a BTreeMap<String, View>,
    truth: Truth,
    faults: Vec<String>,
}

/// Everything that is not as it has to be.
pub(super) fn faults(model: &Model, evidence: &Evidence<'_>) -> Vec<String> {
    let Evidence { views, got, listed } = evidence;
    let mut verdict = Verdict { model, views, truth: Truth::new(), faults: Vec::new() };
    verdict.gather();
    // All else builds on this.
    if verdict.faults.is_empty() {
        verdict.messages();
    }
    if verdict.faults.is_empty() {
        verdict.talks();
        verdict.groups();
        for (life, got) in got.iter().enumerate() {
            verdict.life(life, got);
        }
        for (device, (account, listed)) in *listed {
            verdict.device(account, *device, listed);
        }
    }
    verdict.faults
}

impl Verdict<'_> {
    fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    /// All see the same at the same place.
    fn gather(&mut self) {
        for (account, view) in self.views {
            for (talk, shown) in &view.talks {
                let known = self.truth.entry(talk.clone()).or_default();
                for seen in &shown.history {
                    let first = known.entry(seen.seq).or_insert_with(|| seen.clone());
                    if first != seen {
                        let what = format!("{account} sees {seen:?} of {talk:?}, others {first:?}");
                        self.faults.push(what);
                    }
                }
            }
        }
    }

    /// Places have no gaps; what was accepted is at its place, once, and what was refused nowhere.
    fn messages(&mut self) {
        let (mut found, mut faults) = (BTreeMap::new(), Vec::new());
        for (talk, messages) in &self.truth {
            let mut latest = BTreeMap::new();
            for (place, (seq, seen)) in (1..).zip(messages) {
                if place != *seq {
                    faults.push(format!("{talk:?} has {seq} where {place} should be"));
                    break;
                }
                let number = seen.body.parse::<usize>().unwrap_or(usize::MAX);
                let Some(said) = self.model.said.get(number) else {
                    faults.push(format!("nobody said {seen:?}"));
                    continue;
                };
                if !is_as_said(said, talk, seen) {
                    faults.push(format!("{seen:?} of {talk:?} was said as {said:?}"));
                }
                if found.insert(number, *seq).is_some() {
                    faults.push(format!("{seen:?} of {talk:?} is there twice"));
                }
                if let Some(before) = latest.insert(said.life, number)
                    && before > number
                {
                    faults.push(format!("{number} is behind {before} in {talk:?}"));
                }
            }
        }
        for (number, said) in self.model.said.iter().enumerate() {
            if matches!(said.fate, Fate::Accepted(_)) && !found.contains_key(&number) {
                faults.push(format!("message {number} is nowhere: {said:?}"));
            }
        }
        self.faults.extend(faults);
    }

    fn said(&self, seen: &Seen) -> &Said {
        let number: usize = seen.body.parse().expect("only numbers were found");
        &self.model.said[number]
    }

    /// An old client is listed what others said and its device has not acknowledged.
    fn device(&mut self, account: &str, device: usize, listed: &[Entry]) {
        let (_, name) = DEVICES[device];
        let Some(view) = self.views.get(account) else { return };
        for (talk, shown) in &view.talks {
            let cursor = self.model.cursor(account, device, talk);
            let others = shown.history.iter().filter(|seen| seen.by != account);
            let others: BTreeSet<u64> = others.map(|seen| seen.seq).collect();
            let of = listed.iter().filter(|entry| entry.talk == *talk);
            let listed: BTreeSet<u64> = of.map(|entry| entry.seq).collect();
            let must = others.range(cursor.sent + 1..).copied().collect::<BTreeSet<u64>>();
            let may = others.range(cursor.stored + 1..).copied().collect::<BTreeSet<u64>>();
            if !listed.is_superset(&must) || !listed.is_subset(&may) {
                let what = format!("{account}'s {name} is listed {listed:?} of {talk:?}");
                self.faults.push(format!("{what}, not {may:?}: {cursor:?}"));
            }
        }
    }

    /// Members and strangers of each group are shown what they may see of it.
    fn groups(&mut self) {
        let mut faults = Vec::new();
        for (id, group) in &self.model.groups {
            let names = self.views.keys();
            let members: BTreeSet<&String> =
                names.filter(|name| self.model.is_member(id, name)).collect();
            for (account, view) in self.views {
                let shown = view.members.get(id).map(|shown| shown.iter().collect());
                let expected = match group.open || members.contains(account) {
                    true => Some(members.clone()),
                    false => None,
                };
                if shown != expected {
                    faults.push(format!("{account} sees in {id} {shown:?}, not {expected:?}"));
                }
                let was_in = !self.model.changes_of(id, account).is_empty();
                if view.refused.contains(id) == was_in {
                    faults.push(format!("history of {id} for {account}: was there {was_in}"));
                }
            }
        }
        self.faults.extend(faults);
    }
}

fn is_as_said(said: &Said, talk: &Talk, seen: &Seen) -> bool {
    let is_there = match said.fate {
        Fate::Accepted(seq) => seq == seen.seq,
        Fate::Refused => false,
        Fate::Unknown => true,
    };
    is_there && said.by == seen.by && said.to == *talk
}
