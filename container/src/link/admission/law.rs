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
//!   windows for too long are owed much of what is owed, the long queue does not bound anything. The
//!   patience falls to `forward.delay`, half as quickly as the server answers, so that some get in
//!   meanwhile (the two timeouts of Maurer, "Fail at Scale", 2015).
//! - **Probing.** A short queue may be what keeps the refusals going: a closed loop that fits in the
//!   patience, but not in the delay, repeats what is refused for ever (Bronson et al., "Metastable
//!   Failures in Distributed Systems", 2021). So the patience is restored by doublings after a
//!   while; where all fits, it stays, else the next probe is after twice that while.

#[cfg(test)]
mod tests;

use std::time::Duration;

/// Requests that a server may owe in any case: bursts, and what waits while it is silent.
pub(crate) const LEAST: usize = 256;
/// Looks in a row that make an interval: what is so in all of them stands.
const INTERVAL: u32 = 5;
/// The share of what is owed to sessions that have sent more than their windows, from which on they
/// are what makes the server late.
const OVERFULL: f64 = 0.25;
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
    /// What is owed to sessions that have sent more than their windows for too long, of which each
    /// counts once in an interval.
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
    /// What was owed in the last interval to sessions that have sent more than their windows.
    overfull: f64,
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
        Self { delay: Duration::from_millis(250), patience: Duration::from_secs(2) };
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
    /// with its wait there for half of the patience, because its client has a whole window under way
    /// already; but as long as the delay in any case.
    pub(super) fn unread(&self, owed: usize, bounds: Bounds) -> Duration {
        let standing = if self.is_limited { owed as f64 / self.capacity.max(1.0) } else { 0.0 };
        let standing = Duration::try_from_secs_f64(standing).unwrap_or(Duration::MAX);
        (self.patience(bounds) / 2).saturating_sub(standing).max(bounds.delay)
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
        // A sum that forgets as much in a look as an interval has of it.
        self.overfull += seen.overfull as f64 - self.overfull / f64::from(INTERVAL);
        let is_overfull = self.overfull > seen.owed.max(LEAST) as f64 * OVERFULL;
        let is_pressed = seen.refused > 0 || is_overfull;
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
