//! What the clients of an overload count together: by phase, and by windows of time.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::plan::{Phase, Plan};
use crate::{
    client::unanswered::Asked,
    measure::{
        recorder::Recorder,
        recovery::{self, WINDOW},
        run::{is_accepted, new_mark},
    },
};

/// What is counted of the messages that were due in one phase.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) due: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) delivered: AtomicU64,
    /// Answers other than success, by status.
    pub(super) refused: Mutex<BTreeMap<u32, u64>>,
    /// Until requests were accepted, and until they were delivered, from when they were due.
    pub(super) accepted_since_due: Recorder,
    pub(super) delivered_since_due: Recorder,
    /// The same from when they were written, and until others were refused.
    pub(super) accepted_since_written: Recorder,
    pub(super) delivered_since_written: Recorder,
    pub(super) refused_since_written: Recorder,
}

/// One window of time.
pub(super) struct Slot {
    /// Answers that came in it, and messages that were not sent in it.
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) not_sent: AtomicU64,
    /// Messages that were due in it, and those of them that were accepted.
    due: AtomicU64,
    due_accepted: AtomicU64,
    /// Microseconds until these were, from when they were due: coarse, because there are many.
    times: Mutex<Histogram<u32>>,
}

/// Everything.
pub(super) struct Ledger {
    started: Instant,
    /// What its messages carry, so that those of earlier runs are not taken for them.
    pub(super) mark: String,
    pub(super) plan: Plan,
    phases: [Counts; 3],
    slots: Vec<Slot>,
    /// Messages that came a second time, or after a later one.
    again: AtomicU64,
}

impl Slot {
    fn new() -> Self {
        let times = Histogram::new_with_bounds(1, 60_000_000, 1)
            .expect("bounds and digits are within what it takes");
        let zero = AtomicU64::default;
        Self {
            accepted: zero(),
            refused: zero(),
            not_sent: zero(),
            due: zero(),
            due_accepted: zero(),
            times: Mutex::new(times),
        }
    }

    fn times(&self) -> MutexGuard<'_, Histogram<u32>> {
        // A histogram stays whole whatever panicked while it was locked.
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn p50(&self) -> Duration {
        Duration::from_micros(self.times().value_at_quantile(0.5))
    }

    pub(super) fn window(&self) -> recovery::Window {
        let p99 = Duration::from_micros(self.times().value_at_quantile(0.99));
        let failed = count(&self.due).saturating_sub(count(&self.due_accepted));
        recovery::Window { p99, failed }
    }
}

