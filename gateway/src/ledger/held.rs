//! Pushes that wait for what is before them in their conversations.

use std::sync::Arc;

use super::message::Message;
use crate::outbox::Packet;

/// Pushes that may wait for a session.
pub(super) const HELD_MAX: usize = 64;
/// Bytes of them.
pub(super) const HELD_BYTES_MAX: usize = 256 << 10;

/// What waits. Overflow policy: a push that has no room is dropped, and the session's redelivery
/// brings it.
#[derive(Debug, Default)]
pub(super) struct HeldPushes {
    waiting: Vec<Waiting>,
    bytes: usize,
    /// What [`change`](Self::change) has told.
    told: usize,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) name: Arc<str>,
    pub(super) hash: u64,
    pub(super) seq: u64,
    pub(super) after: u64,
    pub(super) message_id: i64,
    /// Not set: the session's own message, whose answer the client has.
    pub(super) packet: Option<Packet>,
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn new(message: &Message<'_>, packet: Option<&Packet>) -> Self {
        let place = message.place;
        Self {
            name: message.name().clone(),
            hash: message.hash,
            seq: place.seq,
            after: place.after,
            message_id: place.message_id,
            packet: packet.map(Packet::kept),
        }
    }

    fn weight(&self) -> usize {
        self.packet.as_ref().map_or(0, Packet::len)
    }
}

// === impl HeldPushes ===

impl HeldPushes {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    pub(super) fn contains(&self, message: &Message<'_>) -> bool {
        let place = message.place;
        self.waiting
            .iter()
            .any(|waiting| waiting.seq == place.seq && *waiting.name == *place.conversation)
    }

    /// Keeps a message waiting. Returns whether there is room.
    pub(super) fn add(&mut self, waiting: Waiting) -> bool {
        let bytes = self.bytes + waiting.weight();
        let has_room = self.waiting.len() < HELD_MAX && bytes <= HELD_BYTES_MAX;
        if has_room {
            self.bytes = bytes;
            self.waiting.push(waiting);
        }
        has_room
    }

    /// The first message of a conversation that waits, taken out where `may_go` agrees.
    pub(super) fn take_first_if(
        &mut self,
        name: &str,
        may_go: impl FnOnce(&Waiting) -> bool,
    ) -> Option<Waiting> {
        let of = self.waiting.iter().enumerate().filter(|(_, waiting)| *waiting.name == *name);
        let (at, first) = of.min_by_key(|(_, waiting)| waiting.seq)?;
        if !may_go(first) {
            return None;
        }
        let first = self.waiting.swap_remove(at);
        self.bytes -= first.weight();
        self.give_back_memory();
        Some(first)
    }

    /// Takes all, of each conversation in its order.
    pub(super) fn take(&mut self) -> Vec<Waiting> {
        self.bytes = 0;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by(|a, b| (&a.name, a.seq).cmp(&(&b.name, b.seq)));
        waiting
    }

    /// How many bytes wait, where that has changed since the last time.
    pub(super) fn change(&mut self) -> Option<usize> {
        let before = std::mem::replace(&mut self.told, self.bytes);
        (before != self.bytes).then_some(self.bytes)
    }

    fn give_back_memory(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }
}
