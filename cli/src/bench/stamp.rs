//! What a measured message says: who sent it, as which, and when it was to be sent.

use std::time::Duration;

/// Smallest body that holds a stamp.
pub(super) const SIZE_MIN: usize = 32;

/// The mark of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Number of the client that sent it.
    pub(super) sender: usize,
    /// Its number among that client's messages, from 0 on.
    pub(super) number: u64,
    /// When it was to be sent, since the start of the run. Not when it was: a message that had to
    /// wait for its turn has waited (coordinated omission).
    pub(super) due: Duration,
}

impl Stamp {
    /// A body of `size` bytes.
    pub(super) fn body(&self, size: usize) -> String {
        let mut body = format!("{} {} {} ", self.sender, self.number, self.due.as_micros());
        body.extend(std::iter::repeat_n('x', size.saturating_sub(body.len())));
        body
    }

    /// Reads it back; `None` where the message is not of a run.
    pub(super) fn read(body: &str) -> Option<Self> {
        let mut words = body.split(' ');
        let sender = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        let due = Duration::from_micros(words.next()?.parse().ok()?);
        Some(Self { sender, number, due })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_from_a_body_of_the_asked_size() {
        let stamp =
            Stamp { sender: 9999, number: 123_456, due: Duration::from_micros(600_000_000) };
        for size in [SIZE_MIN, 64, 4000] {
            let body = stamp.body(size);
            assert_eq!(body.len(), size);
            assert_eq!(Stamp::read(&body), Some(stamp));
        }
        assert_eq!(Stamp::read("hello"), None);
    }
}