pub(super) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Ledger {
    /// For a plan that begins at `started`.
    pub(super) fn new(plan: Plan, started: Instant) -> Self {
        let slots = plan.lasts().as_secs_f64() / WINDOW.as_secs_f64();
        let slots = (0..slots.ceil() as usize).map(|_| Slot::new()).collect();
        let (phases, again) = Default::default();
        Self { started, mark: new_mark(), plan, phases, slots, again }
    }

    /// Time since the start; nothing before it.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment at which something is due.
    pub(super) fn moment(&self, due: Duration) -> Instant {
        self.started + due
    }

    pub(super) fn phase(&self, phase: Phase) -> &Counts {
        let [before, overload, after] = &self.phases;
        match phase {
            Phase::Before => before,
            Phase::Overload => overload,
            Phase::After => after,
        }
    }

    fn counts(&self, due: Duration) -> &Counts {
        self.phase(self.plan.phase(due))
    }

    /// The window of a moment; what is past the end belongs to none.
    fn slot(&self, at: Duration) -> Option<&Slot> {
        self.slots.get((at.as_secs_f64() / WINDOW.as_secs_f64()) as usize)
    }

    /// The windows of a phase.
    pub(super) fn slots_of(&self, phase: Phase) -> impl Iterator<Item = &Slot> {
        let stretch = self.plan.stretch(phase);
        let place = |at: Duration| (at.as_secs_f64() / WINDOW.as_secs_f64()).round() as usize;
        let (from, until) = (place(stretch.from), place(stretch.until));
        self.slots.iter().skip(from).take(until - from)
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn due(&self, due: Duration) {
        add(&self.counts(due).due, 1);
        if let Some(slot) = self.slot(due) {
            add(&slot.due, 1);
        }
    }

    /// A message goes out.
    pub(super) fn sent(&self, due: Duration) {
        self.due(due);
        add(&self.counts(due).sent, 1);
    }

    /// A message was due, and could not be written.
    pub(super) fn not_sent(&self, due: Duration) {
        self.due(due);
        if let Some(slot) = self.slot(due) {
            add(&slot.not_sent, 1);
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self, client: usize, asked: Asked, status: u32) {
        let (now, counts) = (self.now(), self.counts(asked.due));
        let (since_due, since_written) =
            (now.saturating_sub(asked.due), now.saturating_sub(asked.written));
        let slot = self.slot(now);
        if !is_accepted(status) {
            counts.refused_since_written.record(client, since_written);
            let mut refused = counts.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused.entry(status).or_default() += 1;
            return slot.into_iter().for_each(|slot| add(&slot.refused, 1));
        }
        add(&counts.accepted, 1);
        counts.accepted_since_due.record(client, since_due);
        counts.accepted_since_written.record(client, since_written);
        slot.into_iter().for_each(|slot| add(&slot.accepted, 1));
        if let Some(slot) = self.slot(asked.due) {
            add(&slot.due_accepted, 1);
            let micros = u64::try_from(since_due.as_micros()).unwrap_or(u64::MAX);
            slot.times().saturating_record(micros.max(1));
        }
    }

    /// A message arrived.
    pub(super) fn delivered(&self, client: usize, asked: Asked) {
        let (now, counts) = (self.now(), self.counts(asked.due));
        add(&counts.delivered, 1);
        counts.delivered_since_due.record(client, now.saturating_sub(asked.due));
        counts.delivered_since_written.record(client, now.saturating_sub(asked.written));
    }

    /// A message came a second time, or after a later one.
    pub(super) fn again(&self) {
        add(&self.again, 1);
    }

    pub(super) fn came_again(&self) -> u64 {
        count(&self.again)
    }

    /// Requests without an answer, and accepted messages that have not arrived.
    pub(super) fn missing(&self) -> (u64, u64) {
        let sum = |of: fn(&Counts) -> u64| self.phases.iter().map(of).sum::<u64>();
        let (sent, accepted) =
            (sum(|phase| count(&phase.sent)), sum(|phase| count(&phase.accepted)));
        let answers = accepted + sum(Counts::refusals);
        let delivered = sum(|phase| count(&phase.delivered));
        (sent.saturating_sub(answers), accepted.saturating_sub(delivered))
    }
}

impl Counts {
    /// Answers other than success.
    pub(super) fn refusals(&self) -> u64 {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ledger() -> Ledger {
        Ledger::new(Plan::new(2, (10.0, SECOND), (100.0, SECOND)), Instant::now())
    }

    #[test]
    fn a_message_counts_for_the_phase_in_which_it_was_due() {
        let ledger = ledger();
        let in_overload = SECOND + SECOND / 2;
        ledger.sent(in_overload);
        ledger.sent(in_overload);
        ledger.not_sent(in_overload);
        let asked = Asked { due: in_overload, written: in_overload };
        ledger.answered(0, asked, 0);
        ledger.answered(0, asked, 300);
        let overload = ledger.phase(Phase::Overload);
        assert_eq!((count(&overload.due), count(&overload.sent)), (3, 2));
        assert_eq!((count(&overload.accepted), overload.refusals()), (1, 1));
        assert_eq!(count(&ledger.phase(Phase::After).due), 0);
        let window = ledger.slots_of(Phase::Overload).nth(5).unwrap().window();
        assert_eq!(window.failed, 2, "one refused, one not sent");
    }

    #[test]
    fn nothing_is_missing_when_all_is_answered_and_what_is_accepted_has_arrived() {
        let ledger = ledger();
        let asked = Asked { due: Duration::ZERO, written: Duration::ZERO };
        ledger.sent(asked.due);
        assert_eq!(ledger.missing(), (1, 0));
        ledger.answered(0, asked, 0);
        assert_eq!(ledger.missing(), (0, 1));
        ledger.delivered(1, asked);
        assert_eq!(ledger.missing(), (0, 0));
    }

    #[test]
    fn there_is_a_window_for_every_moment_of_the_plan_and_none_beyond() {
        let ledger = ledger();
        assert_eq!(ledger.slots().len(), 30);
        assert!(ledger.slot(3 * SECOND - WINDOW / 2).is_some());
        assert!(ledger.slot(3 * SECOND).is_none());
        let of = |phase| ledger.slots_of(phase).count();
        assert_eq!(Phase::ALL.map(of), [10, 10, 10]);
    }
}
