//! A connection's receive buffer: small while the client is quiet, larger while it sends a lot.

use std::io;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room of a quiet client.
const SMALL: usize = 1 << 10;
/// Room of a busy one. A single large packet takes what it needs, and gives it back.
const LARGE: usize = 16 << 10;

/// Bytes that have arrived and are not decoded yet.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    pub(crate) bytes: BytesMut,
    room: usize,
    /// The last read took as much as there was room for: more may be waiting.
    pub(crate) is_full: bool,
}

impl ReadBuffer {
    /// Begins with what was received before.
    pub(crate) fn new(received: BytesMut) -> Self {
        Self { bytes: received, room: SMALL, is_full: false }
    }

    /// Reads once. Cancel safe: nothing that was read is lost.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.bytes.is_empty() && self.bytes.capacity() > 2 * self.room {
            self.bytes = BytesMut::new();
        }
        self.bytes.reserve(self.room);
        let read = from.read_buf(&mut (&mut self.bytes).limit(self.room)).await?;
        self.is_full = read == self.room;
        if self.is_full {
            self.room = (2 * self.room).min(LARGE);
        } else if read <= self.room / 4 {
            self.room = (self.room / 2).max(SMALL);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_grows_with_a_busy_client_and_shrinks_when_it_is_quiet() {
        let mut buffer = ReadBuffer::new(BytesMut::new());
        let much = vec![7; 1 << 20];
        let mut from = &much[..];
        while buffer.read(&mut from).await.unwrap() > 0 {
            assert!(buffer.is_full || from.is_empty());
        }
        assert!(!buffer.is_full);
        assert_eq!(buffer.bytes.len(), much.len());
        assert!(buffer.bytes.capacity() >= much.len());

        for _ in 0..8 {
            buffer.bytes.clear();
            buffer.read(&mut &b"little"[..]).await.unwrap();
        }
        assert_eq!(buffer.bytes, "little");
        assert!(buffer.bytes.capacity() <= 2 * SMALL, "{}", buffer.bytes.capacity());
    }
}
