//! The best rate of the servers, as a closed loop finds it.

/// The best rate, as a closed loop found it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Best {
    /// Messages a second.
    pub(super) rate: f64,
    /// Microseconds of CPU time of the servers for each of these.
    pub(super) cpu: f64,
}

impl Best {
    /// In the middle between two.
    pub(super) fn midpoint(self, other: Self) -> Self {
        Self { rate: self.rate.midpoint(other.rate), cpu: self.cpu.midpoint(other.cpu) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_a_round_lies_between_that_before_and_that_after() {
        let (before, after) = (Best { rate: 10.0, cpu: 1.0 }, Best { rate: 30.0, cpu: 2.0 });
        assert_eq!(before.midpoint(after), Best { rate: 20.0, cpu: 1.5 });
    }
}
