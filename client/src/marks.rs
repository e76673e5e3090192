//! How far the application has come in each conversation: written by it, read by the driver.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use imago_proto::{ConversationId, Seq};
use tokio::sync::Notify;

/// Marks since the driver last looked: one for each conversation, the furthest. So it never grows
/// beyond the number of conversations, and the application never waits.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: Mutex<HashMap<ConversationId, Seq>>,
    changed: Notify,
}

impl Marks {
    /// Everything in the conversation up to `seq` needs not be delivered again.
    pub(crate) fn put(&self, conversation: &ConversationId, seq: Seq) {
        {
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            let mark = marks.entry(conversation.clone()).or_default();
            *mark = seq.max(*mark);
        }
        self.changed.notify_one();
    }

    /// Waits until there may be something to take.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn take(&self) -> HashMap<ConversationId, Seq> {
        mem::take(&mut self.marks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
