//! Moves a link's frames between queue and socket, and notices when the peer is gone.

use std::{
    collections::VecDeque, future::Future, io, panic::AssertUnwindSafe, pin::pin, sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::BytesMut;
use futures::FutureExt;
use imago_proto::{
    Limits, LinkDecoder, LinkFrame, Stamp,
    link::{Ping, Pong, frame::Kind},
};
use tokio::{
    io::AsyncReadExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::yield_now,
    time::{Instant, MissedTickBehavior, error::Elapsed, interval_at, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Link, LinkConfig};
use crate::metrics;
use imago_kit::io::Chunks;

const READ_BUFFER: usize = 64 * 1024;

/// Takes the frames of one link in the order of their arrival.
#[async_trait]
pub(crate) trait FrameSink: Send + Sync {
    /// Waiting here stops reading from the link.
    async fn frame(&self, link: &Arc<Link>, frame: LinkFrame);
    /// A stamp of this server, after all that it has heard of.
    fn stamp(&self) -> Stamp;
    /// The peer told a stamp.
    fn heard(&self, stamp: Stamp);
    /// A link that was [doubted](Link::doubt) is not any more.
    fn confirmed(&self, _: &Arc<Link>) {}
}

/// Runs a link until it is closed, the peer is gone, or falls silent. Says why it ended.
pub(crate) async fn run(
    stream: TcpStream,
    received: BytesMut,
    link: &Arc<Link>,
    config: &LinkConfig,
    sink: &dyn FrameSink,
) -> String {
    let running = AssertUnwindSafe(move_frames(stream, received, link, config, sink));
    // A panic of the sink ends this link like any other error: whoever runs it must be able to
    // clean up, or the peer would be linked for ever with nobody.
    let ended = running.catch_unwind().await;
    let ended = ended.unwrap_or_else(|_| Err(io::Error::other("a frame made its receiver panic")));
    link.close();
    ended.unwrap_or_else(|error| error.to_string())
}

/// Moves frames until one direction ends. A peer that takes no more may have said much before: that
/// is read to its end.
async fn move_frames(
    stream: TcpStream,
    received: BytesMut,
    link: &Arc<Link>,
    config: &LinkConfig,
    sink: &dyn FrameSink,
) -> io::Result<String> {
    let (read, write) = stream.into_split();
    let unwritable = CancellationToken::new();
    let mut reading = pin!(read_frames(read, received, link, config, sink, &unwritable));
    let written = tokio::select! {
        ended = reading.as_mut() => return ended,
        ended = write_frames(write, link, config, sink) => ended,
        () = link.closed() => return Ok("closed".to_owned()),
    };
    unwritable.cancel();
    tokio::select! {
        _ = timeout(config.ping_timeout, reading) => written,
        () = link.closed() => written,
    }
}

/// Reads until the peer closes or falls silent; where nothing can be written, until nothing is left.
async fn read_frames(
    mut socket: OwnedReadHalf,
    mut buffer: BytesMut,
    link: &Arc<Link>,
    config: &LinkConfig,
    sink: &dyn FrameSink,
    unwritable: &CancellationToken,
) -> io::Result<String> {
    let mut decoder = LinkDecoder::new(Limits { payload: config.frame_max });
    loop {
        while let Some(frame) =
            decoder.decode(&mut buffer).map_err(|error| io::Error::other(error.to_string()))?
        {
            // Replaced by another life: what the old one still says is not heard any more.
            if link.is_closed() {
                return Ok("closed".to_owned());
            }
            match frame.kind {
                Kind::Ping(Ping { id, stamp }) => {
                    sink.heard(Stamp(stamp));
                    let pong = Pong { id, stamp: sink.stamp().0 };
                    // A queue without any room answers the ping by the frames in it.
                    let _ = link.try_send_urgent(Kind::Pong(pong));
                }
                Kind::Pong(Pong { id, stamp }) => {
                    sink.heard(Stamp(stamp));
                    if link.answered(id) {
                        sink.confirmed(link);
                    }
                }
                _ => sink.frame(link, frame).await,
            }
        }
        buffer.reserve(READ_BUFFER);
        let read = tokio::select! {
            read = patiently(config.ping_timeout, socket.read_buf(&mut buffer)) => read.ok(),
            () = unwritable.cancelled() => None,
        };
        let read = match read {
            Some(read) => Some(read?),
            None => read_now(&socket, &mut buffer)?,
        };
        match read {
            None => return Ok(format!("peer silent for {:?}", config.ping_timeout)),
            Some(0) => return Ok("peer closed".to_owned()),
            Some(bytes) => metrics::link_bytes_received(bytes),
        }
    }
}

/// Reads what lies in the socket. `None` where that is nothing. Asks the kernel itself: right after this
/// process stood still, the reactor has not told yet of what arrived meanwhile.
fn read_now(socket: &OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
    let start = buffer.len();
    buffer.resize(start + READ_BUFFER, 0);
    let room = buffer.get_mut(start..).unwrap_or_default();
    let stream: &TcpStream = socket.as_ref();
    let read = rustix::io::retry_on_intr(|| rustix::io::read(stream, &mut *room));
    buffer.truncate(start + read.unwrap_or_default());
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// As [`timeout`]. A timer that comes late by more than a quarter of `patience` says that this process
/// stood still, and nothing of the peer, so the time begins anew.
async fn patiently<T>(patience: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    loop {
        let due = Instant::now() + patience;
        match timeout_at(due, future.as_mut()).await {
            Err(_) if due.elapsed() > patience / 4 => {}
            ended => return ended,
        }
    }
}

async fn write_frames(
    mut socket: OwnedWriteHalf,
    link: &Arc<Link>,
    config: &LinkConfig,
    sink: &dyn FrameSink,
) -> io::Result<String> {
    let mut frames = VecDeque::new();
    let mut ping = interval_at(Instant::now() + config.ping_interval, config.ping_interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = link.queue().filled() => {
                // Who runs next has more, mostly: one write for all of it costs the kernel, and the
                // peer that it wakes, a fraction of one write each (docs/tried.md).
                yield_now().await;
                link.queue().take(&mut frames);
            }
            _ = ping.tick() => {
                frames.push_back(LinkFrame::new(link.ping(sink.stamp())));
            }
        }
        let mut chunks = Chunks::default();
        for frame in frames.drain(..) {
            chunks.push(|head| frame.encode_head(head), &frame.payload);
        }
        write_all(&mut socket, chunks, config.ping_timeout).await?;
        link.queue().written();
    }
}

/// Writes everything; fails when the peer takes nothing for `patience`.
async fn write_all(
    socket: &mut OwnedWriteHalf,
    mut chunks: Chunks,
    patience: Duration,
) -> io::Result<()> {
    while !chunks.is_empty() {
        let written = patiently(patience, chunks.write_some(socket)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("peer took nothing for {patience:?}"))
        })??;
        metrics::link_bytes_sent(written);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
