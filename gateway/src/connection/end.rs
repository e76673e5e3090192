//! How a connection ends: what is left goes out, and the client is told why.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::time::{sleep, timeout};

use super::Connection;
use crate::{
    codec::linger, memory::Holder, metrics, outbox::Close, read_buffer::ReadBuffer,
    transport::Transport,
};

/// The end of a connection that can still be told.
pub(super) struct End {
    pub(super) close: Close,
    pub(super) patience: Duration,
}

impl<T: Transport> Connection<T> {
    /// Ends the connection, in good order where there is an order left. One that has not logged in waits
    /// for nothing more once another has its slot.
    pub(super) async fn end(mut self, served: io::Result<Option<End>>) {
        // Nothing is for this session any more while its last bytes go out, and nothing is read.
        self.online = None;
        self.input = ReadBuffer::new(BytesMut::new());
        self.codec.set_packet_max(0);
        self.outbox.footprint().set_input(0, false);
        // Of what it has before its login, only the slot is kept.
        let slot = self.before_login.take().map(|it| it.slot);
        let finished = self.finish(served);
        match slot {
            None => finished.await,
            // In this order: what can be written at once is.
            Some(slot) => tokio::select! {
                biased;
                () = finished => {}
                () = slot.evicted() => {}
            },
        }
    }

    /// The last bytes of a connection.
    async fn finish(&mut self, served: io::Result<Option<End>>) {
        let ended = match served {
            Ok(Some(end)) => self.say_goodbye(end).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => linger(&mut self.stream).await,
            Err(error) => tracing::debug!(%error, "connection broke"),
        }
    }

    /// Writes the close frame behind what is half written.
    async fn say_goodbye(&mut self, End { close, patience }: End) -> io::Result<()> {
        if !close.after.is_zero() {
            // Even without a delay it would wait for the clock, and an evicted connection cannot.
            sleep(close.after).await;
        }
        let frame = self.codec.close(close.code, &close.reason);
        self.codec.encode(&frame, &mut self.output);
        let written = timeout(patience, async {
            while !self.output.is_empty() {
                metrics::sent(self.output.write_some(&mut self.stream).await?);
            }
            Ok(())
        });
        written.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}
