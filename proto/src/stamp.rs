//! Stamps of a hybrid logical clock, by which logins are ordered.

/// A moment on a hybrid logical clock: 48 bits of Unix milliseconds, then 16 bits that count. It
/// follows everything that its clock had heard of, whatever the wall clocks say (Kulkarni et al.,
/// Logical Physical Clocks, 2014).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Stamp(pub u64);

/// Bits that count.
const COUNTER: u32 = 16;

// === impl Stamp ===

impl Stamp {
    /// The first stamp of the millisecond of these Unix nanoseconds.
    pub fn at(unix_nanos: i64) -> Self {
        let millis = u64::try_from(unix_nanos).unwrap_or_default() / 1_000_000;
        Self(millis << COUNTER)
    }

    /// The stamp right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Its Unix milliseconds.
    pub const fn unix_millis(self) -> u64 {
        self.0 >> COUNTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_a_moment_is_its_millisecond() {
        let moment = 1_700_000_000_123_456_789;
        assert_eq!(Stamp::at(moment).unix_millis(), 1_700_000_000_123);
        assert_eq!(Stamp::at(moment), Stamp::at(moment + 500_000));
        assert!(Stamp::at(moment).next() < Stamp::at(moment + 1_000_000));
        assert_eq!((Stamp::at(-1), Stamp::at(0)), (Stamp(0), Stamp(0)));
        assert_eq!(Stamp::at(i64::MAX).unix_millis(), i64::MAX as u64 / 1_000_000);
    }

    #[test]
    fn a_full_counter_runs_into_the_next_millisecond() {
        let last = Stamp(0xffff);
        assert_eq!((last.next(), last.next().unix_millis()), (Stamp(0x1_0000), 1));
        assert_eq!(Stamp(u64::MAX).next(), Stamp(u64::MAX));
    }
}
