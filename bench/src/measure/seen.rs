//! Which messages a client has received: each counts once.

use std::collections::{HashMap, HashSet};

/// The messages of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    senders: HashMap<usize, FromOne>,
    /// Messages that came a second time: after a crash the wire delivers at least once.
    pub(crate) again: u64,
    /// Messages that came after a later one of the same sender.
    pub(crate) late: u64,
}

/// What one client counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) again: u64,
    pub(crate) late: u64,
}

/// The messages of one sender. Those before `next` have all come, so that little is remembered.
#[derive(Debug, Default)]
struct FromOne {
    next: u64,
    beyond: HashSet<u64>,
}

impl Seen {
    /// Whether the message is a new one.
    pub(crate) fn is_new(&mut self, sender: usize, number: u64) -> bool {
        let from = self.senders.entry(sender).or_default();
        if number < from.next || from.beyond.contains(&number) {
            self.again += 1;
            return false;
        }
        if number > from.next {
            from.beyond.insert(number);
            return true;
        }
        from.next += 1;
        if !from.beyond.is_empty() {
            self.late += 1;
        }
        while from.beyond.remove(&from.next) {
            from.next += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_counts_once_in_whatever_order() {
        let mut seen = Seen::default();
        for number in [0, 1, 3, 4, 2, 5] {
            assert!(seen.is_new(7, number));
        }
        assert!(seen.is_new(8, 0), "of another sender");
        assert_eq!((seen.again, seen.late), (0, 1));
        for number in [0, 3, 5] {
            assert!(!seen.is_new(7, number));
        }
        assert_eq!(seen.again, 3);
    }
}
