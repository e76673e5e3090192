//! Pushes of an application's own commands.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use imago_proto::LogicPacket;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::ReusableBoxFuture;

use crate::{Error, FromBody, command::is_own};

/// A push of a command that is not one of the client's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Push {
    /// The command that caused it.
    pub command: String,
    /// What the handler addressed: this account, or a group.
    pub dest: String,
    /// Its content, as the handler encoded it.
    pub body: Bytes,
}

// === impl Push ===

impl Push {
    /// Returns the content as a Protocol Buffers message, or another type that is read from a body.
    ///
    /// # Errors
    /// [`Error::Answer`] where the content is no such message.
    pub fn decode<M: FromBody>(&self) -> Result<M, Error> {
        let unreadable = || Error::Answer { command: self.command.clone().into() };
        M::from_body(self.body.clone()).ok_or_else(unreadable)
    }

    /// Returns the push of a packet, unless the client handles its command itself.
    pub(crate) fn of(packet: &LogicPacket) -> Option<Self> {
        let header = &packet.header;
        (!is_own(&header.command)).then(|| Self {
            command: header.command.clone(),
            dest: header.dest.clone(),
            body: packet.body.clone(),
        })
    }
}

type Queue = broadcast::Receiver<Push>;

/// The pushes since this stream was made. See [`Client::pushes`](crate::Client::pushes).
///
/// At most 256 pushes wait in a stream. Overflow policy: the oldest are dropped, and
/// [`missed`](Self::missed) counts them. The stream ends when the client is closed or dropped.
pub struct Pushes {
    next: ReusableBoxFuture<'static, (Result<Push, RecvError>, Queue)>,
    missed: u64,
}

// === impl Pushes ===

impl Pushes {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { next: ReusableBoxFuture::new(receive(queue)), missed: 0 }
    }

    /// Returns the number of pushes that were dropped because this stream was not read in time.
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

impl Stream for Pushes {
    type Item = Push;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        loop {
            let (received, queue) = ready!(self.next.poll(cx));
            self.next.set(receive(queue));
            match received {
                Ok(push) => return Poll::Ready(Some(push)),
                Err(RecvError::Lagged(missed)) => self.missed += missed,
                Err(RecvError::Closed) => return Poll::Ready(None),
            }
        }
    }
}

impl std::fmt::Debug for Pushes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pushes").field("missed", &self.missed).finish_non_exhaustive()
    }
}

async fn receive(mut queue: Queue) -> (Result<Push, RecvError>, Queue) {
    (queue.recv().await, queue)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;

    fn push(number: u8) -> Push {
        let body = Bytes::copy_from_slice(&[number]);
        Push { command: "my.count".into(), dest: "me".into(), body }
    }

    #[test]
    fn a_full_stream_drops_the_oldest_and_counts_them() {
        let (sender, queue) = broadcast::channel(4);
        let mut pushes = Pushes::new(queue);
        assert_eq!(pushes.next().now_or_never(), None, "nothing has come");
        for number in 0..7 {
            sender.send(push(number)).expect("the stream lives");
        }
        assert_eq!(pushes.next().now_or_never(), Some(Some(push(3))));
        assert_eq!(pushes.missed(), 3);
        for number in 4..7 {
            assert_eq!(pushes.next().now_or_never(), Some(Some(push(number))));
        }
        drop(sender);
        assert_eq!(pushes.next().now_or_never(), Some(None));
        assert_eq!(pushes.next().now_or_never(), Some(None), "the end stays the end");
        assert_eq!(pushes.missed(), 3);
    }
}
