//! What a listing of the server tells an inbox.

use std::collections::{BTreeMap, BTreeSet};

use imago_proto::{Account, ConversationId, GroupId};

use super::{Inbox, conversation::Conversation};

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) message_id: i64,
    pub(crate) conversation: ConversationId,
    pub(crate) seq: u64,
    pub(crate) sender: Account,
    pub(crate) group: Option<GroupId>,
    pub(crate) send_time: i64,
}

/// What is listed of each conversation.
type BySeq = BTreeMap<ConversationId, BTreeSet<u64>>;

impl Inbox {
    /// A listing is about to be asked for: what is received until now is older than it.
    pub(crate) fn listing_begins(&mut self) {
        self.behind = false;
        let newest = |id: &ConversationId| {
            let newest = self.conversations.get(id)?.newest()?;
            Some((id.clone(), newest))
        };
        self.horizons = self.open.iter().filter_map(newest).collect();
    }

    /// The listing that began last has come. `full`: there may be more than it names. Returns
    /// the entries to fetch, in their order.
    pub(crate) fn listed(&mut self, listing: Vec<Listed>, full: bool) -> Vec<Listed> {
        let mut by_conversation = BySeq::new();
        for entry in &listing {
            by_conversation.entry(entry.conversation.clone()).or_default().insert(entry.seq);
        }
        if !full {
            self.close_holes(&by_conversation);
            return self.missing(listing);
        }
        let reachable = self.reachable(&by_conversation);
        let known = by_conversation.iter().any(|(id, seqs)| self.has_any(id, seqs));
        if reachable.is_empty() && !known {
            // Each entry is behind a hole, and more of the listing is only to be had once these
            // are acknowledged. Message ids rise with time, so the holes are not further on in it.
            for (id, seqs) in &by_conversation {
                let newest = seqs.last().copied().unwrap_or_default();
                let gone = |seq| seq < newest && !seqs.contains(&seq);
                self.conversation(id).retain_awaited(|seq| !gone(seq));
                self.close_below(id, seqs);
            }
            return self.missing(listing);
        }
        let fetch = |entry: &Listed| {
            reachable.get(&entry.conversation).is_some_and(|seqs| seqs.contains(&entry.seq))
        };
        let listing = listing.into_iter().filter(fetch).collect();
        self.missing(listing)
    }

    /// A listing of everything: what it does not name is no hole.
    fn close_holes(&mut self, listing: &BySeq) {
        for id in self.open.clone() {
            let listed = listing.get(&id);
            if let Some(conversation) = self.conversations.get_mut(&id) {
                conversation.retain_awaited(|seq| listed.is_some_and(|l| l.contains(&seq)));
            }
        }
        for (id, seqs) in listing {
            self.close_below(id, seqs);
        }
        self.close_horizons();
    }

    /// Closes the holes below what was the newest of each conversation when the listing began.
    pub(super) fn close_horizons(&mut self) {
        for (id, horizon) in std::mem::take(&mut self.horizons) {
            self.conversation(&id).close_below(horizon);
            self.advance(&id);
        }
    }

    /// Expects these, and nothing else below the newest of them that is not known already.
    fn close_below(&mut self, id: &ConversationId, seqs: &BTreeSet<u64>) {
        let conversation = self.conversation(id);
        for seq in seqs {
            if !conversation.is_past(*seq) {
                conversation.await_seq(*seq);
            }
        }
        conversation.close_below(seqs.last().copied().unwrap_or_default());
        self.advance(id);
    }

    fn reachable(&self, listing: &BySeq) -> BySeq {
        let unknown = Conversation::default();
        listing
            .iter()
            .filter_map(|(id, seqs)| {
                let conversation = self.conversations.get(id).unwrap_or(&unknown);
                let reachable = conversation.reachable(seqs);
                (!reachable.is_empty()).then(|| (id.clone(), reachable))
            })
            .collect()
    }

    /// Returns whether any of these is delivered: acknowledging it makes room in the listing.
    fn has_any(&self, id: &ConversationId, seqs: &BTreeSet<u64>) -> bool {
        self.conversations.get(id).is_some_and(|c| seqs.iter().any(|seq| c.is_past(*seq)))
    }

    /// The entries that are neither delivered nor held; expects them.
    fn missing(&mut self, listing: Vec<Listed>) -> Vec<Listed> {
        let mut missing = Vec::new();
        for entry in listing {
            let conversation = self.conversation(&entry.conversation);
            if conversation.wants(entry.seq) {
                conversation.await_seq(entry.seq);
                self.open.insert(entry.conversation.clone());
                missing.push(entry);
            }
        }
        missing
    }
}
