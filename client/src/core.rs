//! All that a client decides, without IO: events and the time go in, actions come out.

mod answers;
mod channels;
mod link;
mod upkeep;

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use imago_proto::{ConversationId, LogicPacket, Seq};
use tokio::{sync::oneshot, time::Instant};

use self::channels::Channels;
use crate::{
    CloseReason, Error, Event, Message, Push, Session, State,
    inbox::{Inbox, InboxLimits},
    options::Options,
    outbox::{Call, CallId, Outbox},
    sync::{Sync, Waiter},
    timers::Timers,
};

/// Calls that may wait for their answer. Overflow policy: further callers wait.
const OUTBOX_MAX: usize = 1024;
/// Messages that may wait behind a hole. Overflow policy: see [`InboxLimits`].
const HELD_MAX: usize = 1024;

/// An order to the shell.
#[derive(Debug)]
pub(crate) enum Action {
    /// Connect to this gateway and log in, with this sequence. Replaces a running try.
    Connect {
        /// Index into the gateways of the options.
        gateway: usize,
        /// Sequence of the login request.
        sequence: u32,
        /// Channel id of the session that it replaces, or empty.
        replaces: String,
    },
    /// Send this packet on the connection.
    Send(Bytes),
    /// Give the connection, or the try to make one, up.
    Disconnect,
    /// Publish this state.
    State(State),
    /// Publish this session.
    Session(Session),
    /// Publish this event.
    Event(Event),
    /// Publish this push.
    Push(Push),
}

/// The purpose of a request that is under way.
#[derive(Debug)]
enum Request {
    Call(CallId),
    Page,
    Listing,
    Batch,
    Ack(Vec<(ConversationId, Seq)>),
    Signout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Timer {
    /// Time to connect again.
    Connect,
    /// A request was not answered.
    Request(u32),
    /// A caller has waited long enough.
    Deadline(CallId),
    /// A call may be tried again.
    Rest(CallId),
    /// Time for a ping.
    Ping,
    /// Nothing has come since a ping.
    Pong,
    /// Time to acknowledge.
    Ack,
    /// A hole has not filled by itself.
    Gap,
    /// Time to synchronise again.
    Sync,
}

#[derive(Debug)]
enum Phase {
    /// Before the start, or until the timer says to connect.
    Offline,
    Connecting,
    Online {
        since: Instant,
        session: Session,
    },
    Closed(CloseReason),
}

/// The decisions of one client.
pub(crate) struct Core {
    options: Options,
    phase: Phase,
    /// Gateway of the present or next connection.
    gateway: usize,
    /// Tries since the client was last online.
    attempt: u32,
    /// Connections that failed or did not last, in a row.
    failures: u32,
    sequence: u32,
    /// Those of the sessions that it had.
    channels: Channels,
    requests: HashMap<u32, Request>,
    outbox: Outbox,
    inbox: Inbox,
    sync: Sync,
    /// The server does not know `chat.sync`. Found out anew with each connection.
    is_old: bool,
    logout: Option<Waiter>,
    timers: Timers<Timer>,
    actions: VecDeque<Action>,
}

// === impl Core ===

impl Core {
    pub(crate) fn new(options: Options) -> Self {
        let limits = InboxLimits { ready: options.queue, held: HELD_MAX };
        Self {
            gateway: options.first,
            options,
            phase: Phase::Offline,
            attempt: 0,
            failures: 0,
            sequence: 0,
            channels: Channels::default(),
            requests: HashMap::new(),
            outbox: Outbox::default(),
            inbox: Inbox::new(limits),
            sync: Sync::default(),
            is_old: false,
            logout: None,
            timers: Timers::default(),
            actions: VecDeque::new(),
        }
    }

    /// What to do next, until there is nothing more.
    pub(crate) fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns when to call [`tick`](Self::tick).
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next message for the application.
    pub(crate) fn next_message(&mut self, now: Instant) -> Option<Message> {
        let message = self.inbox.next();
        self.upkeep(now);
        message
    }

    pub(crate) fn has_message(&self) -> bool {
        self.inbox.has_ready()
    }

    /// Returns whether another call may be given to it.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX_MAX
    }

    /// Why it is closed for good, if it is.
    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        match &self.phase {
            Phase::Closed(why) => Some(why),
            _ => None,
        }
    }

    /// Asks something of the server, until it answers.
    pub(crate) fn call(&mut self, now: Instant, call: Call) {
        if let Some(why) = self.unavailable() {
            return call.finish(Err(Error::Closed(why)));
        }
        let deadline = call.deadline;
        let id = self.outbox.push(call);
        self.timers.set(Timer::Deadline(id), deadline);
        self.upkeep(now);
    }

    /// Synchronises.
    pub(crate) fn synchronise(&mut self, now: Instant, waiter: Waiter) {
        if let Some(why) = self.unavailable() {
            return answer(waiter, Err(Error::Closed(why)));
        }
        self.sync.waiting.push(waiter);
        self.upkeep(now);
    }

    /// The application has consumed these.
    pub(crate) fn consumed(
        &mut self,
        now: Instant,
        marks: impl IntoIterator<Item = (ConversationId, Seq)>,
    ) {
        for (conversation, seq) in marks {
            self.inbox.consumed(&conversation, seq);
        }
        self.upkeep(now);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Connect => self.connect(),
                Timer::Request(sequence) => self.unanswered(now, sequence),
                Timer::Deadline(id) => self.expire(id),
                Timer::Rest(id) => self.outbox.wake(id),
                Timer::Ping => self.ping(now),
                Timer::Pong => self.lost(now, None, "no answer to a ping"),
                Timer::Ack => self.acknowledge(now),
                Timer::Gap | Timer::Sync => self.want_sync(),
            }
        }
        self.upkeep(now);
    }

    /// Why nothing new is begun, if so.
    fn unavailable(&self) -> Option<CloseReason> {
        match &self.phase {
            Phase::Closed(why) => Some(why.clone()),
            _ if self.logout.is_some() => Some(CloseReason::ClosedByUser),
            _ => None,
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends a request and returns its sequence.
    fn request(
        &mut self,
        now: Instant,
        command: &str,
        dest: &str,
        body: Bytes,
        request: Request,
    ) -> u32 {
        let sequence = self.next_sequence();
        let packet = LogicPacket::request(command, sequence, dest, body);
        self.actions.push_back(Action::Send(packet.encode()));
        self.requests.insert(sequence, request);
        self.timers.set(Timer::Request(sequence), now + self.options.request_timeout);
        sequence
    }

    fn expire(&mut self, id: CallId) {
        self.timers.cancel(Timer::Rest(id));
        self.timers.cancel(Timer::Deadline(id));
        if let Some(call) = self.outbox.take(id) {
            call.expire();
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        self.options.backoff.pause(failures)
    }
}

/// Sends `outcome` to a caller that may have stopped waiting.
fn answer<T>(waiter: oneshot::Sender<T>, outcome: T) {
    let _ = waiter.send(outcome);
}

#[cfg(test)]
mod tests;
