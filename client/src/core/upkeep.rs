//! What is done after every event: send what may be sent, fetch what is missing, acknowledge.

use std::time::Duration;

use bytes::Bytes;
use imago_proto::{
    ConversationId, Seq, command,
    msg::{Cursor, MessageAckReq, MessageContentReq, MessageIndexReq, SyncReq},
};
use prost::Message as _;
use tokio::time::Instant;

use super::{Core, Phase, Request, Timer};
use crate::{
    outbox::Repeat,
    sync::{BATCH, Phase as SyncPhase, SYNC_PAGE},
};

/// How long a hole may fill by itself: pushes of two senders may overtake each other.
const GAP_GRACE: Duration = Duration::from_millis(50);
/// How long consumed messages wait for more, to be acknowledged together.
const ACK_DELAY: Duration = Duration::from_millis(200);
/// Consumed messages that are acknowledged without waiting for more.
const ACK_BATCH: usize = 50;
/// Cursors in one request.
const CURSORS_MAX: usize = 1000;
/// Pause before a page is asked for again that told nothing new.
const STUCK: Duration = Duration::from_secs(1);

impl Core {
    pub(super) fn upkeep(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Online { .. }) || self.logout.is_some() {
            return;
        }
        self.send_calls(now);
        while self.step_sync(now) {}
        self.watch_acks(now);
    }

    fn send_calls(&mut self, now: Instant) {
        while let Some((id, call)) = self.outbox.next() {
            if call.is_taken_back() {
                self.timers.cancel(Timer::Deadline(id));
                self.outbox.take(id);
                continue;
            }
            let (command, dest, body) =
                (call.command.clone(), call.dest.clone(), call.body.clone());
            let last_try = (call.repeat == Repeat::Never).then_some(call.deadline);
            let sequence = self.request(now, &command, &dest, body, Request::Call(id));
            // What is not repeated is waited for as long as its caller waits.
            if let Some(deadline) = last_try {
                self.timers.set(Timer::Request(sequence), deadline);
            }
        }
    }

    /// Something new is to be had, or was not had.
    pub(super) fn want_sync(&mut self) {
        if matches!(self.sync.phase, SyncPhase::Idle) {
            self.sync.phase = SyncPhase::Wanted;
        }
    }

    /// Takes the synchronisation one step further; says whether it could.
    fn step_sync(&mut self, now: Instant) -> bool {
        let room = self.inbox.room();
        let drained = self.inbox.is_drained() && !self.is_acking();
        match &mut self.sync.phase {
            SyncPhase::Idle => self.watch_gaps(now),
            SyncPhase::Wanted if room >= self.options.queue / 2 => {
                match self.is_old {
                    true => self.list(now),
                    false => self.ask_page(now, room),
                }
                true
            }
            SyncPhase::Fetching { left, full, progress } if left.is_empty() => {
                self.sync.phase = match full {
                    true => SyncPhase::Draining { progress: *progress },
                    false => SyncPhase::Idle,
                };
                self.sync.fetched();
                true
            }
            SyncPhase::Fetching { left, full, .. } if room >= BATCH.min(left.len()) => {
                let batch: Vec<_> = left.drain(..BATCH.min(left.len())).collect();
                let message_ids = batch.iter().map(|listed| listed.message_id).collect();
                let (left, full) = (std::mem::take(left), *full);
                self.sync.phase = SyncPhase::Batch { batch, left, full };
                let body = Bytes::from(MessageContentReq { message_ids }.encode_to_vec());
                self.request(now, command::CHAT_OFFLINE_CONTENT, "", body, Request::Batch);
                true
            }
            SyncPhase::Draining { progress } if drained => {
                let progress = *progress;
                self.sync.phase = SyncPhase::Idle;
                if progress {
                    self.want_sync();
                } else {
                    self.timers.set(Timer::Sync, now + STUCK);
                }
                progress
            }
            _ => false,
        }
    }

    fn watch_gaps(&mut self, now: Instant) -> bool {
        if self.timers.is_set(Timer::Sync) {
            return false;
        }
        if !self.sync.waiting.is_empty() {
            self.want_sync();
            return true;
        }
        if self.inbox.needs_listing() {
            self.timers.set_if_none(Timer::Gap, now + GAP_GRACE);
        } else {
            self.timers.cancel(Timer::Gap);
        }
        false
    }

    fn begin_sync(&mut self) {
        for timer in [Timer::Gap, Timer::Sync] {
            self.timers.cancel(timer);
        }
        self.inbox.listing_begins();
        self.sync.begin();
    }

    /// Asks for what comes past all that we have.
    fn ask_page(&mut self, now: Instant, room: usize) {
        // More positions than one request may name: the server has to know some by itself.
        if self.inbox.is_crowded(CURSORS_MAX) && !self.is_acking() {
            self.inbox.settle();
            while self.inbox.is_dirty() {
                self.acknowledge(now);
            }
        }
        self.begin_sync();
        let cursors = self.inbox.positions(CURSORS_MAX).iter().map(cursor).collect();
        let limit = u32::try_from(room.clamp(1, SYNC_PAGE)).unwrap_or(1);
        let body = Bytes::from(SyncReq { cursors, limit }.encode_to_vec());
        self.request(now, command::CHAT_SYNC, "", body, Request::Page);
    }

    /// A page has come, and was taken. Waiters are told once nothing more can be fetched.
    pub(super) fn paged(&mut self, now: Instant, more: bool, progress: bool) {
        self.sync.failures = 0;
        self.sync.phase = SyncPhase::Idle;
        if more && progress {
            self.want_sync();
        } else if more {
            self.timers.set(Timer::Sync, now + STUCK);
        }
        if !more || !progress || self.inbox.room() < self.options.queue / 2 {
            self.sync.fetched();
        }
    }

    /// Asks an old server for what is not acknowledged.
    fn list(&mut self, now: Instant) {
        self.begin_sync();
        // Message id 0 acknowledges nothing.
        let body = Bytes::from(MessageIndexReq { message_id: 0 }.encode_to_vec());
        self.request(now, command::CHAT_OFFLINE_INDEX, "", body, Request::Listing);
    }

    fn watch_acks(&mut self, now: Instant) {
        if !self.inbox.is_dirty() || self.is_acking() {
            return;
        }
        if self.inbox.consumed_since_ack() >= ACK_BATCH {
            self.acknowledge(now);
        } else {
            self.timers.set_if_none(Timer::Ack, now + ACK_DELAY);
        }
    }

    /// Tells the server how far the application has come.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        self.timers.cancel(Timer::Ack);
        let acked = self.inbox.take_cursors(CURSORS_MAX);
        if acked.is_empty() {
            return;
        }
        let cursors = acked.iter().map(cursor).collect();
        let body = Bytes::from(MessageAckReq { message_id: 0, cursors }.encode_to_vec());
        self.request(now, command::CHAT_TALK_ACK, "", body, Request::Ack(acked));
    }

    fn is_acking(&self) -> bool {
        self.requests.values().any(|request| matches!(request, Request::Ack(_)))
    }
}

fn cursor((id, seq): &(ConversationId, Seq)) -> Cursor {
    Cursor { conversation: id.to_string(), seq: seq.0 }
}
