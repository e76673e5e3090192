//! Packets from the gateway, and answers that do not come.

use bytes::Bytes;
use imago_proto::{
    BasicCode, BasicPacket, LogicPacket, Packet, Seq, Status, command,
    msg::{
        ErrorResp, Flag, KickoutNotify, MessageContent, MessageContentResp, MessageIndex,
        MessageIndexResp, MessagePush, MessageResp, SyncResp,
    },
};
use prost::Message as _;
use tokio::time::Instant;

use super::{Action, Core, Phase, Request, Timer, answer};
use crate::{
    CloseReason, Error, Event, Message, Push,
    error::is_temporary,
    inbox::{Entry, Listed},
    outbox::{CallId, Lane, Repeat},
    sync::{PAGE, Phase as SyncPhase},
};

impl Core {
    /// A packet has come.
    pub(crate) fn packet(&mut self, now: Instant, packet: Packet) {
        if !matches!(self.phase, Phase::Online { .. }) {
            return;
        }
        // Whatever came, the gateway is alive.
        self.timers.cancel(Timer::Pong);
        match packet {
            Packet::Basic(basic) if basic.code == BasicCode::Ping => {
                self.actions.push_back(Action::Send(BasicPacket::PONG.encode()));
            }
            Packet::Basic(_) => {}
            Packet::Logic(packet) if packet.header.flag() == Flag::Push => self.push(now, &packet),
            Packet::Logic(packet) => self.response(now, &packet),
        }
        self.upkeep(now);
    }

    fn push(&mut self, now: Instant, packet: &LogicPacket) {
        match packet.header.command.as_str() {
            command::LOGIN_SIGNIN => self.kicked(now, packet),
            command::CHAT_USER_TALK | command::CHAT_GROUP_TALK => self.message(packet),
            _ => match Event::of(packet) {
                Some(event) => {
                    self.heed(&event);
                    self.actions.push_back(Action::Event(event));
                }
                None => match Push::of(packet) {
                    Some(push) => self.actions.push_back(Action::Push(push)),
                    None => tracing::debug!(
                        command = packet.header.command,
                        "push that does not decode: ignored"
                    ),
                },
            },
        }
    }

    /// The present session is over because another one took its place. That is the end of the client,
    /// unless the other one was its own: then it connects again, in place of that one.
    fn kicked(&mut self, now: Instant, packet: &LogicPacket) {
        let notice = KickoutNotify::decode(packet.body.clone()).unwrap_or_default();
        let Phase::Online { session, .. } = &self.phase else { return };
        if session.channel_id != notice.channel_id {
            return;
        }
        let winner = packet.header.channel_id.as_str();
        if winner == notice.channel_id || !self.channels.contains(winner) {
            return self.close(CloseReason::Kicked);
        }
        self.channels.push(winner);
        self.lost(now, None, "an earlier session of this client took the place of this one");
    }

    /// Messages that were sent right before the account left a group are for it to see, but they may be pushed when
    /// it is no longer a member; and no later message shows the gap.
    fn heed(&mut self, event: &Event) {
        let Phase::Online { session, .. } = &self.phase else { return };
        if matches!(event, Event::GroupLeft { account, .. } if account.as_str() == session.account)
        {
            self.inbox.doubt();
        }
    }

    fn message(&mut self, packet: &LogicPacket) {
        let Ok(mut push) = MessagePush::decode(packet.body.clone()) else {
            tracing::warn!("push does not decode: ignored, a later synchronisation finds it");
            return;
        };
        if packet.header.command == command::CHAT_GROUP_TALK && push.group.is_empty() {
            push.group.clone_from(&packet.header.dest);
        }
        let Phase::Online { session, .. } = &self.phase else { return };
        let Some(message) = Message::of(push, &session.account) else {
            tracing::warn!("push without conversation and sequence ignored: server is too old");
            return;
        };
        // The server takes the connection that we had before for another device.
        if message.is_own_of(&session.account) && self.tries(&message) > 1 {
            return self.inbox.own(&message.conversation, message.seq);
        }
        self.inbox.pushed(message);
    }

    /// Returns how often a request that may be this very message was sent without an answer.
    fn tries(&self, message: &Message) -> u32 {
        let lane = match (&message.group, &message.sent_to) {
            (Some(group), _) => Lane::Group(group.to_string()),
            (None, Some(account)) => Lane::Account(account.to_string()),
            (None, None) => return 0,
        };
        self.outbox.tries(&lane, &message.body)
    }

    fn response(&mut self, now: Instant, packet: &LogicPacket) {
        // An answer that comes after its request has timed out: a repeat gets the same.
        let Some(request) = self.requests.remove(&packet.header.sequence) else { return };
        self.timers.cancel(Timer::Request(packet.header.sequence));
        let status = packet.header.status;
        match request {
            Request::Call(id) => self.call_answer(now, id, status, packet.body.clone()),
            Request::Ack(cursors) if status == Status::Success.code() => self.inbox.acked(&cursors),
            Request::Ack(cursors) => {
                self.inbox.ack_failed(cursors);
                self.timers.set(Timer::Ack, now + self.options.request_timeout);
            }
            Request::Page if status == Status::Success.code() => {
                self.page(now, packet.body.clone());
            }
            Request::Page if status == Status::NotImplemented.code() => {
                self.is_old = true;
                self.sync.phase = SyncPhase::Wanted;
            }
            Request::Listing if status == Status::Success.code() => {
                self.listing(now, packet.body.clone());
            }
            Request::Batch if status == Status::Success.code() => {
                self.batch(now, packet.body.clone());
            }
            Request::Page | Request::Listing | Request::Batch => self.sync_failed(now),
            Request::Signout => self.close(CloseReason::ClosedByUser),
        }
        if status == Status::SessionNotFound.code() {
            self.lost(now, None, "the server does not know the session any more");
        }
    }

