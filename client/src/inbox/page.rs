//! What a page of the server's `chat.sync` tells an inbox.

use std::collections::BTreeMap;

use imago_proto::{ConversationId, Seq};

use super::{Inbox, conversation::Slot};
use crate::Message;

/// One entry of a page.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A message for the application.
    Message(Message),
    /// One that this client sent.
    Own(ConversationId, Seq),
}

impl Inbox {
    /// Returns the position in each conversation from which the server is to go on: at most `max` of
    /// them, those first of which it knows least. Where the inbox has nothing of a conversation, what
    /// the account acknowledged counts.
    pub(crate) fn positions(&self, max: usize) -> Vec<(ConversationId, Seq)> {
        let mut known: Vec<_> = self
            .conversations
            .iter()
            .filter(|(_, conversation)| conversation.position() > 0)
            .collect();
        if known.len() > max {
            known.sort_by_key(|(_, c)| (c.position() <= c.acked, c.slots.is_empty()));
            known.truncate(max);
        }
        known.into_iter().map(|(id, c)| (id.clone(), Seq(c.position()))).collect()
    }

    /// Returns whether the server needs to be told of more than `max` positions to send nothing again.
    pub(crate) fn is_crowded(&self, max: usize) -> bool {
        let unknown = |c: &&super::Conversation| c.position() > c.acked;
        self.conversations.len() > max && self.conversations.values().filter(unknown).count() > max
    }

    /// The page that was asked for last has come. `more`: it is not all there is. Says whether
    /// it brought us further.
    ///
    /// A page names everything that follows our positions, up to the newest in it of each
    /// conversation: what it leaves out below that is nothing to deliver.
    pub(crate) fn page(&mut self, page: Vec<Entry>, more: bool) -> bool {
        let mut newest = BTreeMap::new();
        let mut progress = false;
        for entry in page {
            let (id, seq, slot) = match entry {
                Entry::Own(id, seq) => (id, seq.0, Slot::Own),
                Entry::Message(message) => {
                    (message.conversation.clone(), message.seq.0, Slot::Held(Box::new(message)))
                }
            };
            let conversation = self.conversation(&id);
            let is_new = conversation.wants(seq);
            progress |= is_new || !conversation.is_past(seq);
            if is_new {
                conversation.slots.insert(seq, slot);
                self.held += 1;
            }
            let last: &mut u64 = newest.entry(id).or_default();
            *last = seq.max(*last);
        }
        for (id, seq) in newest {
            let conversation = self.conversation(&id);
            conversation.retain_awaited(|awaited| awaited > seq);
            conversation.close_below(seq);
            self.advance(&id);
        }
        if !more {
            self.close_all();
        }
        progress
    }

    /// The server has told everything: what was missing when it was asked is nothing to deliver.
    fn close_all(&mut self) {
        for id in self.open.clone() {
            self.conversation(&id).retain_awaited(|_| false);
        }
        self.close_horizons();
    }
}
