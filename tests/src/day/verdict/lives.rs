//! What the applications of clients got.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        model::{Fate, Life, Talk},
        view::Seen,
    },
    Verdict,
};

/// What a life has to get of one conversation.
#[derive(Default)]
struct Due {
    must: BTreeSet<u64>,
    may: BTreeSet<u64>,
}

impl Verdict<'_> {
    /// A client got each message once, in order, nothing that is not for it, and nothing is
    /// missing: at its end, or before the last that it got where its end is past.
    pub(super) fn life(&mut self, number: usize, got: &[(Talk, Seen)]) {
        let (model, views) = (self.model, self.views);
        let life = &model.lives[number];
        let Some(view) = views.get(&life.account) else { return };
        let mut by_talk: BTreeMap<&Talk, Vec<u64>> =
            view.talks.keys().map(|talk| (talk, Vec::new())).collect();
        for (talk, seen) in got {
            let history = view.talks.get(talk).map(|shown| shown.history.as_slice());
            if !history.is_some_and(|history| history.contains(seen)) {
                self.fault(format!("{number} {life:?} got {seen:?} of {talk:?}, not its to see"));
            }
            by_talk.entry(talk).or_default().push(seen.seq);
        }
        for (talk, seqs) in by_talk {
            let name = format!("client {number} of {} in {talk:?} got {seqs:?}", life.account);
            let due = self.due(number, life, talk);
            if !seqs.is_sorted_by(|one, other| one < other) {
                self.fault(format!("{name}: not once, or not in order"));
            }
            let given: BTreeSet<u64> = seqs.iter().copied().collect();
            let strange = |seq: &&u64| !due.must.contains(seq) && !due.may.contains(seq);
            if let Some(strange) = given.iter().find(strange) {
                self.fault(format!("{name}: {strange} is its own, or was acknowledged; {life:?}"));
            }
            let last = given.last().copied().unwrap_or_default();
            let is_due = |seq: &u64| !life.is_over || *seq < last;
            let mut missing = due.must.difference(&given).filter(|seq| is_due(seq));
            if let Some(missing) = missing.next() {
                self.fault(format!("{name}: {missing} is missing; {life:?}"));
            }
        }
    }

    fn due(&self, number: usize, life: &Life, talk: &Talk) -> Due {
        let mut due = Due::default();
        let shown = self.views.get(&life.account).and_then(|view| view.talks.get(talk));
        let Some(history) = shown.map(|shown| &shown.history) else { return due };
        let cursor = life.cursors.get(talk).copied().unwrap_or_default();
        let is_others = |seen: &&Seen| seen.by != life.account;
        let unread = history.iter().filter(is_others).find(|seen| seen.seq > cursor.sent);
        let unread = unread.map_or(u64::MAX, |seen| seen.seq);
        for seen in history {
            let said = self.said(seen);
            if said.life == number {
                continue;
            }
            let is_shaken = self.model.is_shaken(said);
            let is_own = seen.by == life.account;
            if seen.seq <= cursor.stored {
                let is_unlisted = is_own && seen.seq <= cursor.listed;
                let may_be_left = is_unlisted && matches!(talk, Talk::Group(_));
                // A repeat is pushed again, whoever has acknowledged it before this life.
                if is_shaken || said.is_repeated || may_be_left {
                    due.may.insert(seen.seq);
                }
                continue;
            }
            let is_its = is_own && self.model.lives[said.life].device == life.device;
            // Acknowledging passes over what the same client said, when nothing stands before it, and a
            // new device begins where others of its account have come to.
            let is_passed = is_own
                && said.at < life.at
                && seen.seq < unread
                && (is_its || said.at < life.known);
            // What a killed server did not push is pushed by another, but not to the device that said it.
            let is_lost = is_its && is_shaken && said.fate == Fate::Unknown;
            match is_passed || is_lost || seen.seq <= cursor.sent {
                true => due.may.insert(seen.seq),
                false => due.must.insert(seen.seq),
            };
        }
        due
    }
}
