//! Moves a link's frames between queue and socket, and notices when the peer is gone.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use imago_proto::{
    Limits, LinkDecoder, LinkFrame,
    link::{Ping, Pong, frame::Kind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{Link, LinkConfig};
use crate::metrics;

/// Payloads from this size on are sent from where they lie; smaller ones are copied together,
/// which is cheaper than one more slice for the kernel.
const GATHER_FROM: usize = 1024;
/// Slices in one vectored write; Linux takes at most 1024 (`IOV_MAX`).
const SLICES_MAX: usize = 64;
const READ_BUFFER: usize = 64 * 1024;

/// Takes the frames of one link in the order of their arrival.
#[async_trait]
pub(crate) trait FrameSink: Send + Sync {
    /// Waiting here stops reading from the link.
    async fn frame(&self, link: &Arc<Link>, frame: LinkFrame);
}

/// Runs a link until it is closed, the peer is gone, or falls silent. Says why it ended.
pub(crate) async fn run(
    stream: TcpStream,
    received: BytesMut,
    link: &Arc<Link>,
    config: &LinkConfig,
    sink: &dyn FrameSink,
) -> String {
    let (read, write) = stream.into_split();
    let ended = tokio::select! {
        ended = read_frames(read, received, link, config, sink) => ended,
        ended = write_frames(write, link, config) => ended,
        () = link.closed() => Ok("closed".to_owned()),
    };
    link.close();
    ended.unwrap_or_else(|error| error.to_string())
}

async fn read_frames(
    mut socket: OwnedReadHalf,
    mut buffer: BytesMut,
    link: &Arc<Link>,
    config: &LinkConfig,
    sink: &dyn FrameSink,
) -> io::Result<String> {
    let mut decoder = LinkDecoder::new(Limits { payload: config.frame_max });
    loop {
        while let Some(frame) =
            decoder.decode(&mut buffer).map_err(|error| io::Error::other(error.to_string()))?
        {
            match frame.kind {
                Kind::Ping(Ping { id }) => {
                    // A full queue answers the ping by the frames in it.
                    let _ = link.try_send(Kind::Pong(Pong { id }));
                }
                Kind::Pong(_) => {}
                _ => sink.frame(link, frame).await,
            }
        }
        buffer.reserve(READ_BUFFER);
        match timeout(config.ping_timeout, socket.read_buf(&mut buffer)).await {
            Err(_) => return Ok(format!("peer silent for {:?}", config.ping_timeout)),
            Ok(Ok(0)) => return Ok("peer closed".to_owned()),
            Ok(Ok(bytes)) => metrics::link_bytes_received(bytes),
            Ok(Err(error)) => return Err(error),
        }
    }
}

async fn write_frames(
    mut socket: OwnedWriteHalf,
    link: &Arc<Link>,
    config: &LinkConfig,
) -> io::Result<String> {
    let mut frames = VecDeque::new();
    let mut ping = interval_at(Instant::now() + config.ping_interval, config.ping_interval);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pings = 0;
    loop {
        tokio::select! {
            () = link.queue().take(&mut frames) => {}
            _ = ping.tick() => {
                pings += 1;
                frames.push_back(LinkFrame::new(Kind::Ping(Ping { id: pings })));
            }
        }
        let chunks = gather(&mut frames);
        write_chunks(&mut socket, chunks, config.ping_timeout).await?;
        link.queue().written();
    }
}

/// Lays frames out for vectored writes; large payloads are not copied.
fn gather(frames: &mut VecDeque<LinkFrame>) -> VecDeque<Bytes> {
    let mut chunks = VecDeque::new();
    let mut small = BytesMut::new();
    for frame in frames.drain(..) {
        frame.encode_head(&mut small);
        if frame.payload.len() < GATHER_FROM {
            small.extend_from_slice(&frame.payload);
        } else {
            chunks.push_back(small.split().freeze());
            chunks.push_back(frame.payload);
        }
    }
    if !small.is_empty() {
        chunks.push_back(small.freeze());
    }
    chunks
}

/// Writes everything; fails when the peer takes nothing for `patience`.
async fn write_chunks(
    socket: &mut OwnedWriteHalf,
    mut chunks: VecDeque<Bytes>,
    patience: Duration,
) -> io::Result<()> {
    while !chunks.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for (slice, chunk) in slices.iter_mut().zip(&chunks) {
            *slice = IoSlice::new(chunk);
        }
        let used = chunks.len().min(SLICES_MAX);
        let slices = slices.get(..used).unwrap_or_default();
        let written = timeout(patience, socket.write_vectored(slices)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("peer took nothing for {patience:?}"))
        })??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        metrics::link_bytes_sent(written);
        advance(&mut chunks, written);
    }
    Ok(())
}

fn advance(chunks: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = chunks.front_mut() {
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        chunks.pop_front();
    }
}
