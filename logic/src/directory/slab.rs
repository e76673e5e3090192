//! A slab whose values never move. It grows by one piece of memory at a time, without a copy of a million
//! values that would hold up all readers.

use std::num::NonZeroU32;

/// Slots in a piece of memory.
const PIECE: usize = 1024;

/// Values, each in a slot of its own.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// All pieces but the last are full.
    pieces: Vec<Vec<Option<T>>>,
    vacant: Vec<Slot>,
}

/// The number of a slot, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(NonZeroU32);

// === impl Slot ===

impl Slot {
    /// A slot that is always empty.
    pub(super) const NONE: Self = Self(NonZeroU32::MAX);

    /// Returns the index of the piece, and of the slot in it.
    fn split(self) -> (usize, usize) {
        let index = self.0.get() as usize - 1;
        (index / PIECE, index % PIECE)
    }
}

// === impl Slab ===

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Inserts a value. Returns `None` where all 2³² slots are taken.
    pub(super) fn insert(&mut self, value: T) -> Option<Slot> {
        if let Some(slot) = self.vacant.pop() {
            *self.entry(slot)? = Some(value);
            return Some(slot);
        }
        if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let before = (self.pieces.len() - 1) * PIECE;
        let last = self.pieces.last_mut()?;
        let number = u32::try_from(before + last.len() + 1).ok().and_then(NonZeroU32::new);
        let slot = number.map(Slot).filter(|slot| *slot != Slot::NONE)?;
        last.push(Some(value));
        Some(slot)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let (piece, number) = slot.split();
        self.pieces.get(piece)?.get(number)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entry(slot)?.as_mut()
    }

    /// Removes the value of a slot, which another value may take.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let value = self.entry(slot)?.take()?;
        self.vacant.push(slot);
        Some(value)
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Option<T>> {
        let (piece, number) = slot.split();
        self.pieces.get_mut(piece)?.get_mut(number)
    }

    /// Iterates over all values.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_its_slot_until_it_is_removed() {
        let mut slab = Slab::default();
        let all: Vec<Slot> = (0..3000).map(|value| slab.insert(value).unwrap()).collect();
        for (value, slot) in (0..).zip(&all) {
            assert_eq!(slab.get(*slot), Some(&value));
        }
        assert_eq!(slab.remove(all[1500]), Some(1500));
        assert_eq!(slab.get(all[1500]), None);
        assert_eq!(slab.remove(all[1500]), None);
        assert_eq!(slab.get(Slot::NONE), None);
        assert_eq!(slab.all().count(), 2999);
    }

    #[test]
    fn a_vacant_slot_is_taken_before_new_memory() {
        let mut slab = Slab::default();
        let all: Vec<Slot> = (0..1024).map(|value| slab.insert(value).unwrap()).collect();
        for slot in &all {
            slab.remove(*slot);
        }
        for value in 0..1024 {
            assert!(all.contains(&slab.insert(value).unwrap()));
        }
        assert_eq!(slab.pieces.len(), 1);
    }

    #[test]
    fn an_optional_slot_is_as_small_as_its_number() {
        assert_eq!(size_of::<Option<Slot>>(), 4);
    }
}
