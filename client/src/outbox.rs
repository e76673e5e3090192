//! What is to be asked of the server until it answers, in order for each receiver: a state machine
//! without IO.
//!
//! One call of a lane is under way at a time, so that a repeat never overtakes what came before
//! it; lanes do not wait for each other.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use crate::{CloseReason, Error};

/// What is kept in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// What is for an account.
    Account(String),
    /// What is for a group.
    Group(String),
    /// A call that nothing waits for, by a name of its own.
    Alone(String),
}

/// Whether a request that was sent and not answered is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Under this client message id, by which the servers carry it out once.
    Under(String),
    /// As it is: it has no effect, or has the same effect however often it is carried out.
    Freely,
    /// Not at all: it may have been carried out.
    Never,
}

/// A request on its way, until it is answered.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) lane: Lane,
    pub(crate) command: Cow<'static, str>,
    pub(crate) dest: String,
    /// The same in every try, and so is the client message id in it.
    pub(crate) body: Bytes,
    /// What a message says, to know a copy of it. `None`: it is no message.
    pub(crate) text: Option<String>,
    pub(crate) repeat: Repeat,
    pub(crate) deadline: Instant,
    /// How long that is after the call, for error texts.
    pub(crate) waited: Duration,
    /// Requests sent for it.
    pub(crate) tries: u32,
    pub(crate) answer: oneshot::Sender<Result<Bytes, Error>>,
}

/// Number of a call in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first call may be sent.
    Ready,
    /// The first call is under way.
    Sent,
    /// The first call waits for its next try.
    Resting,
}

/// All calls that are not answered. The owner bounds their number by [`len`](Self::len).
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    calls: HashMap<CallId, Call>,
    lanes: HashMap<Lane, (State, VecDeque<CallId>)>,
    /// Lanes that became ready, each at most once for each time it did.
    ready: VecDeque<Lane>,
    last: u64,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Queues a call.
    pub(crate) fn push(&mut self, call: Call) -> CallId {
        self.last += 1;
        let id = CallId(self.last);
        let (_, queue) = self.lanes.entry(call.lane.clone()).or_insert_with(|| {
            self.ready.push_back(call.lane.clone());
            (State::Ready, VecDeque::new())
        });
        queue.push_back(id);
        self.calls.insert(id, call);
        id
    }

    /// The next call to send now, which counts as sent.
    pub(crate) fn next(&mut self) -> Option<(CallId, &Call)> {
        loop {
            let lane = self.ready.pop_front()?;
            let Some((state, queue)) = self.lanes.get_mut(&lane) else { continue };
            let (State::Ready, Some(&id)) = (*state, queue.front()) else { continue };
            *state = State::Sent;
            if let Some(call) = self.calls.get_mut(&id) {
                call.tries += 1;
                return self.calls.get(&id).map(|call| (id, call));
            }
        }
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&Call> {
        self.calls.get(&id)
    }

    /// The call got no final answer: it waits for [`wake`](Self::wake). Says how often it was
    /// tried, or `None` where it is gone.
    pub(crate) fn rest(&mut self, id: CallId) -> Option<u32> {
        let call = self.calls.get(&id)?;
        let (state, _) = self.lanes.get_mut(&call.lane)?;
        *state = State::Resting;
        Some(call.tries)
    }

    /// The pause is over: the call may be sent again.
    pub(crate) fn wake(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if let Some((state, queue)) = self.lanes.get_mut(&call.lane)
            && (*state, queue.front()) == (State::Resting, Some(&id))
        {
            *state = State::Ready;
            self.ready.push_back(call.lane.clone());
        }
    }

    /// The connection is gone: everything may be sent again, over the next one.
    pub(crate) fn wake_all(&mut self) {
        self.ready.clear();
        for (lane, (state, _)) in &mut self.lanes {
            *state = State::Ready;
            self.ready.push_back(lane.clone());
        }
    }

    /// Takes a call out, because it is answered or its deadline has passed.
    pub(crate) fn take(&mut self, id: CallId) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        let (state, queue) = self.lanes.get_mut(&call.lane)?;
        let first = queue.front() == Some(&id);
        queue.retain(|queued| *queued != id);
        if queue.is_empty() {
            self.lanes.remove(&call.lane);
        } else if first && *state != State::Ready {
            *state = State::Ready;
            self.ready.push_back(call.lane.clone());
        }
        Some(call)
    }

    /// Returns how often the first of a lane was sent, if it is a message with this text: the server may
    /// have stored it, and show it to us before it answers.
    pub(crate) fn tries(&self, lane: &Lane, text: &str) -> u32 {
        let Some((_, queue)) = self.lanes.get(lane) else { return 0 };
        let first = queue.front().and_then(|id| self.calls.get(id));
        first.filter(|call| call.text.as_deref() == Some(text)).map_or(0, |call| call.tries)
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<Call> {
        self.lanes.clear();
        self.ready.clear();
        self.calls.drain().map(|(_, call)| call).collect()
    }
}

impl Call {
    /// Tells the caller.
    pub(crate) fn finish(self, outcome: Result<Bytes, Error>) {
        // The caller may have stopped waiting.
        let _ = self.answer.send(outcome);
    }

    /// Tells the caller that its deadline has passed.
    pub(crate) fn expire(self) {
        let waited = self.waited;
        let error = match &self.repeat {
            Repeat::Freely => Error::Timeout(waited),
            _ if self.tries == 0 => Error::NotSent(waited),
            Repeat::Under(id) => Error::Unconfirmed { waited, client_message_id: id.clone() },
            Repeat::Never => return self.lose(&format!("none came within {waited:?}")),
        };
        self.finish(Err(error));
    }

    /// Tells the caller of a call that was sent and is not repeated that no answer will come.
    pub(crate) fn lose(self, why: &str) {
        let command = self.command.clone();
        self.finish(Err(Error::OutcomeUnknown { command, why: why.to_owned() }));
    }

    /// Tells the caller that the client is closed.
    pub(crate) fn close(self, why: CloseReason) {
        if self.repeat == Repeat::Never && self.tries > 0 {
            return self.lose(&format!("client is closed: {why}"));
        }
        self.finish(Err(Error::Closed(why)));
    }

    /// Returns whether its caller has stopped waiting before it was sent, where that takes it back.
    pub(crate) fn is_taken_back(&self) -> bool {
        self.repeat == Repeat::Never && self.answer.is_closed()
    }
}

#[cfg(test)]
mod tests;
