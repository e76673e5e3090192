//! Lets the answer to a message go out before the pushes of that message.
//!
//! A link delivers the answer first. Where sender and receiver are both here, two connections write
//! them, in either order. So the sender's outbox takes those of the receivers, and its connection
//! wakes them once it has tried to write the answer.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::outbox::Outbox;

/// Answers that are remembered.
const SLOTS: usize = 256;

/// The senders of the last answered messages. Overflow policy: the older of two in a slot is
/// forgotten; the pushes of its message wait for nothing.
#[derive(Debug)]
pub(crate) struct Answers {
    slots: Box<[Mutex<Option<Answer>>]>,
}

/// An answer that an outbox holds.
#[derive(Clone, Debug)]
struct Answer {
    message_id: i64,
    sender: Weak<Outbox>,
    /// Which answer of the outbox it is.
    number: u32,
}

/// The sender of a message, and which of its answers that is of the message.
pub(crate) struct Sender {
    outbox: Arc<Outbox>,
    number: u32,
}

impl Default for Answers {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }
}

// === impl Answers ===

impl Answers {
    fn slot(&self, message_id: i64) -> Option<&Mutex<Option<Answer>>> {
        // Ids of one server rise by ones, or with the time: either way neighbours are apart.
        let hash = message_id.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.slots.get(usize::try_from(hash).unwrap_or_default() % SLOTS)
    }

    /// The answer to a message is in its sender's outbox.
    pub(crate) fn note(&self, message_id: i64, sender: &Arc<Outbox>, number: u32) {
        let answer = Answer { message_id, sender: Arc::downgrade(sender), number };
        if let Some(slot) = self.slot(message_id) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        }
    }

    /// The sender of a message, where it was answered here.
    pub(crate) fn sender(&self, message_id: i64) -> Option<Sender> {
        let slot = self.slot(message_id)?.lock().unwrap_or_else(PoisonError::into_inner);
        let Answer { sender, number, .. } =
            slot.as_ref().filter(|answer| answer.message_id == message_id)?;
        Some(Sender { outbox: sender.upgrade()?, number: *number })
    }
}

// === impl Sender ===

impl Sender {
    /// Has these woken after the answer. Gives them back where they need not wait for it.
    pub(crate) fn lead(&self, receivers: Vec<Arc<Outbox>>) -> Vec<Arc<Outbox>> {
        self.outbox.lead(self.number, receivers)
    }
}
