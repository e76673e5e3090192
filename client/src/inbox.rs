//! Puts received messages in order, each once, and knows what may be acknowledged: a state machine
//! without IO.
//!
//! Pushes may come twice, out of order or not at all. What is missing is found by a listing of the
//! server: `chat.sync` names everything past what we have, page by page; `chat.offline.index` of
//! old servers everything from others that is not acknowledged. Sequences commit in order, so what
//! is below the newest known sequence of a conversation and not listed has expired, or is
//! acknowledged, or came before the account joined, or (with old servers) was sent by the account
//! itself: the hole is closed.

mod conversation;
mod listing;
mod page;

use std::collections::{BTreeSet, HashMap, VecDeque};

use imago_proto::{ConversationId, Seq};

use self::conversation::{Conversation, Slot};
use crate::Message;

pub(crate) use self::{listing::Listed, page::Entry};

/// Own messages after which a cursor is acknowledged even though nothing was consumed: the server
/// then needs not look through them in each listing.
const OWN_BEFORE_ACK: u64 = 64;

/// Bounds of what an inbox holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InboxLimits {
    /// Messages in order that wait for the application. Overflow policy: a push beyond is dropped,
    /// and a listing asked for once there is room.
    pub(crate) ready: usize,
    /// Messages behind a hole. Overflow policy: as above.
    pub(crate) held: usize,
}

/// All conversations of an account. Grows with their number, by about 200 bytes each.
#[derive(Debug)]
pub(crate) struct Inbox {
    limits: InboxLimits,
    conversations: HashMap<ConversationId, Conversation>,
    /// Conversations with messages behind a hole, or awaited ones.
    open: BTreeSet<ConversationId>,
    ready: VecDeque<Message>,
    held: usize,
    /// Something was dropped for lack of room, or may have been missed, since the last listing
    /// began.
    behind: bool,
    /// Newest known sequences when the running listing began.
    horizons: HashMap<ConversationId, u64>,
    unconsumed: usize,
    consumed_since_ack: usize,
    /// Conversations whose cursor moved since it was last acknowledged.
    dirty: BTreeSet<ConversationId>,
}

impl Inbox {
    pub(crate) fn new(limits: InboxLimits) -> Self {
        Self {
            limits,
            conversations: HashMap::new(),
            open: BTreeSet::new(),
            ready: VecDeque::new(),
            held: 0,
            behind: false,
            horizons: HashMap::new(),
            unconsumed: 0,
            consumed_since_ack: 0,
            dirty: BTreeSet::new(),
        }
    }

    /// A message that the server pushed.
    pub(crate) fn pushed(&mut self, message: Message) {
        let conversation = self.conversation(&message.conversation);
        let in_order = conversation.is_next(message.seq.0);
        if !conversation.wants(message.seq.0) {
            return;
        }
        let full = if in_order {
            self.ready.len() >= self.limits.ready
        } else {
            self.held >= self.limits.held
        };
        if full {
            self.behind = true;
            return;
        }
        self.insert(message);
    }

    /// A message that was fetched. The caller has asked [`room`](Self::room) before.
    pub(crate) fn fetched(&mut self, message: Message) {
        if self.conversation(&message.conversation).wants(message.seq.0) {
            self.insert(message);
        }
    }

    /// The account itself sent this one, and knows it.
    pub(crate) fn own(&mut self, id: &ConversationId, seq: Seq) {
        let full = self.held >= self.limits.held;
        let conversation = self.conversation(id);
        if !conversation.wants(seq.0) {
            return;
        }
        // Dropping it makes a hole, which a listing closes.
        if full && !conversation.is_next(seq.0) {
            self.behind = true;
            return;
        }
        conversation.slots.insert(seq.0, Slot::Own);
        self.held += 1;
        self.advance(id);
    }

    /// The next message for the application.
    pub(crate) fn next(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Messages that may be fetched now.
    pub(crate) fn room(&self) -> usize {
        self.limits.ready.saturating_sub(self.ready.len())
    }

    /// Something may have been missed of which there is no other sign.
    pub(crate) fn doubt(&mut self) {
        self.behind = true;
    }

    /// Returns whether a listing would tell something new: there is a hole, or something was dropped.
    pub(crate) fn needs_listing(&self) -> bool {
        self.behind || !self.open.is_empty()
    }

    /// The application has everything of the conversation up to here.
    pub(crate) fn consumed(&mut self, id: &ConversationId, seq: Seq) {
        let Some(conversation) = self.conversations.get_mut(id) else { return };
        let consumed = conversation.consume(seq.0);
        self.unconsumed -= consumed;
        self.consumed_since_ack += consumed;
        if conversation.cursor() > conversation.acked {
            self.dirty.insert(id.clone());
        }
    }

    /// Returns whether everything in order is consumed, and acknowledged or about to be.
    pub(crate) fn is_drained(&self) -> bool {
        self.unconsumed == 0 && self.dirty.is_empty()
    }

    pub(crate) fn consumed_since_ack(&self) -> usize {
        self.consumed_since_ack
    }

    /// Returns whether there are cursors to acknowledge.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Has every cursor acknowledged that moved, those that only own messages moved included.
    pub(crate) fn settle(&mut self) {
        let moved = self.conversations.iter().filter(|(_, c)| c.cursor() > c.acked);
        self.dirty.extend(moved.map(|(id, _)| id.clone()));
    }

    /// Takes at most `max` cursors to acknowledge.
    pub(crate) fn take_cursors(&mut self, max: usize) -> Vec<(ConversationId, Seq)> {
        self.consumed_since_ack = 0;
        let mut cursors = Vec::new();
        while cursors.len() < max {
            let Some(id) = self.dirty.pop_first() else { break };
            if let Some(conversation) = self.conversations.get(&id) {
                let cursor = conversation.cursor();
                cursors.push((id, Seq(cursor)));
            }
        }
        cursors
    }

    /// The server has these cursors.
    pub(crate) fn acked(&mut self, cursors: &[(ConversationId, Seq)]) {
        for (id, seq) in cursors {
            if let Some(conversation) = self.conversations.get_mut(id) {
                conversation.acked = conversation.acked.max(seq.0);
            }
        }
    }

    /// The server may not have these cursors: they are to be acknowledged again.
    pub(crate) fn ack_failed(&mut self, cursors: Vec<(ConversationId, Seq)>) {
        self.dirty.extend(cursors.into_iter().map(|(id, _)| id));
    }

    fn conversation(&mut self, id: &ConversationId) -> &mut Conversation {
        if !self.conversations.contains_key(id) {
            self.conversations.insert(id.clone(), Conversation::default());
        }
        self.conversations.entry(id.clone()).or_default()
    }

    fn insert(&mut self, message: Message) {
        let id = message.conversation.clone();
        let seq = message.seq.0;
        self.conversation(&id).slots.insert(seq, Slot::Held(Box::new(message)));
        self.held += 1;
        self.advance(&id);
    }

    /// Moves what has become deliverable to the application's queue.
    fn advance(&mut self, id: &ConversationId) {
        let Some(conversation) = self.conversations.get_mut(id) else { return };
        while let Some(slot) = conversation.pop() {
            self.held -= 1;
            if let Slot::Held(message) = slot {
                conversation.unconsumed.push_back(message.seq.0);
                self.unconsumed += 1;
                self.ready.push_back(*message);
            }
        }
        if conversation.cursor() >= conversation.acked + OWN_BEFORE_ACK {
            self.dirty.insert(id.clone());
        }
        if conversation.slots.is_empty() {
            self.open.remove(id);
        } else {
            self.open.insert(id.clone());
        }
    }
}

#[cfg(test)]
mod tests;
