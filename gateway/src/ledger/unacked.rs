//! What a session was given and has not acknowledged, in the order of writing.

use std::{collections::VecDeque, sync::Arc};

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
}

#[derive(Debug)]
struct Part {
    id: Id,
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
    fn is_continued_by(&self, id: Id, name: &str, from: u64) -> bool {
        self.id == id && *self.name == *name && self.to.checked_add(1) == Some(from)
    }
}

// === impl Unacked ===

impl Unacked {
    /// The sequences `from..=to` were given.
    pub(super) fn add(&mut self, id: Id, name: Arc<str>, from: u64, to: u64) {
        if id == Id::NONE {
            match self.parts.back_mut() {
                None => return self.earlier.add(&name, from, to),
                Some(last) if last.is_continued_by(id, &name, from) => {
                    last.to = to;
                    return;
                }
                Some(_) => {}
            }
        }
        self.ids += usize::from(id != Id::NONE);
        self.parts.push_back(Part { id, name, from, to });
        if self.ids > IDS_MAX || self.parts.len() > PARTS_MAX {
            self.give_up_the_oldest();
        }
    }

    fn give_up_the_oldest(&mut self) {
        if let Some(part) = self.parts.pop_front() {
            self.ids -= usize::from(part.id != Id::NONE);
            self.earlier.add(&part.name, part.from, part.to);
        }
        self.begin_with_an_id();
    }

    /// Entries without one at the front are acknowledged with whatever is acknowledged next.
    fn begin_with_an_id(&mut self) {
        while let Some(part) = self.parts.pop_front_if(|part| part.id == Id::NONE) {
            self.earlier.add(&part.name, part.from, part.to);
        }
    }

    /// What a message id acknowledges that a client got by a push, or else by an answer.
    pub(super) fn up_to_push(&self, message_id: i64) -> Vec<Given> {
        let at = self.first(Id::push(message_id));
        self.up_to(at.or_else(|| self.last(Id::answer(message_id))))
    }

    /// What a message id acknowledges that a client got by an answer, or else by a push.
    pub(super) fn up_to_answer(&self, message_id: i64) -> Vec<Given> {
        let at = self.last(Id::answer(message_id));
        self.up_to(at.or_else(|| self.first(Id::push(message_id))))
    }

    fn first(&self, id: Id) -> Option<usize> {
        self.parts.iter().position(|part| part.id == id && id != Id::NONE)
    }

    fn last(&self, id: Id) -> Option<usize> {
        self.parts.iter().rposition(|part| part.id == id && id != Id::NONE)
    }

    fn up_to(&self, last: Option<usize>) -> Vec<Given> {
        let Some(last) = last else { return Vec::new() };
        let mut given = self.earlier.clone();
        for part in self.parts.iter().take(last + 1) {
            given.add(&part.name, part.from, part.to);
        }
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
