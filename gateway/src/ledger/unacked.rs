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

/// The message id that acknowledges an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(i64);

// === impl Id ===

impl Id {
    /// The entry is acknowledged with the next one that has an id.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn new(message_id: i64) -> Self {
        Self(message_id.max(0))
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

    /// As [`add`](Self::add), by an answer: what it tells again counts as given now. So a client that
    /// asks for a list twice and acknowledges its first message acknowledges no more than that.
    pub(super) fn add_again(&mut self, id: Id, name: Arc<str>, from: u64, to: u64) {
        let known = self.parts.iter().position(|part| part.id == id && id != Id::NONE);
        let known = known.and_then(|at| self.parts.remove(at));
        self.ids -= usize::from(known.is_some());
        let is_wider = |known: &Part| known.name == name && known.to == to;
        let from = known.filter(is_wider).map_or(from, |known| known.from.min(from));
        self.begin_with_an_id();
        self.add(id, name, from, to);
    }

    /// What a message id acknowledges.
    pub(super) fn acknowledged_by(&self, message_id: i64) -> Vec<Given> {
        let id = Id::new(message_id);
        self.up_to(self.parts.iter().rposition(|part| part.id == id && id != Id::NONE))
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
