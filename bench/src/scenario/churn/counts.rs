//! What happened to clients that were cut off, counted over all of them.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{
    client::failure::Kinds,
    measure::{
        recorder::{histogram, percentiles, row},
        run::Totals,
    },
};

/// Counts of a whole run, warm-up and end included.
pub(super) struct Counts {
    cut: AtomicU64,
    reconnected: AtomicU64,
    /// Messages that came first by a push, and first by a sync.
    pushed: AtomicU64,
    synced: AtomicU64,
    /// Requests that were sent once more.
    repeated: AtomicU64,
    /// Messages that were stored twice.
    twice: AtomicU64,
    /// Connections that ended, and logins that failed, without our doing.
    failures: Kinds,
    /// From the try to log in until it is answered.
    logins: Mutex<Histogram<u64>>,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Push,
    Sync,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            cut: AtomicU64::new(0),
            reconnected: AtomicU64::new(0),
            pushed: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            twice: AtomicU64::new(0),
            failures: Kinds::default(),
            logins: Mutex::new(histogram()),
        }
    }
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

impl Counts {
    /// A client was cut off.
    pub(super) fn cut(&self) {
        one_more(&self.cut);
    }

    /// A client is logged in again.
    pub(super) fn reconnected(&self, took: Duration) {
        one_more(&self.reconnected);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.saturating_record(micros.max(1));
    }

    /// A message came for the first time.
    pub(super) fn came(&self, way: Way) {
        one_more(match way {
            Way::Push => &self.pushed,
            Way::Sync => &self.synced,
        });
    }

    /// A request is sent once more.
    pub(super) fn repeated(&self) {
        one_more(&self.repeated);
    }

    /// A message came that had come before in another place of its conversation.
    pub(super) fn twice(&self) {
        one_more(&self.twice);
    }

    /// Something failed.
    pub(super) fn failed(&self, what: impl std::fmt::Display) {
        self.failures.add(what);
    }

    fn logins(&self) -> Histogram<u64> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        vec![row("logged in again", &self.logins())]
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let (cut, reconnected) = (count(&self.cut), count(&self.reconnected));
        let (pushed, synced) = (count(&self.pushed), count(&self.synced));
        let mut lines = vec![
            format!("{cut} cut off, {reconnected} logged in again"),
            format!("{pushed} messages came by push, {synced} by sync"),
            format!("{} requests sent again", count(&self.repeated)),
        ];
        let failures = self.failures.counts();
        lines.extend(failures.iter().map(|(kind, times)| format!("{kind}: {times} times")));
        lines
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "cut": count(&self.cut), "reconnected": count(&self.reconnected),
            "by_push": count(&self.pushed), "by_sync": count(&self.synced),
            "sent_again": count(&self.repeated), "stored_twice": count(&self.twice),
            "failures": self.failures.counts(), "logged_in_ms": percentiles(&self.logins()),
        })
    }

    /// Whether each accepted message was got exactly once.
    ///
    /// # Errors
    /// When one was stored twice, or got without having been accepted.
    pub(super) fn verify(&self, totals: &Totals) -> anyhow::Result<()> {
        let twice = count(&self.twice);
        ensure!(twice == 0, "{twice} messages were stored twice");
        let (delivered, expected) = (totals.delivered, totals.expected);
        ensure!(
            delivered == expected,
            "{delivered} messages were delivered, and only {expected} accepted"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn figures_count_only_where_each_accepted_message_came_once() {
        let totals = |delivered| Totals {
            sent: 9,
            answers: 9,
            accepted: 9,
            delivered,
            expected: 9,
            refused: BTreeMap::new(),
        };
        let counts = Counts::default();
        counts.verify(&totals(9)).unwrap();
        assert!(counts.verify(&totals(10)).is_err());
        counts.twice();
        assert!(counts.verify(&totals(9)).is_err());
    }
}
