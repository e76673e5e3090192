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
    /// Bytes of memory that are kept, at most.
    memory: usize,
    /// The last read took as much as there was room for: more may be waiting.
    pub(crate) is_full: bool,
}

impl ReadBuffer {
    /// Begins with what was received before.
    pub(crate) fn new(received: BytesMut) -> Self {
        let memory = received.capacity();
        Self { bytes: received, room: SMALL, memory, is_full: false }
    }

    /// Bytes of memory that are kept for a packet that has not arrived in whole.
    pub(crate) fn held(&self) -> usize {
        if self.bytes.is_empty() { 0 } else { self.memory }
    }

    /// Whether a quiet client would need less memory.
    pub(crate) fn is_generous(&self) -> bool {
        self.bytes.is_empty() && self.memory > 2 * SMALL
    }

    /// Gives back the memory of a large packet, once that is taken out.
    pub(crate) fn settle(&mut self) {
        if self.memory > 2 * LARGE && self.bytes.len() <= self.memory / 4 {
            self.bytes = BytesMut::from(&self.bytes[..]);
            self.memory = self.bytes.capacity();
        }
    }

    /// Gives back what a quiet client does not need.
    pub(crate) fn rest(&mut self) {
        if self.is_generous() {
            *self = Self::new(BytesMut::new());
        }
    }

    /// Reads once. Cancel safe: nothing that was read is lost.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.bytes.is_empty() && self.bytes.capacity() > 2 * self.room {
            self.bytes = BytesMut::new();
            self.memory = 0;
        }
        self.bytes.reserve(self.room);
        self.memory = self.memory.max(self.bytes.capacity());
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
    async fn the_memory_of_a_large_packet_is_given_back_though_a_byte_of_the_next_is_there() {
        let mut buffer = ReadBuffer::new(BytesMut::new());
        let much = vec![7; (1 << 20) + 1];
        let mut from = &much[..];
        while buffer.read(&mut from).await.unwrap() > 0 {}
        buffer.settle();
        assert!(buffer.held() > 1 << 20, "it is needed");
        let packet = buffer.bytes.split_to(1 << 20);
        assert!(buffer.held() > 1 << 20, "one byte keeps all of it");
        buffer.settle();
        assert!(buffer.held() <= 2 * SMALL, "{}", buffer.held());
        assert_eq!((packet.len(), &buffer.bytes[..]), (1 << 20, &[7][..]));
    }

    #[tokio::test]
    async fn memory_grows_with_what_has_arrived() {
        let mut buffer = ReadBuffer::new(BytesMut::new());
        let much = vec![7; 1 << 20];
        let mut from = &much[..];
        while buffer.read(&mut from).await.unwrap() > 0 {
            let most = 2 * buffer.bytes.len() + 2 * LARGE;
            assert!(buffer.held() <= most, "{} of {most}", buffer.held());
        }
    }

    #[tokio::test]
    async fn a_quiet_client_gives_back_what_it_had_while_it_was_busy() {
        let mut buffer = ReadBuffer::new(BytesMut::new());
        let much = vec![7; 64 << 10];
        let mut from = &much[..];
        while buffer.read(&mut from).await.unwrap() > 0 {
            buffer.bytes.clear();
        }
        assert!(buffer.is_generous());
        buffer.rest();
        assert!(!buffer.is_generous());
        assert_eq!((buffer.bytes.capacity(), buffer.held()), (0, 0));
    }

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
