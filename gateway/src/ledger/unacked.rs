//! What a session was given and has not acknowledged, in the order of writing.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use imago_proto::link::Given;

use super::ranges::Ranges;

/// Entries that are kept with their message ids.
pub(super) const IDS_MAX: usize = 256;
/// Entries that are kept, those of answers with many parts too.
const PARTS_MAX: usize = 4096;

/// What is not acknowledged. Overflow policy: the oldest entries lose their ids, and are acknowledged
/// with the oldest entry that has one.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    /// The first one has an id, where there is one.
    parts: VecDeque<Part>,
    /// Entries that have one.
    ids: usize,
    /// What was given before `parts`.
    earlier: Ranges,
    /// Number of the last answer.
    answers: u32,
    /// The answer that the newest of `earlier` is of.
    cut: u32,
}

#[derive(Debug)]
struct Part {
    id: Id,
    /// Number of the answer that it is of; 0 for a push.
    answer: u32,
    name: Arc<str>,
    from: u64,
    to: u64,
}

/// What acknowledges an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(i64);

// === impl Id ===

impl Id {
    /// The entry is acknowledged with the next one that has an id.
    pub(super) const NONE: Self = Self(0);

    /// Message id of a push.
    pub(super) fn push(message_id: i64) -> Self {
        Self(message_id.max(0))
    }

    /// The last message id of an answer.
    pub(super) fn answer(message_id: i64) -> Self {
        Self(message_id.max(0).wrapping_neg())
    }
}

// === impl Part ===

impl Part {
    fn is_continued_by(&self, next: &Self) -> bool {
        (self.id, self.answer, &self.name) == (next.id, next.answer, &next.name)
            && self.to.checked_add(1) == Some(next.from)
    }
}

// === impl Unacked ===

impl Unacked {
    /// The sequences `from..=to` were given by a push, or are the session's own.
    pub(super) fn add(&mut self, id: Id, name: Arc<str>, from: u64, to: u64) {
        self.add_part(Part { id, answer: 0, name, from, to });
    }

    /// An answer begins.
    pub(super) fn begin_answer(&mut self) {
        self.answers = self.answers.wrapping_add(1).max(1);
    }

    /// The answer gives the sequences `from..=to`.
    pub(super) fn add_answered(&mut self, message_id: i64, name: Arc<str>, from: u64, to: u64) {
        let (id, answer) = (Id::answer(message_id), self.answers);
        self.add_part(Part { id, answer, name, from, to });
    }

    fn add_part(&mut self, part: Part) {
        if part.id == Id::NONE {
            match self.parts.back_mut() {
                None => return self.give_up(&part),
                Some(last) if last.is_continued_by(&part) => {
                    last.to = part.to;
                    return;
                }
                Some(_) => {}
            }
        }
        self.ids += usize::from(part.id != Id::NONE);
        self.parts.push_back(part);
        if self.ids > IDS_MAX || self.parts.len() > PARTS_MAX {
            self.give_up_the_oldest();
        }
    }

    fn give_up_the_oldest(&mut self) {
        if let Some(part) = self.parts.pop_front() {
            self.ids -= usize::from(part.id != Id::NONE);
            self.give_up(&part);
        }
        self.begin_with_an_id();
    }

    /// Entries without one at the front are acknowledged with whatever is acknowledged next.
    fn begin_with_an_id(&mut self) {
        while let Some(part) = self.parts.pop_front_if(|part| part.id == Id::NONE) {
            self.give_up(&part);
        }
    }

    fn give_up(&mut self, part: &Part) {
        self.cut = part.answer;
        self.earlier.add(&part.name, part.from, part.to);
    }

    /// What a message id acknowledges that a client got by a push, or else by an answer.
    pub(super) fn up_to_push(&self, message_id: i64) -> Vec<Given> {
        match self.first(Id::push(message_id)) {
            Some(at) => self.up_to(at),
            None => self.first(Id::answer(message_id)).map_or_else(Vec::new, |at| self.within(at)),
        }
    }

    /// What a message id acknowledges that a client got by an answer, or else by a push. A page whose
    /// beginning has lost its ids is acknowledged with all that was given before it.
    pub(super) fn up_to_answer(&self, message_id: i64) -> Vec<Given> {
        let Some(at) = self.first(Id::answer(message_id)) else {
            return self.first(Id::push(message_id)).map_or_else(Vec::new, |at| self.up_to(at));
        };
        let is_whole = self.parts.get(at).is_some_and(|part| part.answer != self.cut);
        if is_whole { self.within(at) } else { self.up_to(at) }
    }

    fn first(&self, id: Id) -> Option<usize> {
        self.parts.iter().position(|part| part.id == id && id != Id::NONE)
    }

    /// All that was given up to an entry.
    fn up_to(&self, last: usize) -> Vec<Given> {
        let mut given = self.earlier.clone();
        for part in self.parts.iter().take(last + 1) {
            given.add(&part.name, part.from, part.to);
        }
        given.to_given()
    }

    /// An answer up to one of its entries: of each conversation in it, all that was given up to there.
    /// Other answers may have given more of it, without being acknowledged.
    fn within(&self, last: usize) -> Vec<Given> {
        let answer = self.parts.get(last).map_or(0, |part| part.answer);
        let mut until: BTreeMap<&str, u64> = BTreeMap::new();
        for part in self.parts.iter().take(last + 1).filter(|part| part.answer == answer) {
            let until = until.entry(&part.name).or_default();
            *until = part.to.max(*until);
        }
        let mut given = self.earlier.clone();
        for part in &self.parts {
            given.add(&part.name, part.from, part.to);
        }
        given.cut(|name| until.get(name).copied());
        given.to_given()
    }

    /// A cursor has come that far: what it has passed is forgotten, with its ids.
    pub(super) fn passed(&mut self, name: &str, cursor: u64) {
        self.earlier.passed(name, cursor);
        let ids = &mut self.ids;
        self.parts.retain(|part| {
            let is_kept = *part.name != *name || part.to > cursor;
            *ids -= usize::from(!is_kept && part.id != Id::NONE);
            is_kept
        });
        self.begin_with_an_id();
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }
}
