//! When a logic server owes too much: pure, looked at a few times a second.
//!
//! Two kinds of clients make a server late. Those that wait for answers before they send more
//! (closed loop) bound themselves: `n` requests under way stand for `n / rate` (Little, "A Proof for
//! the Queuing Formula L = λW", 1961), no longer however long they go on, and a refusal only makes
//! them send once more. Those that send whatever comes (open loop) make the delay grow without end,
//! and gain nothing from a long queue. So:
//!
//! - **Standing.** A queue counts when it stands: when the *minimum* of the delay over an interval
//!   is above `forward.delay`, neither its mean nor a burst (CoDel, RFC 8289 §3.1). The delay of a
//!   look is the median of its answers in place of the least, because quick commands overtake.
//! - **Limit.** What a server answers a second while a queue stands is its capacity. A standing
//!   server may owe `capacity * patience`: a request is refused only where it would wait for longer
//!   than `forward.patience`. CoDel measures the delay of what leaves; at three times the capacity,
//!   what comes then has three times that delay before it, so the limit is on what comes, and a
//!   queue that grows past the patience counts as standing sooner.
//! - **Capacity** is the mean of the last looks, and falls by no more than a quarter a second: a
//!   server that stalls is as quick as before when it goes on (as BBR takes the greatest rate of a
//!   while: Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016).
//! - **Tightening.** Where requests go on being refused, or sessions that have sent more than their
//!   windows for too long are owed most of what is owed, the long queue does not bound anything. The
//!   patience falls to `forward.delay`, half as quickly as the server answers, so that some get in
//!   meanwhile (the two timeouts of Maurer, "Fail at Scale", 2015).
//! - **Probing.** A short queue may be what keeps the refusals going: a closed loop that fits in the
//!   patience, but not in the delay, repeats what is refused for ever (Bronson et al., "Metastable
//!   Failures in Distributed Systems", 2021). So the patience is restored by doublings after a
//!   while; where all fits, it stays, else the next probe is after twice that while.

use std::time::Duration;

/// Requests that a server may owe in any case: bursts, and what waits while it is silent.
pub(in crate::forward) const LEAST: usize = 256;
/// Looks in a row that make an interval: what is so in all of them stands.
const INTERVAL: u32 = 5;
/// Looks without what tightened after which it is over.
const QUIET: u32 = 10;
/// Looks that the mean rate is taken over.
const MEAN: u32 = 8;
/// Seconds in which a capacity that is not seen any more falls to 1/e.
const FORGET: f64 = 4.0;
/// The time from when the patience has fallen to the delay until the first probe, and the longest
/// such time.
const PROBE_FIRST: Duration = Duration::from_secs(10);
const PROBE_MAX: Duration = Duration::from_secs(80);

/// How long requests may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A standing delay below this is no queue; what is let through while the server is
    /// overloaded waits for about as long.
    pub(crate) delay: Duration,
    /// The longest standing delay that is not refused.
    pub(crate) patience: Duration,
}

/// What happened since the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) elapsed: Duration,
    pub(super) answers: usize,
    /// Those of them that took longer than the delay.
    pub(super) late: usize,
    /// Requests over the limit.
    pub(super) refused: usize,
    /// What is owed to sessions that have sent more than their windows for too long.
    pub(super) overfull: usize,
    /// Requests that are not answered now.
    pub(super) owed: usize,
}

/// Whether the patience is as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mode {
    #[default]
    Patient,
    /// It falls, or is as low as it gets, for this time now.
    Tight(Duration),
    /// It rises again.
    Probing,
}

/// What is remembered from one look to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct State {
    mode: Mode,
    /// The patience, where it is not as configured.
    patience: Duration,
    /// The time until the next probe, where there was one.
    probe_after: Option<Duration>,
    /// Looks in a row that found a queue.
    standing: u32,
    /// Looks in a row that found sessions that want too much, and looks in a row that did not.
    pressed: u32,
    quiet: u32,
    /// Looks in a row that found neither.
    idle: u32,
    /// What was owed at the last look.
    owed: usize,
    /// For how long the server has owed answers and given none.
    silent: Duration,
    /// The silence is longer than the patience.
    is_stuck: bool,
    /// Looks of which the rate is known, up to [`MEAN`], and answers a second.
    looks: u32,
    mean: f64,
    capacity: f64,
    /// The limit holds.
    is_limited: bool,
    /// It has turned requests away.
    is_felt: bool,
}

