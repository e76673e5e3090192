//! What a client has sent, or is to send, and has no answer to: it outlives a connection.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::super::stamp::Stamp;

/// Messages without an answer, by sequence number, which is that of the message.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<BTreeMap<u32, Stamp>>);

impl Outbox {
    /// A message is to be sent, under this sequence number.
    pub(super) fn add(&self, stamp: Stamp) {
        self.lock().insert(sequence(stamp), stamp);
    }

    /// An answer has come; gives what it is the answer to, if it is the first.
    pub(super) fn answered(&self, sequence: u32) -> Option<Stamp> {
        self.lock().remove(&sequence)
    }

    /// All of them, the oldest first.
    pub(super) fn unanswered(&self) -> Vec<Stamp> {
        let mut stamps: Vec<Stamp> = self.lock().values().copied().collect();
        stamps.sort_by_key(|stamp| stamp.number);
        stamps
    }

    /// What a sequence number stands for, if it has no answer.
    pub(super) fn get(&self, sequence: u32) -> Option<Stamp> {
        self.lock().get(&sequence).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Stamp>> {
        // The map stays whole whatever panicked while it was locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the messages that a client may have unanswered, no two have the same.
pub(super) fn sequence(stamp: Stamp) -> u32 {
    (stamp.number & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_no_answer_is_sent_again_in_its_order() {
        let outbox = Outbox::default();
        let last = u64::from(u32::MAX);
        for number in [last - 1, last, last + 1] {
            outbox.add(Stamp { sender: 1, number, due: Duration::ZERO });
        }
        let numbers = |outbox: &Outbox| {
            outbox.unanswered().iter().map(|stamp| stamp.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&outbox), [last - 1, last, last + 1]);
        assert_eq!(outbox.answered(u32::MAX).map(|stamp| stamp.number), Some(last));
        assert_eq!(outbox.answered(u32::MAX), None, "the answer to a repeat");
        assert_eq!(numbers(&outbox), [last - 1, last + 1]);
    }
}
