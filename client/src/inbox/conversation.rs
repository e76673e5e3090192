//! One conversation: what was delivered, what waits behind a hole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::Message;

/// Something known about a sequence that is not delivered.
#[derive(Debug)]
pub(super) enum Slot {
    /// Received, waits for what is before it.
    Held(Box<Message>),
    /// Sent by the account itself: nothing to deliver.
    Own,
    /// Listed by the server, to be fetched.
    Awaited,
}

#[derive(Debug)]
pub(super) struct Conversation {
    /// Next sequence to deliver.
    next: u64,
    /// Below this, a sequence without a slot is nothing to deliver.
    closed: u64,
    pub(super) slots: BTreeMap<u64, Slot>,
    /// Delivered and not consumed, ascending.
    pub(super) unconsumed: VecDeque<u64>,
    /// The server has this cursor.
    pub(super) acked: u64,
}

impl Default for Conversation {
    fn default() -> Self {
        Self { next: 1, closed: 0, slots: BTreeMap::new(), unconsumed: VecDeque::new(), acked: 0 }
    }
}

impl Conversation {
    /// Returns whether a sequence is neither delivered nor held.
    pub(super) fn wants(&self, seq: u64) -> bool {
        seq >= self.next && matches!(self.slots.get(&seq), None | Some(Slot::Awaited))
    }

    /// Returns whether nothing stands before this sequence.
    pub(super) fn is_next(&self, seq: u64) -> bool {
        let first = self.slots.first_key_value().is_none_or(|(first, _)| seq <= *first);
        first && (seq <= self.next || seq <= self.closed)
    }

    /// What may be delivered or passed over now.
    pub(super) fn pop(&mut self) -> Option<Slot> {
        let first = self.slots.first_entry();
        let Some(first) = first.filter(|first| *first.key() <= self.next.max(self.closed)) else {
            self.next = self.next.max(self.closed);
            return None;
        };
        if matches!(first.get(), Slot::Awaited) {
            return None;
        }
        self.next = first.key() + 1;
        Some(first.remove())
    }

    /// Closes the holes below `seq`: what has no slot by now is nothing to deliver.
    pub(super) fn close_below(&mut self, seq: u64) {
        self.closed = self.closed.max(seq);
    }

    /// Returns whether `seq` was delivered, or passed over.
    pub(super) fn is_past(&self, seq: u64) -> bool {
        seq < self.next
    }

    /// Everything up to here was delivered, or passed over.
    pub(super) fn position(&self) -> u64 {
        self.next - 1
    }

    /// Expects `seq` from a fetch.
    pub(super) fn await_seq(&mut self, seq: u64) {
        self.slots.entry(seq).or_insert(Slot::Awaited);
    }

    /// Forgets what was expected and satisfies `keep` no more.
    pub(super) fn retain_awaited(&mut self, keep: impl Fn(u64) -> bool) {
        self.slots.retain(|seq, slot| !matches!(slot, Slot::Awaited) || keep(*seq));
    }

    /// Newest sequence with a slot.
    pub(super) fn newest(&self) -> Option<u64> {
        self.slots.last_key_value().map(|(seq, _)| *seq)
    }

    /// The `listed` sequences that can be delivered, once fetched, without closing a hole.
    pub(super) fn reachable(&self, listed: &BTreeSet<u64>) -> BTreeSet<u64> {
        let known: BTreeSet<u64> =
            self.slots.keys().copied().chain(listed.iter().copied()).collect();
        let (mut next, mut reachable) = (self.next, BTreeSet::new());
        for seq in known.into_iter().filter(|seq| !self.is_past(*seq)) {
            let held = matches!(self.slots.get(&seq), Some(Slot::Held(_) | Slot::Own));
            if seq > next.max(self.closed) || !(held || listed.contains(&seq)) {
                break;
            }
            if !held {
                reachable.insert(seq);
            }
            next = seq + 1;
        }
        reachable
    }

    /// Marks delivered sequences up to `seq` as consumed; says how many.
    pub(super) fn consume(&mut self, seq: u64) -> usize {
        let consumed = self.unconsumed.partition_point(|delivered| *delivered <= seq);
        self.unconsumed.drain(..consumed);
        consumed
    }

    /// Everything up to here is consumed, or was nothing to deliver.
    pub(super) fn cursor(&self) -> u64 {
        self.unconsumed.front().map_or(self.next, |first| *first) - 1
    }
}
