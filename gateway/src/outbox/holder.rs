//! What an outbox holds, as a part of what all clients hold together.

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use imago_proto::Frame;

use super::{Close, Outbox, State, code, small};
use crate::memory::{Footprint, Holder, Memory};

/// A packet for one client, or for several.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// As it was read from a link.
    Own(Bytes),
    /// [Counted](crate::memory::Memory::share) for all who get it.
    Shared(Bytes),
}

// === impl Packet ===

impl Packet {
    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        let (Self::Own(packet) | Self::Shared(packet)) = self;
        packet.len()
    }

    /// The same packet to be kept for long: it must not keep all that was read from its link.
    pub(crate) fn kept(&self) -> Self {
        match self {
            Self::Own(packet) => Self::Own(Bytes::copy_from_slice(packet)),
            Self::Shared(packet) => Self::Shared(packet.clone()),
        }
    }
}

// === impl Outbox ===

impl Outbox {
    /// Counts what is queued among what all clients hold.
    pub(crate) fn within(self, memory: &Arc<Memory>) -> Self {
        Self { footprint: Footprint::new(memory), ..self }
    }

    /// Queues a packet as it is counted.
    pub(crate) fn push_packet(&self, packet: Packet) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        self.put_packet(&mut state, packet);
        self.changed(state);
    }

    pub(super) fn put_packet(&self, state: &mut State, packet: Packet) {
        match packet {
            Packet::Own(packet) => self.put(state, Frame::binary(packet)),
            Packet::Shared(packet) => self.put_shared(state, Frame::binary(packet)),
        }
    }

    /// Counts this many bytes that are kept for the client elsewhere, until they are queued.
    pub(crate) fn set_kept(&self, bytes: usize) {
        let mut state = self.lock();
        state.kept = small(bytes);
        self.unlock(state);
    }

    /// Accounts for what there is now. Nothing else may be locked that a connection's end locks.
    pub(super) fn unlock(&self, state: MutexGuard<'_, State>) {
        let bytes = state.held as usize + state.in_hand as usize + state.kept as usize;
        let is_too_much = self.footprint.set_output(bytes);
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
        if state.cut_off { 0 } else { state.bytes + state.in_hand as usize + state.kept as usize }
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
