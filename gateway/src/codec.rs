//! The two framings of clients behind one type: frames in, frames out.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use imago_kit::io::Chunks;
use imago_proto::{Frame, FrameError, Limits, Opcode, tcp, ws};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::transport::Framing;

/// Decodes and encodes the frames of one connection.
#[derive(Debug)]
pub(crate) enum Codec {
    /// RFC 6455.
    WebSocket(ws::Decoder),
    /// Opcode, length, payload.
    LengthPrefixed(tcp::Decoder),
}

// === impl Codec ===

impl Codec {
    /// Frames with packets of at most `packet_max` bytes from the client.
    pub(crate) fn new(framing: Framing, packet_max: usize) -> Self {
        let limits = Limits { payload: packet_max };
        match framing {
            Framing::WebSocket => Self::WebSocket(ws::Decoder::new(ws::Peer::Client, limits)),
            Framing::LengthPrefixed => Self::LengthPrefixed(tcp::Decoder::new(limits)),
        }
    }

    /// Sets the limit for the messages that follow. Only between two messages.
    pub(crate) fn set_packet_max(&mut self, packet_max: usize) {
        *self = Self::new(self.framing(), packet_max);
    }

    fn framing(&self) -> Framing {
        match self {
            Self::WebSocket(_) => Framing::WebSocket,
            Self::LengthPrefixed(_) => Framing::LengthPrefixed,
        }
    }

    /// Bytes of memory that are kept of a message whose last fragment has not arrived.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::WebSocket(decoder) => decoder.held(),
            Self::LengthPrefixed(_) => 0,
        }
    }

    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self {
            Self::WebSocket(decoder) => decoder.decode(buffer),
            Self::LengthPrefixed(decoder) => decoder.decode(buffer),
        }
    }

    /// Lays a frame out for writing.
    pub(crate) fn encode(&self, frame: &Frame, chunks: &mut Chunks) {
        let (opcode, len) = (frame.opcode, frame.payload.len());
        chunks.push(
            |head| match self {
                Self::WebSocket(_) => ws::put_header(opcode, len, head),
                Self::LengthPrefixed(_) => {
                    head.put_u8(opcode as u8);
                    // Fits: what is sent is capped far below 4 GiB.
                    head.put_u32(len as u32);
                }
            },
            &frame.payload,
        );
    }

    /// The answer to a ping frame. The length-prefixed framing's is always empty.
    pub(crate) fn pong(&self, ping: Bytes) -> Frame {
        let payload = match self {
            Self::WebSocket(_) => ping,
            Self::LengthPrefixed(_) => Bytes::new(),
        };
        Frame { opcode: Opcode::Pong, payload }
    }

    /// The frame that ends a connection. The length-prefixed framing's carries neither code nor reason.
    pub(crate) fn close(&self, code: u16, reason: &str) -> Frame {
        let payload = match self {
            Self::WebSocket(_) => ws::close_payload(code, reason),
            Self::LengthPrefixed(_) => Bytes::new(),
        };
        Frame { opcode: Opcode::Close, payload }
    }
}

/// Ends a connection so that the last bytes arrive: closing while unread bytes wait would reset
/// it, and the client might never see the answer (RFC 1122 §4.2.2.13).
pub(crate) async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    /// A client that keeps sending is not listened to for longer.
    const PATIENCE: Duration = Duration::from_secs(1);
    let ended = async {
        if stream.shutdown().await.is_ok() {
            let mut sink = [0; 1024];
            while matches!(stream.read(&mut sink).await, Ok(1..)) {}
        }
    };
    // Too late: the client had its time.
    let _ = tokio::time::timeout(PATIENCE, ended).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bytes_of(framing: &Codec, frame: &Frame) -> Vec<u8> {
        let (mut chunks, mut out) = (Chunks::default(), Vec::new());
        framing.encode(frame, &mut chunks);
        while !chunks.is_empty() {
            chunks.write_some(&mut out).await.unwrap();
        }
        out
    }

    #[tokio::test]
    async fn tcp_pong_and_close_are_the_bytes_that_old_clients_expect() {
        let framing = Codec::new(Framing::LengthPrefixed, 1024);
        let pong = framing.pong(Bytes::from_static(b"x"));
        assert_eq!(bytes_of(&framing, &pong).await, [0x0a, 0, 0, 0, 0]);
        assert_eq!(bytes_of(&framing, &framing.close(1000, "x")).await, [0x08, 0, 0, 0, 0]);
    }

    #[tokio::test]
    async fn websocket_pong_echoes_and_close_carries_code_and_reason() {
        let framing = Codec::new(Framing::WebSocket, 1024);
        let pong = framing.pong(Bytes::from_static(b"abc"));
        assert_eq!(bytes_of(&framing, &pong).await, *b"\x8a\x03abc");
        assert_eq!(bytes_of(&framing, &framing.close(1001, "bye")).await, *b"\x88\x05\x03\xe9bye");
    }

    #[test]
    fn the_limit_is_raised_between_messages() {
        let mut framing = Codec::new(Framing::LengthPrefixed, 4);
        let mut five = BytesMut::from(&b"\x02\x00\x00\x00\x05hello"[..]);
        assert!(matches!(framing.decode(&mut five), Err(FrameError::TooLarge { .. })));
        framing.set_packet_max(5);
        assert_eq!(framing.decode(&mut five).unwrap().unwrap().payload, "hello");
    }
}