// === impl Bounds ===

impl Bounds {
    #[cfg(test)]
    pub(super) const DEFAULT: Self =
        Self { delay: Duration::from_millis(250), patience: Duration::from_millis(1500) };
}

// === impl Seen ===

impl Seen {
    /// Answers a second.
    fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64().max(0.001)
    }

    /// Whether what comes now waits for longer than the patience, and half as much again comes as
    /// is answered, where `owed` was owed before.
    fn is_running_away(&self, owed: usize, bounds: Bounds) -> bool {
        let within_patience = self.rate() * bounds.patience.as_secs_f64();
        self.answers > 0
            && self.owed as f64 > within_patience
            && self.owed.saturating_sub(owed) > self.answers / 2
    }
}

// === impl State ===

impl State {
    pub(super) fn is_felt(&self) -> bool {
        self.is_felt
    }

    /// The requests that the server may owe while it answers.
    pub(super) fn limit(&self, bounds: Bounds) -> Option<usize> {
        let owed = self.capacity * self.patience(bounds).as_secs_f64();
        self.is_limited.then_some((owed as usize).max(LEAST))
    }

    /// The requests that the server may owe now.
    pub(super) fn limit_now(&self, bounds: Bounds) -> Option<usize> {
        if self.is_stuck { Some(LEAST) } else { self.limit(bounds) }
    }

    /// How long a request may wait unread, in front of a server that owes `owed` requests: together
    /// with its wait there for no longer than the patience, but as long as the delay in any case.
    pub(super) fn unread(&self, owed: usize, bounds: Bounds) -> Duration {
        let standing = if self.is_limited { owed as f64 / self.capacity.max(1.0) } else { 0.0 };
        let standing = Duration::try_from_secs_f64(standing).unwrap_or(Duration::MAX);
        self.patience(bounds).saturating_sub(standing).max(bounds.delay)
    }

    fn patience(&self, bounds: Bounds) -> Duration {
        match self.mode {
            Mode::Patient => bounds.patience,
            Mode::Tight(_) | Mode::Probing => self.patience,
        }
    }

    /// The state after one more look.
    pub(super) fn after(mut self, seen: &Seen, bounds: Bounds) -> Self {
        self.count(seen, bounds);
        if self.idle >= QUIET {
            let Self { owed, silent, is_stuck, .. } = self;
            return Self { owed, silent, is_stuck, ..Self::default() };
        }
        // Where few came, what was answered says nothing of what could be; nor does a silence of a
        // server whose rate is not known.
        if self.idle == 0 && (seen.answers > 0 || self.looks > 0) {
            self.measure(seen);
        }
        self.is_limited |= self.standing >= INTERVAL && self.looks > INTERVAL / 2;
        self.is_felt |= self.pressed > 0;
        self.set_mode(seen, bounds);
        self
    }

    /// Counts looks in a row.
    fn count(&mut self, seen: &Seen, bounds: Bounds) {
        let count = |looks: u32, goes_on| if goes_on { looks.saturating_add(1) } else { 0 };
        // No answer at all is late, too.
        let is_late = seen.late >= seen.answers.div_ceil(2);
        let is_running_away = seen.is_running_away(self.owed, bounds);
        let stands = seen.owed >= LEAST && (is_late || is_running_away);
        // There is less time to make sure.
        self.standing = count(self.standing, stands) + u32::from(stands && is_running_away);
        let is_pressed = seen.refused > 0 || seen.overfull > seen.owed / 2;
        self.pressed = count(self.pressed, is_pressed);
        self.quiet = count(self.quiet, !is_pressed);
        self.idle = count(self.idle, !is_pressed && !stands);
        let is_silent = seen.answers == 0 && seen.owed > 0;
        self.silent = if is_silent { self.silent + seen.elapsed } else { Duration::ZERO };
        self.is_stuck = self.silent > bounds.patience;
        self.owed = seen.owed;
    }

