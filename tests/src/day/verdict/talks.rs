//! What the store says to each account of its conversations.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        model::{Change, Fate, Talk},
        view::{SYNC_PAGE, Seen, Shown, View},
    },
    Verdict,
};

impl Verdict<'_> {
    pub(super) fn talks(&mut self) {
        for (account, view) in self.views {
            let listed: BTreeSet<Talk> = view.talks.keys().cloned().collect();
            let expected = self.talks_of(account);
            if listed != expected {
                self.fault(format!("{account} is listed {listed:?}, not {expected:?}"));
                continue;
            }
            for (talk, shown) in &view.talks {
                let name = format!("{account} in {talk:?}");
                self.shown(&name, account, talk, shown);
            }
            self.synced(account, view);
            self.unread(account, view);
        }
    }

    /// Conversations that an account ever had.
    fn talks_of(&self, account: &str) -> BTreeSet<Talk> {
        let direct = self.truth.keys().filter(|talk| match talk {
            Talk::Direct(one, other) => one == account || other == account,
            Talk::Group(_) => false,
        });
        let groups = self.model.groups.keys();
        let groups = groups.filter(|group| !self.model.changes_of(group, account).is_empty());
        direct.cloned().chain(groups.cloned().map(Talk::Group)).collect()
    }

    fn shown(&mut self, name: &str, account: &str, talk: &Talk, shown: &Shown) {
        if shown.history != shown.forwards {
            let (one, other) = (seqs(&shown.history), seqs(&shown.forwards));
            self.fault(format!("{name}: {one:?} from the end, {other:?} from the beginning"));
        }
        if !shown.history.is_sorted_by(|one, other| one.seq < other.seq) {
            self.fault(format!("{name}: out of order: {:?}", seqs(&shown.history)));
        }
        if shown.last.as_ref() != shown.history.last() {
            self.fault(format!("{name}: the last is {:?}", shown.last));
        }
        let (low, high) = self.visible(name, account, talk, &seqs(&shown.history));
        if !(low..=high).contains(&shown.head) {
            self.fault(format!("{name}: head {} is not in {low}..={high}", shown.head));
        }
        let acked = self.model.read(account, talk);
        let others: Vec<u64> =
            shown.history.iter().filter(|m| m.by != account).map(|m| m.seq).collect();
        let unread = others.iter().filter(|seq| **seq > acked).count();
        if unread != shown.unread as usize {
            self.fault(format!("{name}: {} unread, not {unread} past {acked}", shown.unread));
        }
        let is_unacked = |seq: &u64| *seq > acked && *seq <= shown.cursor;
        let skips = matches!(talk, Talk::Direct(..)) && others.iter().any(is_unacked);
        if skips || shown.cursor < acked || shown.cursor > shown.head.max(acked) {
            self.fault(format!("{name}: cursor {}, {acked} is acknowledged", shown.cursor));
        }
    }

    /// Finds fault with what is seen of a conversation; gives bounds of its head.
    fn visible(&mut self, name: &str, account: &str, talk: &Talk, seen: &[u64]) -> (u64, u64) {
        let empty = BTreeMap::new();
        let messages = self.truth.get(talk).unwrap_or(&empty);
        let head = messages.len() as u64;
        let Talk::Group(group) = talk else {
            if seen.len() as u64 != head {
                self.fault(format!("{name}: {seen:?} of {head}"));
            }
            return (head, head);
        };
        let changes = self.model.changes_of(group, account);
        let cuts: Vec<_> = changes.iter().map(|change| self.cut(messages, change)).collect();
        if let Err(seq) = fits(changes, &cuts, seen, head) {
            let why = format!("changes {changes:?} between {cuts:?}");
            self.fault(format!("{name}: {seen:?} of {head} is wrong at {seq}; {why}"));
        }
        match (changes.last(), cuts.last()) {
            (Some(last), Some((low, high))) if !last.is_join => {
                (seen.last().copied().unwrap_or_default().max(*low), *high)
            }
            _ => (head, head),
        }
    }

    /// After which places of a group's conversation a change may have been made.
    fn cut(&self, messages: &BTreeMap<u64, Seen>, change: &Change) -> (u64, u64) {
        let (mut low, mut high) = (0, messages.len() as u64);
        for (seq, seen) in messages {
            let said = self.said(seen);
            if said.at < change.at && said.fate != Fate::Unknown {
                low = low.max(*seq);
            }
            if said.at > change.at {
                high = high.min(seq - 1);
            }
        }
        (low, high)
    }

    /// A client that has nothing is given everything, page by page: of each conversation in its order,
    /// across conversations in the order of the messages' ids as far as that allows.
    fn synced(&mut self, account: &str, view: &View) {
        let mut left: BTreeMap<&Talk, &[Seen]> = BTreeMap::new();
        left.extend(view.talks.iter().map(|(talk, shown)| (talk, shown.history.as_slice())));
        let mut all: Vec<(Talk, Seen)> = Vec::new();
        loop {
            let page = page(&left);
            for (talk, seen) in &page {
                left.entry(*talk).and_modify(|left| *left = &left[1..]);
                all.push(((*talk).clone(), (*seen).clone()));
            }
            if page.is_empty() {
                break;
            }
        }
        if all != view.synced {
            self.fault(format!("{account} is shown {all:?}, but synchronises {:?}", view.synced));
        }
    }

    /// A new device of an old client is told of what others said and the account has not read.
    fn unread(&mut self, account: &str, view: &View) {
        let unread = view.talks.iter().flat_map(|(talk, shown)| {
            let acked = self.model.read(account, talk);
            let unread = shown.history.iter().filter(move |m| m.by != account && m.seq > acked);
            unread.map(|seen| (talk.clone(), seen.seq))
        });
        let unread: BTreeSet<_> = unread.collect();
        if unread != view.unread {
            self.fault(format!("{account} has {unread:?} unread, not {:?}", view.unread));
        }
    }
}

