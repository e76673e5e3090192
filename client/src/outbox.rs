//! What is to be sent, in order for each receiver: a state machine without IO.
//!
//! One message of a receiver is under way at a time, so that a repeat never overtakes what came
//! before it; receivers do not wait for each other.

use std::collections::{HashMap, VecDeque};

use imago_proto::msg::MessageReq;
use tokio::{sync::oneshot, time::Instant};

use crate::{Error, Receipt};

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) dest: String,
    pub(crate) kind: i32,
    pub(crate) body: String,
    pub(crate) extra: String,
    /// Client message id, the same in every try.
    pub(crate) id: String,
    pub(crate) deadline: Instant,
    /// How long that is after the call, for error texts.
    pub(crate) waited: std::time::Duration,
    /// Requests sent for it.
    pub(crate) tries: u32,
    pub(crate) answer: oneshot::Sender<Result<Receipt, Error>>,
}

/// Number of a talk in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TalkId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// The first message may be sent.
    Ready,
    /// The first message is under way.
    Sent,
    /// The first message waits for its next try.
    Resting,
}

/// All messages that are not answered. The owner bounds their number by [`len`](Self::len).
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    talks: HashMap<TalkId, Talk>,
    lanes: HashMap<String, (Lane, VecDeque<TalkId>)>,
    /// Receivers whose lane became ready, each at most once for each time it did.
    ready: VecDeque<String>,
    last: u64,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.talks.len()
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, talk: Talk) -> TalkId {
        self.last += 1;
        let id = TalkId(self.last);
        let (_, lane) = self.lanes.entry(talk.dest.clone()).or_insert_with(|| {
            self.ready.push_back(talk.dest.clone());
            (Lane::Ready, VecDeque::new())
        });
        lane.push_back(id);
        self.talks.insert(id, talk);
        id
    }

    /// The next message to send now, which counts as sent.
    pub(crate) fn next(&mut self) -> Option<(TalkId, &Talk)> {
        loop {
            let dest = self.ready.pop_front()?;
            let Some((lane, queue)) = self.lanes.get_mut(&dest) else { continue };
            let (Lane::Ready, Some(&id)) = (*lane, queue.front()) else { continue };
            *lane = Lane::Sent;
            if let Some(talk) = self.talks.get_mut(&id) {
                talk.tries += 1;
                return self.talks.get(&id).map(|talk| (id, talk));
            }
        }
    }

    /// The message got no final answer: it waits for [`wake`](Self::wake). Says how often it was
    /// tried, or `None` where it is gone.
    pub(crate) fn rest(&mut self, id: TalkId) -> Option<u32> {
        let talk = self.talks.get(&id)?;
        let (lane, _) = self.lanes.get_mut(&talk.dest)?;
        *lane = Lane::Resting;
        Some(talk.tries)
    }

    /// The pause is over: the message may be sent again.
    pub(crate) fn wake(&mut self, id: TalkId) {
        let Some(talk) = self.talks.get(&id) else { return };
        if let Some((lane, queue)) = self.lanes.get_mut(&talk.dest)
            && (*lane, queue.front()) == (Lane::Resting, Some(&id))
        {
            *lane = Lane::Ready;
            self.ready.push_back(talk.dest.clone());
        }
    }

    /// The connection is gone: everything may be sent again, over the next one.
    pub(crate) fn wake_all(&mut self) {
        self.ready.clear();
        for (dest, (lane, _)) in &mut self.lanes {
            *lane = Lane::Ready;
            self.ready.push_back(dest.clone());
        }
    }

    /// Takes a message out, because it is answered or its deadline has passed.
    pub(crate) fn take(&mut self, id: TalkId) -> Option<Talk> {
        let talk = self.talks.remove(&id)?;
        let (lane, queue) = self.lanes.get_mut(&talk.dest)?;
        let first = queue.front() == Some(&id);
        queue.retain(|queued| *queued != id);
        if queue.is_empty() {
            self.lanes.remove(&talk.dest);
        } else if first && *lane != Lane::Ready {
            *lane = Lane::Ready;
            self.ready.push_back(talk.dest.clone());
        }
        Some(talk)
    }

    /// Whether a message to `dest` with this body is under way again: the server may push a copy
    /// of the first try to what it takes for another device of ours.
    pub(crate) fn is_repeating(&self, dest: &str, body: &str) -> bool {
        let Some((_, queue)) = self.lanes.get(dest) else { return false };
        let first = queue.front().and_then(|id| self.talks.get(id));
        first.is_some_and(|talk| talk.tries > 1 && talk.body == body)
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> Vec<Talk> {
        self.lanes.clear();
        self.ready.clear();
        self.talks.drain().map(|(_, talk)| talk).collect()
    }
}

impl Talk {
    /// The request's body.
    pub(crate) fn request(&self) -> MessageReq {
        MessageReq {
            r#type: self.kind,
            body: self.body.clone(),
            extra: self.extra.clone(),
            client_message_id: self.id.clone(),
        }
    }

    /// Tells the caller.
    pub(crate) fn finish(self, outcome: Result<Receipt, Error>) {
        // The caller may have stopped waiting.
        let _ = self.answer.send(outcome);
    }

    /// Tells the caller that its deadline has passed.
    pub(crate) fn expire(self) {
        let error = if self.tries == 0 {
            Error::NotSent(self.waited)
        } else {
            Error::Unconfirmed { waited: self.waited, client_message_id: self.id.clone() }
        };
        self.finish(Err(error));
    }
}

#[cfg(test)]
mod tests;
