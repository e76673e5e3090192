//! What is offered when: three stretches of time, and the messages of each client that are due in
//! them, whatever the servers do.

use std::time::Duration;

/// A stretch of time with one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A moderate rate, to compare with.
    Before,
    /// More than the servers can do.
    Overload,
    /// The moderate rate again.
    After,
}

impl Phase {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::Overload, Self::After];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Overload => "overload",
            Self::After => "after",
        }
    }
}

/// One phase of a plan. Times count from the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) phase: Phase,
    pub(super) from: Duration,
    pub(super) until: Duration,
    /// Messages a second of all clients together.
    pub(super) rate: f64,
}

/// All phases, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) stretches: [Stretch; 3],
    clients: usize,
}

impl Plan {
    /// `moderate` messages a second, `high` ones, and `moderate` ones again.
    pub(super) fn new(
        clients: usize,
        (moderate, calm): (f64, Duration),
        (high, overload): (f64, Duration),
    ) -> Self {
        let mut from = Duration::ZERO;
        let mut stretch = |phase, rate, lasts| {
            let stretch = Stretch { phase, from, until: from + lasts, rate };
            from = stretch.until;
            stretch
        };
        let stretches = [
            stretch(Phase::Before, moderate, calm),
            stretch(Phase::Overload, high, overload),
            stretch(Phase::After, moderate, calm),
        ];
        Self { stretches, clients }
    }

    /// How long all of it takes.
    pub(super) fn lasts(&self) -> Duration {
        self.stretches.iter().map(|stretch| stretch.until).max().unwrap_or_default()
    }

    pub(super) fn stretch(&self, phase: Phase) -> Stretch {
        let [before, overload, after] = self.stretches;
        match phase {
            Phase::Before => before,
            Phase::Overload => overload,
            Phase::After => after,
        }
    }

    /// The phase that a moment is in; what is past the end belongs to the last.
    pub(super) fn phase(&self, at: Duration) -> Phase {
        let [before, overload, _] = self.stretches;
        if at < before.until {
            Phase::Before
        } else if at < overload.until {
            Phase::Overload
        } else {
            Phase::After
        }
    }

    /// When the messages of one client are due, in order. The clients take turns.
    pub(super) fn due(&self, client: usize) -> impl Iterator<Item = Duration> + Send + use<> {
        let (clients, stretches) = (self.clients as f64, self.stretches);
        stretches.into_iter().flat_map(move |stretch| {
            let interval = clients / stretch.rate;
            let offset = interval * (client as f64 * 0.618_034).fract();
            let times = (0_u32..).map(move |number| {
                stretch.from + Duration::from_secs_f64(offset + interval * f64::from(number))
            });
            times.take_while(move |due| *due < stretch.until)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_phase_offers_its_rate_over_all_clients() {
        let plan = Plan::new(10, (300.0, 2 * SECOND), (3000.0, SECOND));
        assert_eq!(plan.lasts(), 5 * SECOND);
        let mut counts = [0_i32; 3];
        for client in 0..10 {
            let due: Vec<Duration> = plan.due(client).collect();
            assert!(due.is_sorted());
            for due in due {
                counts[plan.phase(due) as usize] += 1;
            }
        }
        for (count, expected) in counts.into_iter().zip([600, 3000, 600]) {
            assert!((count - expected).abs() <= 10, "{counts:?}");
        }
    }

    #[test]
    fn clients_are_not_all_due_at_the_same_moment() {
        let plan = Plan::new(4, (4.0, SECOND), (40.0, SECOND));
        let mut firsts: Vec<Duration> =
            (0..4).filter_map(|client| plan.due(client).next()).collect();
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 4);
    }

    #[test]
    fn a_rate_below_one_message_of_a_client_is_due_to_some_of_them() {
        let plan = Plan::new(100, (10.0, SECOND), (1000.0, SECOND));
        let before = |client: usize| plan.due(client).filter(|due| *due < SECOND).count();
        let total: usize = (0..100).map(before).sum();
        assert!((9..=11).contains(&total), "{total}");
    }
}
