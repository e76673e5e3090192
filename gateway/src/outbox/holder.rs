//! What an outbox holds, as a part of what all clients hold together.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use imago_proto::Frame;

use super::{Close, Outbox, State, code};
use crate::memory::{Footprint, Holder, Memory};

impl Outbox {
    /// Counts what is queued among what all clients hold.
    pub(crate) fn within(self, memory: &Arc<Memory>) -> Self {
        Self { footprint: Footprint::new(memory), ..self }
    }

    /// Queues a packet that is [counted](Memory::share) for all who get it.
    pub(crate) fn push_shared(&self, packet: Bytes) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        self.put_shared(&mut state, Frame::binary(packet));
        self.changed(state);
    }

    /// Accounts for what there is now. Nothing else may be locked that a connection's end locks.
    pub(super) fn unlock(&self, state: MutexGuard<'_, State>) {
        let is_too_much = self.footprint.set_output(state.held as usize + state.in_hand as usize);
        drop(state);
        if is_too_much {
            self.footprint.relieve_output();
        }
    }
}

impl Holder for Outbox {
    fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    fn queued(&self) -> usize {
        let state = self.lock();
        // Of one that is cut off, the queue is gone, and the rest is about to go.
        if state.cut_off { 0 } else { state.bytes + state.in_hand as usize }
    }

    fn end_input(&self) {
        let why = "the rest of a packet is late, and others need the room";
        self.finish(None, Close::new(code::TRY_LATER, why));
    }

    fn end_output(&self) {
        let mut state = self.lock();
        state.cut_off();
        // What is half written goes within a moment: no other client is to be cut off for it.
        state.in_hand = 0;
        self.changed(state);
    }
}
