//! What a measured message says: who sent it, as which, and when it was to be sent.

use std::{io::Write, time::Duration};

/// Smallest body that holds a stamp.
pub(crate) const SIZE_MIN: usize = 32;

/// The mark of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Number of the client that sent it.
    pub(crate) sender: usize,
    /// Its number among that client's messages, from 0 on.
    pub(crate) number: u64,
    /// When it was to be sent, since the start of the run. Not when it was: a message that had to
    /// wait for its turn has waited (coordinated omission).
    pub(crate) due: Duration,
}

impl Stamp {
    /// A body of `size` bytes.
    pub(crate) fn body(&self, size: usize) -> String {
        let due = u64::try_from(self.due.as_micros()).unwrap_or(u64::MAX);
        write([self.sender as u64, self.number, due], size)
    }

    /// Reads it back; `None` where the message is not of a run.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let [sender, number, due] = read(body)?;
        let due = Duration::from_micros(due);
        Some(Self { sender: usize::try_from(sender).ok()?, number, due })
    }
}

/// A body of `size` bytes, or what is needed, that holds three numbers.
pub(crate) fn write(numbers: [u64; 3], size: usize) -> String {
    let mut body = Vec::with_capacity(size);
    for number in numbers {
        // Writing to memory does not fail.
        let _ = write!(body, "{number} ");
    }
    body.resize(size.max(body.len()), b'x');
    String::from_utf8(body).unwrap_or_default()
}

/// Reads them back.
pub(crate) fn read(body: &[u8]) -> Option<[u64; 3]> {
    let mut words = body.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse().ok();
    Some([number()?, number()?, number()?])
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
            assert_eq!(Stamp::read(body.as_bytes()), Some(stamp));
        }
        assert_eq!(Stamp::read(b"hello"), None);
        assert_eq!(Stamp::read(b"1 2 x "), None);
    }
}