/// The next page of what is left of conversations. A message follows all that stand before it in its
/// conversation, whatever their ids are.
fn page<'a>(left: &BTreeMap<&'a Talk, &'a [Seen]>) -> Vec<(&'a Talk, &'a Seen)> {
    let mut page: Vec<(i64, &Talk, &Seen)> = Vec::new();
    for (talk, left) in left {
        page.extend(left.iter().scan(0, |turn, seen| {
            *turn = seen.id.max(*turn);
            Some((*turn, *talk, seen))
        }));
    }
    page.sort_by_key(|(turn, _, seen)| (*turn, seen.seq));
    page.into_iter().take(SYNC_PAGE).map(|(_, talk, seen)| (talk, seen)).collect()
}

fn seqs(messages: &[Seen]) -> Vec<u64> {
    messages.iter().map(|seen| seen.seq).collect()
}

/// Whether somebody with these changes, each made after a place within its bounds, sees these of
/// all places up to `head`; or else which is the first that cannot be explained.
fn fits(changes: &[Change], cuts: &[(u64, u64)], seen: &[u64], head: u64) -> Result<(), u64> {
    // How many of the changes may have been made.
    let mut made = BTreeSet::from([0]);
    for place in 0..=head {
        for (index, (low, high)) in cuts.iter().enumerate() {
            if made.contains(&index) && (*low..=*high).contains(&place) {
                made.insert(index + 1);
            }
        }
        // What has to be made by now is made.
        made.retain(|count| cuts.get(*count).is_none_or(|(_, high)| place < *high));
        let next = place + 1;
        if place < head {
            let is_in = |count: &usize| *count > 0 && changes[count - 1].is_join;
            made.retain(|count| is_in(count) == seen.contains(&next));
        }
        if made.is_empty() {
            return Err(next);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins, quits, and joins again.
    fn changes() -> Vec<Change> {
        let change = |(at, is_join)| Change { is_join, at };
        [(1, true), (2, false), (3, true)].map(change).into()
    }

    #[test]
    fn who_came_back_sees_what_was_said_while_it_was_there() {
        let sharp = [(1, 1), (3, 3), (5, 5)];
        assert_eq!(fits(&changes(), &sharp, &[2, 3, 6], 6), Ok(()));
        assert_eq!(fits(&changes(), &sharp, &[2, 3], 5), Ok(()));
        for (seen, wrong) in [
            (&[1, 2, 3, 6][..], 1),
            (&[3, 6], 2),
            (&[2, 3, 4, 6], 4),
            (&[2, 3], 6),
            (&[2, 3, 5, 6], 5),
        ] {
            assert_eq!(fits(&changes(), &sharp, seen, 6), Err(wrong), "{seen:?}");
        }
    }

    #[test]
    fn what_happened_at_the_same_time_may_have_been_in_any_order() {
        let blurred = [(0, 2), (2, 4), (4, 4)];
        for seen in [&[1, 2, 3, 4, 5][..], &[3, 4, 5], &[2, 5], &[5]] {
            assert_eq!(fits(&changes(), &blurred, seen, 5), Ok(()), "{seen:?}");
        }
        assert_eq!(fits(&changes(), &blurred, &[1, 3, 5], 5), Err(2));
        assert_eq!(fits(&changes(), &blurred, &[4, 5], 5), Err(4));
    }
}
