//! The messages as a stream.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::Stream;
use imago_proto::{ConversationId, Seq};
use tokio::sync::mpsc;

use crate::{AckMode, Message, marks::Marks};

/// Received messages: each once, and in order within its conversation. Ends when the client is
/// closed or dropped.
///
/// With [`AckMode::OnConsumption`] asking for the next message acknowledges the one before, so a
/// message whose handling was cut short by a crash is delivered again to the next process.
///
/// All streams of a client share its messages, each message goes to one of them; use one at a time.
#[derive(Debug)]
pub struct Messages {
    queue: Arc<Mutex<mpsc::Receiver<Message>>>,
    marks: Arc<Marks>,
    acks: AckMode,
    last: Option<(ConversationId, Seq)>,
}

impl Messages {
    pub(crate) fn new(
        queue: Arc<Mutex<mpsc::Receiver<Message>>>,
        marks: Arc<Marks>,
        acks: AckMode,
    ) -> Self {
        Self { queue, marks, acks, last: None }
    }
}

impl Stream for Messages {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some((conversation, seq)) = self.last.take() {
            self.marks.put(&conversation, seq);
        }
        let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx);
        if self.acks == AckMode::OnConsumption
            && let Poll::Ready(Some(message)) = &next
        {
            self.last = Some((message.conversation.clone(), message.seq));
        }
        next
    }
}
