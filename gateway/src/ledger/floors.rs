//! Up to where a session was given each conversation.

use std::sync::Arc;

use hashbrown::HashTable;

use super::message::{Message, hash_of};

/// Conversations that a session's floors are remembered of.
pub(super) const FLOORS_MAX: usize = 4096;
/// Floors that are forgotten at once.
const FORGOTTEN: usize = FLOORS_MAX / 16;

/// The floors of a session, by conversation. Overflow policy: those that were moved least recently
/// are forgotten. The next push of such a conversation waits for a redelivery, unless the mark covers
/// what was before it.
#[derive(Debug, Default)]
pub(super) struct Floors {
    floors: HashTable<Floor>,
    /// Times that a floor was moved.
    moves: u32,
}

/// A conversation of which everything up to `seq` was given, or is not for the session.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) name: Arc<str>,
    pub(super) seq: u64,
    /// The session's number of redeliveries asked for when the floor was moved.
    pub(super) asks: u32,
    moved: u32,
}

// === impl Floors ===

impl Floors {
    pub(super) fn get(&self, name: &str, hash: u64) -> Option<u64> {
        self.floors.find(hash, |floor| *floor.name == *name).map(|floor| floor.seq)
    }

    /// Moves a conversation's floor to a message, where `may_move` agrees to what it is. Returns the
    /// name that is kept of the conversation.
    pub(super) fn move_if(
        &mut self,
        message: &Message<'_>,
        asks: u32,
        may_move: impl FnOnce(Option<u64>) -> bool,
    ) -> Option<Arc<str>> {
        let seq = message.place.seq;
        let moved = self.moves.wrapping_add(1);
        let is_it = |floor: &Floor| *floor.name == *message.place.conversation;
        let Some(floor) = self.floors.find_mut(message.hash, is_it) else {
            return may_move(None).then(|| {
                self.moves = moved;
                self.insert(message.name().clone(), message.hash, seq, asks)
            });
        };
        may_move(Some(floor.seq)).then(|| {
            self.moves = moved;
            (floor.seq, floor.asks, floor.moved) = (seq, asks, moved);
            floor.name.clone()
        })
    }

    /// Moves the floor of a conversation by its name.
    pub(super) fn set(&mut self, name: &Arc<str>, hash: u64, seq: u64, asks: u32) {
        self.moves = self.moves.wrapping_add(1);
        match self.floors.find_mut(hash, |floor| floor.name == *name) {
            Some(floor) => (floor.seq, floor.asks, floor.moved) = (seq, asks, self.moves),
            None => drop(self.insert(name.clone(), hash, seq, asks)),
        }
    }

    fn insert(&mut self, name: Arc<str>, hash: u64, seq: u64, asks: u32) -> Arc<str> {
        if self.floors.len() >= FLOORS_MAX {
            self.forget_some();
        }
        let floor = Floor { name: name.clone(), seq, asks, moved: self.moves };
        self.floors.insert_unique(hash, floor, |floor| hash_of(&floor.name));
        name
    }

    fn forget_some(&mut self) {
        let now = self.moves;
        let mut ages: Vec<u32> =
            self.floors.iter().map(|floor| now.wrapping_sub(floor.moved)).collect();
        let newest = ages.len().saturating_sub(FORGOTTEN + 1);
        let (_, youngest_kept, _) = ages.select_nth_unstable(newest);
        let age_max = *youngest_kept;
        self.floors.retain(|floor| now.wrapping_sub(floor.moved) <= age_max);
    }

    /// The name that is kept of a conversation.
    pub(super) fn name(&self, name: &str) -> Option<&Arc<str>> {
        let is_it = |floor: &Floor| *floor.name == *name;
        self.floors.find(hash_of(name), is_it).map(|floor| &floor.name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Floor> {
        self.floors.iter()
    }
}
