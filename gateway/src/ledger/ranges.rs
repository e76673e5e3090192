//! Parts of conversations, each merged with what it touches.

use std::sync::Arc;

use imago_proto::link::Given;

use super::bounded;

/// Parts that are kept.
pub(super) const RANGES_MAX: usize = 4096;

/// Sequences of conversations. Overflow policy: a part that touches none of them is not kept, so that
/// it is not acknowledged: the session is given it again.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(Vec<Range>);

/// The sequences `from..=to` of a conversation.
#[derive(Clone, Debug)]
struct Range {
    name: Arc<str>,
    from: u64,
    to: u64,
}

// === impl Ranges ===

impl Ranges {
    pub(super) fn add(&mut self, name: &Arc<str>, from: u64, to: u64) {
        // The first one that is not wholly before it.
        let at = self
            .0
            .partition_point(|range| (&range.name, range.to.saturating_add(1)) < (name, from));
        let touched = self.0[at..]
            .iter()
            .take_while(|range| range.name == *name && range.from <= to.saturating_add(1))
            .count();
        if touched == 0 {
            if self.0.len() < RANGES_MAX {
                self.0.insert(at, Range { name: name.clone(), from, to });
            }
            return;
        }
        let last = self.0[at + touched - 1].to;
        let first = &mut self.0[at];
        (first.from, first.to) = (first.from.min(from), last.max(to));
        self.0.drain(at + 1..at + touched);
    }

    /// Forgets what a cursor has passed.
    pub(super) fn passed(&mut self, name: &str, cursor: u64) {
        self.0.retain(|range| *range.name != *name || range.to > cursor);
    }

    /// Forgets what is past these sequences; all of a conversation without one.
    pub(super) fn cut(&mut self, until: impl Fn(&str) -> Option<u64>) {
        self.0.retain_mut(|range| {
            let Some(until) = until(&range.name) else { return false };
            range.to = range.to.min(until);
            range.from <= range.to
        });
    }

    pub(super) fn to_given(&self) -> Vec<Given> {
        let given = |range: &Range| Given {
            conversation: range.name.to_string(),
            from: range.from,
            to: range.to,
            message_id: 0,
        };
        bounded(self.0.iter().map(given))
    }
}
