//! Moves a link's frames between queue and socket, and notices when the peer is gone.

use std::{collections::VecDeque, io, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::BytesMut;
use futures::FutureExt;
use imago_proto::{
    Limits, LinkDecoder, LinkFrame,
    link::{Ping, Pong, frame::Kind},
};
use tokio::{
    io::AsyncReadExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use super::{Link, LinkConfig};
use crate::{io::Chunks, metrics};

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
    let running = AssertUnwindSafe(async {
        tokio::select! {
            ended = read_frames(read, received, link, config, sink) => ended,
            ended = write_frames(write, link, config) => ended,
            () = link.closed() => Ok("closed".to_owned()),
        }
    });
    // A panic of the sink ends this link like any other error: whoever runs it must be able to
    // clean up, or the peer would be linked for ever with nobody.
    let ended = running.catch_unwind().await;
    let ended = ended.unwrap_or_else(|_| Err(io::Error::other("a frame made its receiver panic")));
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
            // Replaced by another life: what the old one still says is not heard any more.
            if link.is_closed() {
                return Ok("closed".to_owned());
            }
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
            () = link.queue().filled() => {
                // Who runs next has more, mostly: one write for all of it costs the kernel, and the
                // peer that it wakes, a fraction of one write each (docs/performance.md).
                yield_now().await;
                link.queue().take(&mut frames);
            }
            _ = ping.tick() => {
                pings += 1;
                frames.push_back(LinkFrame::new(Kind::Ping(Ping { id: pings })));
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
        let written = timeout(patience, chunks.write_some(socket)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("peer took nothing for {patience:?}"))
        })??;
        metrics::link_bytes_sent(written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use imago_proto::Incarnation;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::{super::Queue, *};
    use crate::PeerId;

    #[tokio::test]
    async fn what_other_tasks_have_ready_goes_in_the_same_write() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let queue = Arc::new(Queue::new(10, 1000));
        let peer = PeerId { service_id: "logic-1".into(), incarnation: Incarnation(1) };
        let link = Arc::new(Link::new(peer, queue.clone(), CancellationToken::new()));
        let config = LinkConfig::default();
        let (_read, write) = near.into_split();
        let mut writing = pin!(write_frames(write, &link, &config));

        link.try_send(Kind::Pong(Pong { id: 1 })).unwrap();
        assert!(poll!(writing.as_mut()).is_pending());
        assert_eq!(queue.depth().0, 1, "it waits for those that are ready");
        link.try_send(Kind::Pong(Pong { id: 2 })).unwrap();
        assert!(poll!(writing.as_mut()).is_pending());
        assert_eq!(queue.depth().0, 0);

        let mut received = BytesMut::new();
        tokio::select! {
            ended = writing => panic!("{ended:?}"),
            read = far.read_buf(&mut received) => assert!(read.unwrap() > 0),
        }
        let mut decoder = LinkDecoder::new(Limits { payload: config.frame_max });
        for id in [1, 2] {
            let frame = decoder.decode(&mut received).unwrap().unwrap();
            assert_eq!(frame.kind, Kind::Pong(Pong { id }));
        }
    }
}
