//! Bounds how often log lines of one cause are written.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Causes that are told apart where nothing else is said.
const MAX_CAUSES: usize = 1024;

/// Decides for each log line whether it is written, and counts those that are not.
///
/// A line is written when it is the first of its cause, and again when an interval has passed. The
/// interval may grow with each line; it starts again after [`reset`](Self::reset).
#[derive(Debug)]
pub struct LogLimit {
    first: Duration,
    longest: Duration,
    max_causes: usize,
    causes: Mutex<HashMap<String, Cause>>,
}

#[derive(Debug)]
struct Cause {
    written: Instant,
    interval: Duration,
    suppressed: u64,
}

/// Number of lines of a cause that were left out since the last one. Displays as ` … and 312 more`,
/// and as nothing where there were none, to be put at the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(pub u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " … and {} more", self.0) }
    }
}

impl LogLimit {
    /// Allows one line of each cause per `interval`.
    pub fn every(interval: Duration) -> Self {
        Self::growing(interval, interval)
    }

    /// Allows a second line `first` after the first one, and then at intervals that double up to
    /// `longest`.
    pub fn growing(first: Duration, longest: Duration) -> Self {
        let causes = Mutex::default();
        Self { first, longest: longest.max(first), max_causes: MAX_CAUSES, causes }
    }

    /// Tells `max` causes apart, 1024 where this is not called; the lines of all others count as one
    /// cause. For causes whose names come from outside, and may be new each time.
    #[must_use]
    pub fn causes(mut self, max: usize) -> Self {
        self.max_causes = max;
        self
    }

    /// Returns whether a line of `cause` may be written now, with the number of those left out
    /// since the last one.
    pub fn allow(&self, cause: &str) -> Option<Suppressed> {
        self.allow_at(cause, Instant::now())
    }

    fn allow_at(&self, cause: &str, now: Instant) -> Option<Suppressed> {
        let mut causes = self.causes.lock();
        if causes.len() >= self.max_causes && !causes.contains_key(cause) {
            self.forget_quiet(&mut causes, now);
        }
        let is_full = causes.len() >= self.max_causes && !causes.contains_key(cause);
        let name = if is_full { "" } else { cause };
        let Some(known) = causes.get_mut(name) else {
            let first = Cause { written: now, interval: self.first, suppressed: 0 };
            causes.insert(name.to_owned(), first);
            return Some(Suppressed(0));
        };
        if now.duration_since(known.written) < known.interval {
            known.suppressed += 1;
            return None;
        }
        known.written = now;
        known.interval = (known.interval * 2).min(self.longest);
        Some(Suppressed(std::mem::take(&mut known.suppressed)))
    }

    /// Forgets a cause that is over: its next line is written at once.
    pub fn reset(&self, cause: &str) {
        self.causes.lock().remove(cause);
    }

    /// Drops causes whose next line would be written anyway, but for the number of those left out of
    /// all others.
    fn forget_quiet(&self, causes: &mut HashMap<String, Cause>, now: Instant) {
        causes.retain(|name, cause| {
            let is_recent = now.duration_since(cause.written) < self.longest;
            is_recent || (name.is_empty() && cause.suppressed > 0)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_line_an_interval_is_written_for_each_cause() {
        let (limit, start) = (LogLimit::every(SECOND * 60), Instant::now());
        assert_eq!(limit.allow_at("a", start), Some(Suppressed(0)));
        assert_eq!(limit.allow_at("b", start), Some(Suppressed(0)));
        for _ in 0..312 {
            assert_eq!(limit.allow_at("a", start + SECOND * 59), None);
        }
        let later = limit.allow_at("a", start + SECOND * 60).unwrap();
        assert_eq!(later.to_string(), " … and 312 more");
        assert_eq!(limit.allow_at("b", start + SECOND * 60).unwrap().to_string(), "");
    }

    #[test]
    fn intervals_grow_until_the_cause_is_over() {
        let (limit, start) = (LogLimit::growing(SECOND, SECOND * 4), Instant::now());
        let at = |seconds: u32| limit.allow_at("a", start + SECOND * seconds).is_some();
        let written: Vec<u32> = (0..16).filter(|second| at(*second)).collect();
        assert_eq!(written, [0, 1, 3, 7, 11, 15]);
        limit.reset("a");
        assert!(at(16) && at(17));
    }

    #[test]
    fn causes_are_bounded() {
        let (limit, start) = (LogLimit::every(SECOND), Instant::now());
        for number in 0..3 * MAX_CAUSES {
            limit.allow_at(&number.to_string(), start);
        }
        assert_eq!(limit.causes.lock().len(), MAX_CAUSES + 1);
        assert_eq!(limit.allow_at("new", start), None, "the rest counts as one cause");
        assert!(limit.allow_at("new", start + SECOND).is_some());
        assert!(limit.causes.lock().len() <= MAX_CAUSES);
    }

    #[test]
    fn names_that_are_new_each_time_get_few_lines() {
        let (limit, start) = (LogLimit::every(SECOND * 60).causes(3), Instant::now());
        let allow = |number: u32| limit.allow_at(&number.to_string(), start + SECOND * number / 10);
        let written: Vec<u32> = (0..599).filter(|number| allow(*number).is_some()).collect();
        assert_eq!(written, [0, 1, 2, 3]);
        let later: Vec<_> = (604..607).map(allow).collect();
        assert_eq!(later, [0, 0, 595].map(|more| Some(Suppressed(more))), "none is lost");
    }
}
