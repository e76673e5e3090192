//! One direction of a connection through the proxy.

use std::{collections::VecDeque, io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::watch,
    time::{Instant, sleep_until},
};

use super::rules::{Pass, Rules};

/// Bytes of one read.
const CHUNK: usize = 16 << 10;
/// Bytes under way in one direction. Overflow policy: no more is read.
const UNDER_WAY: usize = 1 << 20;

/// Bytes that were read and wait for their time.
#[derive(Default)]
struct UnderWay {
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
}

/// Carries bytes until they end; an error is to end the whole connection.
pub(super) async fn run(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    first: Bytes,
    rule: impl Fn(&Rules) -> Pass,
    rules: &watch::Receiver<Rules>,
) -> io::Result<()> {
    let mut rules = rules.clone();
    let mut under_way = UnderWay::default();
    let mut read = BytesMut::new();
    under_way.push(first, Duration::ZERO);
    let (mut is_at_end, mut has_hole) = (false, false);
    loop {
        let pass = rule(&rules.borrow_and_update());
        if has_hole && pass != Pass::Drop {
            return Err(io::Error::other("bytes were thrown away"));
        }
        if pass == Pass::Drop {
            has_hole |= under_way.clear();
        }
        if is_at_end && under_way.chunks.is_empty() && !has_hole {
            return to.shutdown().await;
        }
        read.reserve(CHUNK);
        tokio::select! {
            changed = rules.changed() => changed.map_err(io::Error::other)?,
            count = from.read_buf(&mut read), if under_way.has_room() && !is_at_end && pass != Pass::Hold => {
                is_at_end = count? == 0;
                let delay = if let Pass::Delay(time) = pass { time } else { Duration::ZERO };
                under_way.push(read.split().freeze(), delay);
            }
            written = under_way.write(to), if pass != Pass::Hold && pass != Pass::Drop => written?,
        }
    }
}

impl UnderWay {
    fn push(&mut self, chunk: Bytes, delay: Duration) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
            // What was read later never overtakes.
            let last = self.chunks.back().map(|(due, _)| *due);
            let due = Instant::now() + delay;
            self.chunks.push_back((last.map_or(due, |last| last.max(due)), chunk));
        }
    }

    fn has_room(&self) -> bool {
        self.bytes < UNDER_WAY
    }

    /// Throws everything away; returns whether that was anything.
    fn clear(&mut self) -> bool {
        let was_something = !self.chunks.is_empty();
        self.chunks.clear();
        self.bytes = 0;
        was_something
    }

    /// Writes a part of the oldest chunk once it is due; waits for ever without one. Cancel safe.
    async fn write(&mut self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let Some((due, chunk)) = self.chunks.front_mut() else {
            return std::future::pending().await;
        };
        sleep_until(*due).await;
        let written = to.write_buf(chunk).await?;
        let is_written = chunk.is_empty();
        self.bytes -= written;
        if is_written {
            self.chunks.pop_front();
        }
        Ok(())
    }
}
