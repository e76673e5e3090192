//! The messages that a session misses.

use std::collections::HashMap;

use imago_proto::link::Mark;
use rusqlite::{Connection, Result};

use super::{
    super::{
        Device, Envelope, Given, Owed,
        ids::{Kind, conversation_row, signed},
    },
    commit::UnindexedHeads,
    devices::{commit, mark},
    reads::{Except, Membership, Span, last_until, memberships, merge, with_contents},
};

/// Parts of each conversation, in the order of their first sequences.
type Have = HashMap<(Kind, i64), Vec<(i64, i64)>>;

/// A question: which messages does a device miss?
pub(super) struct Ask {
    device: Device,
    /// Messages that this covers are not missing.
    since: Mark,
    have: Have,
    limit: usize,
}

impl Ask {
    pub(super) fn new(device: Device, since: Mark, given: &[Given], limit: usize) -> Self {
        let mut have = Have::new();
        for Given { conversation, from, to } in given {
            if from <= to
                && let Some(of) = conversation_row(conversation.as_str())
            {
                have.entry(of).or_default().push((signed(*from), signed(*to)));
            }
        }
        have.values_mut().for_each(|parts| parts.sort_unstable());
        Self { device, since, have, limit }
    }

    /// Returns the missing messages; `None` where some of them are not indexed.
    ///
    /// Messages of a conversation are read only if the last one is neither covered nor among what the
    /// device has. Mostly nothing is missing, and many sessions ask at the same time.
    pub(super) fn owed(&self, db: &Connection, heads: &UnindexedHeads) -> Result<Option<Owed>> {
        // Marks of this store cover the ids below `low`, and no others.
        let low = i64::try_from(self.since.low).unwrap_or(i64::MAX);
        let mut owed = Owed { messages: Vec::new(), mark: mark(heads.last_id()) };
        if heads.last_id() < low {
            return Ok(Some(owed));
        }
        let mut missing = Vec::new();
        for mut membership in memberships(db, &self.device)? {
            // The end of a membership has indexed its messages.
            let unindexed =
                heads.head(membership.conversation.id).filter(|_| !membership.has_ended);
            if let Some(head) = unindexed {
                (membership.head, membership.last) = (head.seq, head);
            }
            if membership.last.id < low || self.gaps(&membership).is_empty() {
                continue;
            }
            if unindexed.is_some() {
                return Ok(None);
            }
            missing.push(membership);
        }
        for Membership { conversation, cursor, head, .. } in &mut missing {
            *cursor = last_until(db, conversation.id, *cursor, *head, low.saturating_sub(1))?;
        }
        let spans: Vec<Span<'_>> = missing.iter().flat_map(|of| self.gaps(of)).collect();
        let is_missing = |message: &Envelope| !self.since.covers(commit(message.message_id));
        let found = merge(db, Except::OfDevice(&self.device), is_missing, &spans, self.limit)?;
        owed.messages = with_contents(db, found.into_iter().map(|(_, message)| message))?;
        Ok(Some(owed))
    }

    /// Returns the parts that the device has neither acknowledged nor received.
    fn gaps<'a>(&self, membership: &'a Membership) -> Vec<Span<'a>> {
        let mut rest = Span::of(membership);
        let mut gaps = Vec::new();
        let parts = self.have.get(&(rest.of.kind, rest.of.id)).map_or(&[][..], Vec::as_slice);
        for (from, to) in parts {
            let gap = Span { to: rest.to.min(from.saturating_sub(1)), ..rest };
            if gap.after < gap.to {
                gaps.push(gap);
            }
            rest.after = rest.after.max(*to);
        }
        if rest.after < rest.to {
            gaps.push(rest);
        }
        gaps
    }
}
