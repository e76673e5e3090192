//! Connections that are woken once a write has been tried of the answer to a message.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use imago_proto::Frame;

use super::{Deferred, Outbox};

/// Who waits for answers of an outbox. Each receiver is in it at most once, so that it is never longer
/// than there are sessions.
#[derive(Debug, Default)]
pub(crate) struct Led {
    /// Answers to messages that were queued.
    answers: u32,
    /// How many of them a write has been tried of.
    tried: u32,
    waiting: Option<Box<Waiting>>,
}

/// Connections, by the number of the answer that they wait for.
#[derive(Debug, Default)]
struct Waiting(VecDeque<(u32, Vec<Arc<Outbox>>)>);

// === impl Deferred ===

impl Deferred {
    /// What became of several packets.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::First, _) | (_, Self::First) => Self::First,
            (Self::Behind, _) | (_, Self::Behind) => Self::Behind,
            _ => Self::Again,
        }
    }
}

// === impl Outbox ===

impl Outbox {
    /// Queues the answer to a message, and returns its number, for [`lead`](Self::lead).
    pub(crate) fn push_answer(&self, packet: Bytes) -> Option<u32> {
        let mut state = self.lock();
        if state.close.is_some() {
            return None;
        }
        self.put(&mut state, Frame::binary(packet));
        let number = state.led.queued();
        self.changed(state);
        Some(number)
    }

    /// Has these connections woken once a write has been tried of an answer. Gives them back where
    /// that is so, or where the answer waits on purpose.
    pub(crate) fn lead(&self, answer: u32, outboxes: Vec<Arc<Self>>) -> Vec<Arc<Self>> {
        let mut state = self.lock();
        let waits = state.is_patient && !self.is_pressing(&state);
        if waits || outboxes.is_empty() || state.close.is_some() || state.led.has_tried(answer) {
            return outboxes;
        }
        state.led.add(answer, outboxes);
        Vec::new()
    }

    /// A write has been tried of the first `answers` answers. Returns whom that wakes.
    pub(crate) fn tried(&self, answers: u32) -> Vec<Arc<Self>> {
        self.lock().led.tried(answers)
    }

    /// No write is tried any more. Returns whom that wakes.
    pub(crate) fn end(&self) -> Vec<Arc<Self>> {
        self.lock().led.end()
    }
}

// === impl Led ===

impl Led {
    /// Another answer is queued. Returns its number; they begin anew after the last.
    pub(super) fn queued(&mut self) -> u32 {
        self.answers = self.answers.wrapping_add(1);
        self.answers
    }

    /// How many answers were queued, where a write has not been tried of all of them.
    pub(super) fn untried(&self) -> Option<u32> {
        (self.answers != self.tried).then_some(self.answers)
    }

    /// Whether a write has been tried of an answer.
    pub(super) fn has_tried(&self, answer: u32) -> bool {
        answer.wrapping_sub(self.tried).cast_signed() <= 0
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.is_some()
    }

    /// These wait for an answer, of which no write has been tried.
    pub(super) fn add(&mut self, answer: u32, outboxes: Vec<Arc<Outbox>>) {
        self.waiting.get_or_insert_default().0.push_back((answer, outboxes));
    }

    /// A write has been tried of the first `answers` answers. Returns whom that wakes.
    pub(super) fn tried(&mut self, answers: u32) -> Vec<Arc<Outbox>> {
        if !self.has_tried(answers) {
            self.tried = answers;
        }
        let Some(mut waiting) = self.waiting.take() else { return Vec::new() };
        let mut woken = Vec::new();
        let is_woken = |(answer, _): &mut (u32, _)| self.has_tried(*answer);
        while let Some((_, mut outboxes)) = waiting.0.pop_front_if(is_woken) {
            if woken.is_empty() {
                woken = outboxes;
            } else {
                woken.append(&mut outboxes);
            }
        }
        self.waiting = Some(waiting).filter(|waiting| !waiting.0.is_empty());
        woken
    }

    /// No write is tried any more. Returns whom that wakes.
    pub(super) fn end(&mut self) -> Vec<Arc<Outbox>> {
        self.tried(self.answers)
    }

    /// Goes on from this number.
    #[cfg(test)]
    pub(super) fn count_from(&mut self, number: u32) {
        (self.answers, self.tried) = (number, number);
    }
}