    fn call_answer(&mut self, now: Instant, id: CallId, status: u32, body: Bytes) {
        let outcome = if status == Status::Success.code() {
            let is_talk = self.outbox.get(id).is_some_and(|call| call.text.is_some());
            if is_talk && !self.stored(&body) {
                return self.rest(now, id);
            }
            // Who asks for it is told by the answer only.
            if self.outbox.get(id).is_some_and(|call| call.command == command::CHAT_GROUP_QUIT) {
                self.inbox.doubt();
            }
            Ok(body)
        } else if is_temporary(status) && self.is_repeated(id) {
            return self.rest(now, id);
        } else {
            let message = ErrorResp::decode(body).unwrap_or_default().message;
            Err(match is_temporary(status) {
                true => Error::Unavailable { status, message },
                false => Error::Rejected { status, message },
            })
        };
        self.timers.cancel(Timer::Deadline(id));
        if let Some(call) = self.outbox.take(id) {
            call.finish(outcome);
        }
    }

    /// Returns whether a call without an answer is sent again.
    pub(super) fn is_repeated(&self, id: CallId) -> bool {
        self.outbox.get(id).is_some_and(|call| call.repeat != Repeat::Never)
    }

    /// A message of ours has its place in a conversation; false where the answer does not say it.
    fn stored(&mut self, body: &Bytes) -> bool {
        let Ok(resp) = MessageResp::decode(body.clone()) else { return false };
        if resp.seq > 0 {
            self.inbox.own(&resp.conversation.into(), Seq(resp.seq));
        }
        true
    }

    /// Tries a call again after a pause.
    fn rest(&mut self, now: Instant, id: CallId) {
        if let Some(tries) = self.outbox.rest(id) {
            self.timers.set(Timer::Rest(id), now + self.pause(tries));
        }
    }

    fn page(&mut self, now: Instant, body: Bytes) {
        let Phase::Online { session, .. } = &self.phase else { return };
        let Ok(resp) = SyncResp::decode(body) else { return self.sync_failed(now) };
        let messages = resp.messages.into_iter();
        let entry = |push| {
            let message = Message::of(push, &session.account)?;
            // Its answer is still to come.
            let is_own = message.is_own_of(&session.account) && self.tries(&message) > 0;
            Some(match is_own {
                true => Entry::Own(message.conversation, message.seq),
                false => Entry::Message(message),
            })
        };
        let page = messages.filter_map(entry).collect();
        let progress = self.inbox.page(page, resp.more);
        self.paged(now, resp.more, progress);
    }

    fn listing(&mut self, now: Instant, body: Bytes) {
        let Ok(resp) = MessageIndexResp::decode(body) else { return self.sync_failed(now) };
        let full = resp.indexes.len() >= PAGE;
        let listing = resp.indexes.into_iter().filter_map(listed).collect();
        let left = self.inbox.listed(listing, full);
        self.sync.phase =
            SyncPhase::Fetching { progress: !left.is_empty(), left: left.into(), full };
    }

    fn batch(&mut self, now: Instant, body: Bytes) {
        let phase = std::mem::take(&mut self.sync.phase);
        let SyncPhase::Batch { batch, left, full } = phase else { return };
        let contents = MessageContentResp::decode(body).unwrap_or_default().contents;
        let pairs = batch.len() == contents.len()
            && batch.iter().zip(&contents).all(|(l, c)| l.message_id == c.message_id);
        if !pairs {
            return self.sync_failed(now);
        }
        for (listed, content) in batch.into_iter().zip(contents) {
            self.inbox.fetched(fetched(listed, content));
        }
        self.sync.phase = SyncPhase::Fetching { progress: true, left, full };
    }

    pub(super) fn sync_failed(&mut self, now: Instant) {
        self.sync.failed();
        self.timers.set(Timer::Sync, now + self.pause(self.sync.failures + 2));
    }

    /// A request was not answered in time.
    pub(super) fn unanswered(&mut self, now: Instant, sequence: u32) {
        match self.requests.remove(&sequence) {
            None => return,
            Some(Request::Call(id)) if !self.is_repeated(id) => self.expire(id),
            Some(Request::Call(id)) => {
                // The pause was long enough.
                self.outbox.rest(id);
                self.outbox.wake(id);
            }
            Some(Request::Ack(cursors)) => self.inbox.ack_failed(cursors),
            Some(Request::Page | Request::Listing | Request::Batch) => self.sync_failed(now),
            Some(Request::Signout) => {
                if let Some(waiter) = self.logout.take() {
                    answer(waiter, Err(Error::Timeout(self.options.request_timeout)));
                }
                return self.close(CloseReason::ClosedByUser);
            }
        }
        self.probe(now);
    }
}

/// An entry of a listing; `None` for one that is not numbered.
fn listed(index: MessageIndex) -> Option<Listed> {
    let numbered = !index.conversation.is_empty() && index.seq > 0;
    numbered.then(|| Listed {
        message_id: index.message_id,
        conversation: index.conversation.into(),
        seq: index.seq,
        sender: index.account_b.into(),
        group: (!index.group.is_empty()).then(|| index.group.into()),
        send_time: index.send_time,
    })
}

fn fetched(listed: Listed, content: MessageContent) -> Message {
    Message {
        message_id: listed.message_id,
        conversation: listed.conversation,
        seq: Seq(listed.seq),
        sender: listed.sender,
        sent_to: None,
        group: listed.group,
        send_time: listed.send_time,
        kind: content.r#type,
        body: content.body,
        extra: content.extra,
    }
}
