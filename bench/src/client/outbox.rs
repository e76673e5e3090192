//! What a client has sent, or is to send, and has no answer to: it outlives a connection.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::measure::stamp::Stamp;

/// Messages without an answer, by sequence number, which is that of the message.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<BTreeMap<u32, Waiting>>);

/// When a message goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsSent {
    Now,
    Later,
}

/// A message without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) stamp: Stamp,
    /// Whether it went out before.
    pub(crate) was_sent: bool,
}

impl Outbox {
    /// A message is to be sent, now, or at the next login.
    pub(crate) fn add(&self, stamp: Stamp, is_sent: IsSent) {
        let was_sent = is_sent == IsSent::Now;
        self.lock().insert(sequence(stamp), Waiting { stamp, was_sent });
    }

    /// An answer has come; gives what it is the answer to, if it is the first.
    pub(crate) fn answered(&self, sequence: u32) -> Option<Stamp> {
        self.lock().remove(&sequence).map(|waiting| waiting.stamp)
    }

    /// All of them, the oldest first: they are sent now.
    pub(crate) fn send_all(&self) -> Vec<Waiting> {
        let mut outbox = self.lock();
        let mut all: Vec<Waiting> = outbox.values().copied().collect();
        outbox.values_mut().for_each(|waiting| waiting.was_sent = true);
        all.sort_by_key(|waiting| waiting.stamp.number);
        all
    }

    /// What a sequence number stands for, if it has no answer.
    pub(crate) fn get(&self, sequence: u32) -> Option<Stamp> {
        self.lock().get(&sequence).map(|waiting| waiting.stamp)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Waiting>> {
        // The map stays whole whatever panicked while it was locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the messages that a client may have unanswered, no two have the same.
pub(crate) fn sequence(stamp: Stamp) -> u32 {
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
            outbox.add(Stamp { sender: 1, number, due: Duration::ZERO }, IsSent::Now);
        }
        let numbers = |outbox: &Outbox| {
            outbox.send_all().iter().map(|waiting| waiting.stamp.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&outbox), [last - 1, last, last + 1]);
        assert_eq!(outbox.answered(u32::MAX).map(|stamp| stamp.number), Some(last));
        assert_eq!(outbox.answered(u32::MAX), None, "the answer to a repeat");
        assert_eq!(numbers(&outbox), [last - 1, last + 1]);
    }

    #[test]
    fn what_waited_for_a_login_was_not_sent_before() {
        let outbox = Outbox::default();
        for (number, is_sent) in [(0, IsSent::Now), (1, IsSent::Later)] {
            outbox.add(Stamp { sender: 1, number, due: Duration::ZERO }, is_sent);
        }
        let were_sent = |outbox: &Outbox| {
            outbox.send_all().iter().map(|waiting| waiting.was_sent).collect::<Vec<_>>()
        };
        assert_eq!(were_sent(&outbox), [true, false]);
        assert_eq!(were_sent(&outbox), [true, true]);
    }
}
