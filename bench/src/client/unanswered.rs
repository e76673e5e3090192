//! The requests of one client that wait for their answers, found by their sequence numbers.

use std::{collections::VecDeque, time::Duration};

/// Requests that one client remembers. Overflow policy: it sends no more, see [`Unanswered::room`].
const MAX: usize = 4096;

/// When a request was due, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) due: Duration,
    pub(crate) written: Duration,
}

/// In the order in which they were sent; answers may come in another.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    first: u32,
    asked: VecDeque<Option<Asked>>,
}

impl Unanswered {
    /// How many more may be sent now.
    pub(crate) fn room(&self) -> usize {
        MAX - self.asked.len()
    }

    /// Remembers a request, if there is room; gives its sequence number.
    pub(crate) fn push(&mut self, asked: Asked) -> Option<u32> {
        if self.room() == 0 {
            return None;
        }
        let sequence = self.first.wrapping_add(self.asked.len() as u32);
        self.asked.push_back(Some(asked));
        Some(sequence)
    }

    /// Takes the request that is answered; `None` where none waits under this number.
    pub(crate) fn take(&mut self, sequence: u32) -> Option<Asked> {
        let place = sequence.wrapping_sub(self.first) as usize;
        let asked = self.asked.get_mut(place)?.take();
        while let Some(None) = self.asked.front() {
            self.asked.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(at: u64) -> Asked {
        Asked { due: Duration::from_millis(at), written: Duration::from_millis(at + 1) }
    }

    #[test]
    fn answers_find_their_requests_in_any_order_and_once() {
        let mut unanswered = Unanswered { first: u32::MAX - 1, ..Unanswered::default() };
        let numbers: Vec<u32> = (0..4).map(|at| unanswered.push(asked(at)).unwrap()).collect();
        assert_eq!(numbers, [u32::MAX - 1, u32::MAX, 0, 1]);
        for at in [2, 0, 3, 1] {
            assert_eq!(unanswered.take(numbers[at]), Some(asked(at as u64)));
            assert_eq!(unanswered.take(numbers[at]), None);
        }
        assert_eq!(unanswered.room(), MAX);
        assert_eq!(unanswered.take(77), None);
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut unanswered = Unanswered::default();
        let last = (0..MAX).map(|_| unanswered.push(asked(1)).unwrap()).last();
        assert_eq!(unanswered.push(asked(2)), None);
        // One in the middle makes no room; the oldest does.
        assert!(unanswered.take(last.unwrap()).is_some());
        assert_eq!(unanswered.room(), 0);
        assert!(unanswered.take(0).is_some());
        assert_eq!(unanswered.room(), 1);
    }
}
