//! Places for things that stay where they are: a million of them grow by a little more, never by a
//! copy of all, for which everybody who asks for one would have to wait.

use std::num::NonZeroU32;

/// Places in a piece of memory.
const PIECE: usize = 1024;

/// Things, each in a place of its own.
#[derive(Debug)]
pub(super) struct Places<T> {
    /// All but the last have a full number of places.
    pieces: Vec<Vec<Option<T>>>,
    vacant: Vec<Place>,
}

/// Where a thing is, until it is taken out. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(NonZeroU32);

// === impl Place ===

impl Place {
    /// Where nothing ever is.
    pub(super) const NOWHERE: Self = Self(NonZeroU32::MAX);

    /// The piece, and the place in it.
    fn split(self) -> (usize, usize) {
        let index = self.0.get() as usize - 1;
        (index / PIECE, index % PIECE)
    }
}

// === impl Places ===

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Places<T> {
    /// Puts a thing somewhere. `None` where there is no place left, after four thousand million.
    pub(super) fn insert(&mut self, thing: T) -> Option<Place> {
        if let Some(place) = self.vacant.pop() {
            *self.slot(place)? = Some(thing);
            return Some(place);
        }
        if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let before = (self.pieces.len() - 1) * PIECE;
        let last = self.pieces.last_mut()?;
        let number = u32::try_from(before + last.len() + 1).ok().and_then(NonZeroU32::new);
        let place = number.map(Place).filter(|place| *place != Place::NOWHERE)?;
        last.push(Some(thing));
        Some(place)
    }

    pub(super) fn get(&self, place: Place) -> Option<&T> {
        let (piece, number) = place.split();
        self.pieces.get(piece)?.get(number)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        self.slot(place)?.as_mut()
    }

    /// Takes out what is there: something else may come to its place.
    pub(super) fn remove(&mut self, place: Place) -> Option<T> {
        let thing = self.slot(place)?.take()?;
        self.vacant.push(place);
        Some(thing)
    }

    fn slot(&mut self, place: Place) -> Option<&mut Option<T>> {
        let (piece, number) = place.split();
        self.pieces.get_mut(piece)?.get_mut(number)
    }

    /// What is in the places.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_found_in_its_place_until_it_is_taken_out() {
        let mut places = Places::default();
        let all: Vec<Place> = (0..3000).map(|thing| places.insert(thing).unwrap()).collect();
        for (thing, place) in (0..).zip(&all) {
            assert_eq!(places.get(*place), Some(&thing));
        }
        assert_eq!(places.remove(all[1500]), Some(1500));
        assert_eq!(places.get(all[1500]), None);
        assert_eq!(places.remove(all[1500]), None);
        assert_eq!(places.get(Place::NOWHERE), None);
        assert_eq!(places.all().count(), 2999);
    }

    #[test]
    fn a_place_that_became_vacant_is_taken_before_new_memory() {
        let mut places = Places::default();
        let all: Vec<Place> = (0..1024).map(|thing| places.insert(thing).unwrap()).collect();
        for place in &all {
            places.remove(*place);
        }
        for thing in 0..1024 {
            assert!(all.contains(&places.insert(thing).unwrap()));
        }
        assert_eq!(places.pieces.len(), 1);
    }

    #[test]
    fn a_place_costs_nothing_but_what_is_in_it() {
        assert_eq!(size_of::<Option<Place>>(), 4);
    }
}
