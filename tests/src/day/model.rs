//! The model of a day: what was asked, in which order, and how it ended. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::old::Entry;

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
    /// Which device it is on.
    pub(super) device: usize,
    pub(super) at: Tick,
    /// Since when the store knows its device.
    pub(super) known: Tick,
    /// What its device had acknowledged when it began.
    pub(super) cursors: Cursors,
    pub(super) is_over: bool,
}

/// How far a device has acknowledged a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The store has it there, or further.
    pub(super) stored: u64,
    /// The client has said so; it may have ended before the store was told.
    pub(super) sent: u64,
    /// Up to here an old client was listed it: what its account itself said in a membership without
    /// anything else to list stays unacknowledged.
    pub(super) listed: u64,
}

/// Cursors of a device.
pub(super) type Cursors = BTreeMap<Talk, Cursor>;

/// A device that the store knows.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) known: Tick,
    pub(super) cursors: Cursors,
}

/// A client acknowledges a conversation up to a message of another account, and its own account's read mark
/// is seen there.
#[derive(Clone, Debug)]
pub(super) struct Ack {
    pub(super) account: String,
    pub(super) device: usize,
    pub(super) talk: Talk,
    pub(super) seq: u64,
}

/// Everything that was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) now: Tick,
    pub(super) said: Vec<Said>,
    pub(super) groups: BTreeMap<String, Group>,
    /// Of a group and an account, in their order.
    pub(super) changes: BTreeMap<(String, String), Vec<Change>>,
    /// How far an account has read, on any device.
    pub(super) read: BTreeMap<(String, Talk), u64>,
    /// Devices, by their numbers.
    pub(super) devices: BTreeMap<usize, Device>,
    pub(super) lives: Vec<Life>,
    /// When servers were killed.
    pub(super) kills: BTreeSet<Tick>,
}

impl Model {
    /// Something new begins, after all that is recorded.
    pub(super) fn tick(&mut self) {
        self.now += 1;
    }

    /// A client logs in on a device; gives the number of its life.
    pub(super) fn comes(&mut self, account: &str, device: usize) -> usize {
        let Device { known, cursors } = self.device(account, device).clone();
        let (account, at) = (account.to_owned(), self.now);
        self.lives.push(Life { account, device, at, known, cursors, is_over: false });
        self.lives.len() - 1
    }

    /// A device logs in: one that is new has acknowledged what its account has read.
    pub(super) fn device(&mut self, account: &str, device: usize) -> &mut Device {
        let (now, read) = (self.now, &self.read);
        self.devices.entry(device).or_insert_with(|| {
            let own = read.iter().filter(|((who, _), _)| who == account);
            let cursor = |seq| Cursor { stored: seq, sent: seq, listed: seq };
            let cursors = own.map(|((_, talk), seq)| (talk.clone(), cursor(*seq))).collect();
            Device { known: now, cursors }
        })
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

    /// Clients acknowledge these at the same time. Where the account's read mark was there before, or
    /// another device has moved it, it does not tell that the cursor is stored.
    pub(super) fn acks(&mut self, acks: &[Ack]) {
        let before = self.read.clone();
        for ack in acks {
            let Ack { account, device, talk, seq } = ack;
            let of = (account.clone(), talk.clone());
            let others = acks.iter().filter(|other| {
                (&other.account, &other.talk) == (account, talk) && other.device != *device
            });
            let others = others.map(|other| other.seq).chain(before.get(&of).copied()).max();
            let is_stored = *seq > others.unwrap_or_default();
            let read = self.read.entry(of).or_default();
            *read = (*read).max(*seq);
            let cursors = &mut self.device(account, *device).cursors;
            let cursor = cursors.entry(talk.clone()).or_default();
            cursor.sent = cursor.sent.max(*seq);
            if is_stored {
                cursor.stored = cursor.stored.max(*seq);
            }
        }
    }

    /// An old client has acknowledged what it was listed up to here.
    pub(super) fn fetched(&mut self, account: &str, device: usize, entry: &Entry) {
        let Entry { talk, seq, .. } = entry;
        let read = self.read.entry((account.to_owned(), talk.clone())).or_default();
        *read = (*read).max(*seq);
        let cursor = self.device(account, device).cursors.entry(talk.clone()).or_default();
        cursor.stored = cursor.stored.max(*seq);
        cursor.sent = cursor.sent.max(*seq);
        cursor.listed = cursor.listed.max(*seq);
    }

    /// How far a device has acknowledged a conversation.
    pub(super) fn cursor(&self, account: &str, device: usize, talk: &Talk) -> Cursor {
        match self.devices.get(&device) {
            Some(known) => known.cursors.get(talk).copied().unwrap_or_default(),
            None => {
                let read = self.read(account, talk);
                Cursor { stored: read, sent: read, listed: read }
            }
        }
    }

    pub(super) fn read(&self, account: &str, talk: &Talk) -> u64 {
        self.read.get(&(account.to_owned(), talk.clone())).copied().unwrap_or_default()
    }

    /// Whether a server was killed about when this was said: it may have been pushed twice, or not
    /// to all.
    pub(super) fn is_shaken(&self, said: &Said) -> bool {
        self.kills.range(said.at..=said.at + 1).next().is_some()
    }
}
