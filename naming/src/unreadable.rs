//! Entries that cannot be read are left out, counted and logged: one hides none of the others.

use std::time::Duration;

use imago_kit::LogLimit;

use crate::metrics;

/// How often one entry is named in the log.
const INTERVAL: Duration = Duration::from_secs(60);
/// Entries that are named each by each; ids of more, which may be new each time, share a line.
const NAMED: usize = 20;
/// Characters of an id, and of a reason, that are shown.
const SHOWN: usize = 200;

/// Counts the entries that a registry's reads leave out, and names each in the log at most once a minute, and
/// few of many.
#[derive(Debug)]
pub struct Unreadable {
    registry: &'static str,
    log: LogLimit,
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Id, as far as the entry has one.
    pub id: String,
    /// Field at fault, with what was expected and what came.
    pub reason: String,
}

impl Unreadable {
    /// Creates the counter of a registry, by the word that the metric
    /// `imago_naming_entries_skipped_total` and the log name it with.
    pub fn of(registry: &'static str) -> Self {
        Self { registry, log: LogLimit::every(INTERVAL).causes(NAMED) }
    }

    /// Counts and logs an entry.
    pub fn skip(&self, skipped: &Skipped) {
        metrics::entry_skipped(self.registry);
        let registry = self.registry;
        let [entry, reason] =
            [&skipped.id, &skipped.reason].map(|text| text.chars().take(SHOWN).collect::<String>());
        if let Some(more) = self.log.allow(&entry) {
            tracing::warn!(
                registry,
                ?entry,
                reason,
                "registry entry cannot be read, left out{more}"
            );
        }
    }
}
