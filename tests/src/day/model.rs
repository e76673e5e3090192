//! The model of a day: what was asked, in which order, and how it ended. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Place of an operation in the day: those of the same one happened at the same time.
pub(super) type Tick = u64;

/// A conversation, whoever looks at it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Talk {
    /// Of two accounts, in their order.
    Direct(String, String),
    /// Of a group.
    Group(String),
}

impl Talk {
    pub(super) fn between(one: &str, other: &str) -> Self {
        Self::Direct(one.min(other).to_owned(), one.max(other).to_owned())
    }
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has this place in its conversation.
    Accepted(u64),
    /// It must not be anywhere.
    Refused,
    /// Nobody was told; it may come late.
    Unknown,
}

/// A message. Its body is its number.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) by: String,
    /// By which life of a client.
    pub(super) life: usize,
    pub(super) to: Talk,
    pub(super) at: Tick,
    pub(super) fate: Fate,
    /// It was said again under its id.
    pub(super) is_repeated: bool,
}

/// Somebody became a member of a group, or ceased to be one.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) is_join: bool,
    pub(super) at: Tick,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) owner: String,
    pub(super) open: bool,
}

/// A client from its login to its end.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) account: String,
    pub(super) at: Tick,
    /// What its account had acknowledged when it began.
    pub(super) acked: BTreeMap<Talk, u64>,
    pub(super) is_over: bool,
}

/// Everything that was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) now: Tick,
    pub(super) said: Vec<Said>,
    pub(super) groups: BTreeMap<String, Group>,
    /// Of a group and an account, in their order.
    pub(super) changes: BTreeMap<(String, String), Vec<Change>>,
    /// How far an account has acknowledged.
    pub(super) acked: BTreeMap<(String, Talk), u64>,
    pub(super) lives: Vec<Life>,
    /// When servers were killed.
    pub(super) kills: BTreeSet<Tick>,
}

impl Model {
    /// Something new begins, after all that is recorded.
    pub(super) fn tick(&mut self) {
        self.now += 1;
    }

    /// A client logs in; gives the number of its life.
    pub(super) fn comes(&mut self, account: &str) -> usize {
        let own = self.acked.iter().filter(|((who, _), _)| who == account);
        let acked = own.map(|((_, talk), seq)| (talk.clone(), *seq)).collect();
        let account = account.to_owned();
        let life = Life { account, at: self.now, acked, is_over: false };
        self.lives.push(life);
        self.lives.len() - 1
    }

    /// A life says something; gives its number.
    pub(super) fn says(&mut self, life: usize, to: Talk) -> usize {
        let by = self.lives[life].account.clone();
        self.said.push(Said {
            by,
            life,
            to,
            at: self.now,
            fate: Fate::Unknown,
            is_repeated: false,
        });
        self.said.len() - 1
    }

    pub(super) fn created(&mut self, id: &str, owner: &str, open: bool, members: &[String]) {
        self.groups.insert(id.to_owned(), Group { owner: owner.to_owned(), open });
        let all: BTreeSet<&str> = members.iter().map(String::as_str).chain([owner]).collect();
        for account in all {
            self.changed(id, account, true);
        }
    }

    /// A change was carried out, or was none.
    pub(super) fn changed(&mut self, group: &str, account: &str, is_join: bool) {
        if self.is_member(group, account) != is_join {
            let changes = self.changes.entry((group.to_owned(), account.to_owned()));
            changes.or_default().push(Change { is_join, at: self.now });
        }
    }

    pub(super) fn is_member(&self, group: &str, account: &str) -> bool {
        let changes = self.changes_of(group, account);
        changes.last().is_some_and(|last| last.is_join)
    }

    pub(super) fn changes_of(&self, group: &str, account: &str) -> &[Change] {
        let changes = self.changes.get(&(group.to_owned(), account.to_owned()));
        changes.map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether `caller` may bring `account` in, or take it out, as things are.
    pub(super) fn may_change(&self, group: &str, caller: &str, account: &str, join: bool) -> bool {
        let Some(known) = self.groups.get(group) else { return false };
        match join {
            true => self.is_member(group, caller) || (known.open && caller == account),
            false => caller == account || caller == known.owner,
        }
    }

    pub(super) fn acks(&mut self, account: &str, talk: Talk, seq: u64) {
        let acked = self.acked.entry((account.to_owned(), talk)).or_default();
        *acked = seq.max(*acked);
    }

    pub(super) fn acked(&self, account: &str, talk: &Talk) -> u64 {
        self.acked.get(&(account.to_owned(), talk.clone())).copied().unwrap_or_default()
    }

    /// Whether a server was killed about when this was said: it may have been pushed twice, or not
    /// to all.
    pub(super) fn is_shaken(&self, said: &Said) -> bool {
        self.kills.range(said.at..=said.at + 1).next().is_some()
    }
}
