//! What is done after every event: send what may be sent, fetch what is missing, acknowledge.

use std::time::Duration;

use bytes::Bytes;
use imago_proto::{
    command,
    msg::{Cursor, MessageAckReq, MessageContentReq, MessageIndexReq},
};
use prost::Message as _;
use tokio::time::Instant;

use super::{Core, Phase, Request, Timer};
use crate::sync::{BATCH, Phase as SyncPhase};

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
            let (command, dest, body) = (call.command, call.dest.clone(), call.body.clone());
            self.request(now, command, &dest, body, Request::Call(id));
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
                self.list(now);
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

    fn list(&mut self, now: Instant) {
        for timer in [Timer::Gap, Timer::Sync] {
            self.timers.cancel(timer);
        }
        self.inbox.listing_begins();
        self.sync.begin();
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
        let cursor = |(id, seq): &(_, imago_proto::Seq)| {
            let id: &imago_proto::ConversationId = id;
            Cursor { conversation: id.to_string(), seq: seq.0 }
        };
        let cursors = acked.iter().map(cursor).collect();
        let body = Bytes::from(MessageAckReq { message_id: 0, cursors }.encode_to_vec());
        self.request(now, command::CHAT_TALK_ACK, "", body, Request::Ack(acked));
    }

    fn is_acking(&self) -> bool {
        self.requests.values().any(|request| matches!(request, Request::Ack(_)))
    }
}