    /// Takes what was answered as what can be.
    fn measure(&mut self, seen: &Seen) {
        let rate = seen.rate();
        self.looks = (self.looks + 1).min(MEAN);
        self.mean += (rate - self.mean) / f64::from(self.looks);
        let remembered = self.capacity * (-seen.elapsed.as_secs_f64() / FORGET).exp();
        self.capacity = self.mean.max(remembered);
    }

    fn set_mode(&mut self, seen: &Seen, bounds: Bounds) {
        let is_pressed = self.pressed > 0;
        match self.mode {
            Mode::Patient if self.pressed >= INTERVAL => {
                self.patience = bounds.patience;
                self.mode = Mode::Tight(Duration::ZERO);
            }
            Mode::Patient => {}
            Mode::Tight(_) | Mode::Probing if self.quiet >= QUIET => {
                self.mode = Mode::Patient;
                self.probe_after = None;
            }
            Mode::Tight(since) if since >= self.probe_after.unwrap_or(PROBE_FIRST) => {
                self.mode = Mode::Probing;
            }
            Mode::Tight(since) => {
                self.patience = self.patience.saturating_sub(seen.elapsed / 2).max(bounds.delay);
                let is_tight = self.patience == bounds.delay;
                self.mode = Mode::Tight(if is_tight { since + seen.elapsed } else { since });
            }
            Mode::Probing if is_pressed && self.patience >= bounds.patience => {
                self.mode = Mode::Tight(Duration::ZERO);
                let last = self.probe_after.unwrap_or(PROBE_FIRST);
                self.probe_after = Some((last * 2).min(PROBE_MAX));
            }
            Mode::Probing if is_pressed => {
                self.patience = (self.patience * 2).min(bounds.patience);
            }
            Mode::Probing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds::DEFAULT;
    const LOOK: Duration = Duration::from_millis(100);

    fn seen(answers: usize, late: usize) -> Seen {
        Seen { elapsed: LOOK, answers, late, refused: 0, overfull: 0, owed: 1000 }
    }

    fn after(state: State, seen: &Seen, looks: u32) -> State {
        (0..looks).fold(state, |state, _| state.after(seen, BOUNDS))
    }

    /// A server that answers 1,000 requests a second late.
    fn standing() -> State {
        after(State::default(), &seen(100, 100), INTERVAL)
    }

    fn tight() -> State {
        after(standing(), &Seen { refused: 1, ..seen(100, 100) }, 60)
    }

    #[test]
    fn answers_in_time_need_no_limit_however_many_are_owed() {
        let quick = Seen { owed: 1_000_000, ..seen(1000, 499) };
        assert_eq!(after(State::default(), &quick, 100).limit_now(BOUNDS), None);
    }

    #[test]
    fn a_delay_that_stands_for_an_interval_limits_what_is_owed_to_the_patience() {
        let late = seen(100, 50);
        let state = after(State::default(), &late, INTERVAL - 1);
        assert_eq!(state.limit(BOUNDS), None, "a burst");
        assert_eq!(after(state, &late, 1).limit(BOUNDS), Some(1500));
        let broken = after(after(state, &seen(100, 0), 1), &late, INTERVAL - 1);
        assert_eq!(broken.limit(BOUNDS), None, "the least delay is below");
        let few = Seen { owed: LEAST - 1, ..late };
        assert_eq!(after(State::default(), &few, 100).limit(BOUNDS), None, "slow, no queue");
        assert_eq!(after(State::default(), &seen(1, 1), 9).limit(BOUNDS), Some(LEAST));
    }

    #[test]
    fn a_queue_that_grows_past_the_patience_is_limited_sooner() {
        let grown = |owed| Seen { owed, ..seen(100, 0) };
        let state = after(after(State::default(), &grown(2000), 1), &grown(2051), 1);
        assert_eq!(state.limit(BOUNDS), None);
        assert_eq!(after(state, &grown(2102), 1).limit(BOUNDS), Some(1500));
        assert_eq!(after(state, &grown(2100), 1).limit(BOUNDS), None, "not by much");
    }

    #[test]
    fn a_capacity_is_remembered_through_a_stall_and_forgotten_after_a_while() {
        let stalled = after(standing(), &seen(0, 0), 8);
        let limit = stalled.limit(BOUNDS).unwrap();
        assert!((1200..1300).contains(&limit), "{limit}");
        let limit = after(standing(), &seen(20, 20), 100).limit(BOUNDS).unwrap();
        assert!((290..=310).contains(&limit), "{limit}");
    }

    #[test]
    fn a_limit_goes_when_there_has_been_no_queue_for_a_while() {
        let state = after(standing(), &seen(10, 0), QUIET - 1);
        assert_eq!(state.limit(BOUNDS), Some(1500));
        let gone = State { owed: 1000, ..State::default() };
        assert_eq!(after(state, &seen(10, 0), 1), gone);
        let again = after(state, &seen(100, 100), 1);
        assert!(after(again, &seen(10, 0), QUIET - 1).limit(BOUNDS).is_some(), "from the start");
    }

    #[test]
    fn refusals_that_go_on_tighten_and_their_end_loosens() {
        let refusing = Seen { refused: 1, ..seen(100, 100) };
        let state = after(standing(), &refusing, INTERVAL);
        assert_eq!(state.limit(BOUNDS), Some(1500));
        assert_eq!(after(state, &refusing, 5).limit(BOUNDS), Some(1250));
        assert_eq!(tight().limit(BOUNDS), Some(LEAST), "250 ms");
        let quiet = after(tight(), &seen(100, 100), QUIET - 1);
        assert_eq!(quiet.limit(BOUNDS), Some(LEAST));
        assert_eq!(after(quiet, &seen(100, 100), 1).limit(BOUNDS), Some(1500));
    }

    #[test]
    fn sessions_over_their_windows_tighten_where_they_are_most_of_what_is_owed() {
        let few = Seen { overfull: 500, ..seen(100, 100) };
        assert_eq!(after(standing(), &few, 60).mode, Mode::Patient);
        let most = Seen { overfull: 501, ..seen(100, 100) };
        let state = after(standing(), &most, 60);
        assert!(matches!(state.mode, Mode::Tight(_)), "{state:?}");
    }

    #[test]
    fn a_probe_restores_the_patience_where_all_fits_and_comes_later_where_not() {
        let refusing = Seen { refused: 1, ..seen(1000, 1000) };
        let mut state = after(standing(), &refusing, 60);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let looks = until(&mut state, &refusing, |mode| mode == Mode::Probing);
            waits.push(looks / 10);
            until(&mut state, &refusing, |mode| mode != Mode::Probing);
        }
        assert!(waits[1] > 20 && waits[2] > 40 && waits[3] > 80, "{waits:?}");
        assert_eq!(waits[3], waits[4]);
        until(&mut state, &refusing, |mode| mode == Mode::Probing);
        state = after(after(state, &refusing, 2), &seen(1000, 1000), QUIET);
        assert_eq!((state.mode, state.probe_after), (Mode::Patient, None));
    }

    /// Looks until the mode is as wanted.
    fn until(state: &mut State, seen: &Seen, wanted: impl Fn(Mode) -> bool) -> u32 {
        for looks in 0..2000 {
            if wanted(state.mode) {
                return looks;
            }
            *state = after(*state, seen, 1);
        }
        panic!("{state:?}");
    }

    #[test]
    fn a_server_that_owes_and_says_nothing_for_too_long_is_stuck() {
        let state = after(standing(), &seen(0, 0), 15);
        assert!(state.limit_now(BOUNDS) > Some(LEAST));
        let stuck = after(state, &seen(0, 0), 1);
        assert_eq!(stuck.limit_now(BOUNDS), Some(LEAST));
        assert!(stuck.limit(BOUNDS) > Some(LEAST), "as before, once it answers");
        assert!(after(stuck, &seen(1, 1), 1).limit_now(BOUNDS) > Some(LEAST));
        // It owes nothing: it is idle, not silent.
        let idle = after(State::default(), &Seen { owed: 0, ..seen(0, 0) }, 100);
        assert_eq!(idle.limit_now(BOUNDS), None);
    }

    #[test]
    fn what_is_unread_and_what_is_owed_wait_no_longer_than_the_patience_together() {
        let millis = |state: State, owed| state.unread(owed, BOUNDS).as_millis();
        assert_eq!(millis(State::default(), 1000), 1500);
        assert_eq!(millis(standing(), 500), 1000);
        assert_eq!(millis(standing(), 5000), 250);
        assert_eq!(millis(tight(), 0), 250);
    }
}
