//! The two transports of clients behind one face: frames in, frames out.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use imago_kit::io::Chunks;
use imago_proto::{Frame, FrameError, Limits, Opcode, tcp, ws};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Which transport a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Tcp,
}

/// How frames look on the wire.
#[derive(Debug)]
pub(crate) enum Framing {
    /// RFC 6455.
    WebSocket(ws::Decoder),
    /// Opcode, length, payload.
    Tcp(tcp::Decoder),
}

// === impl Framing ===

impl Framing {
    /// Frames of this transport, with packets of at most `packet_max` bytes from the client.
    pub(crate) fn new(transport: Transport, packet_max: usize) -> Self {
        let limits = Limits { payload: packet_max };
        match transport {
            Transport::WebSocket => Self::WebSocket(ws::Decoder::new(ws::Peer::Client, limits)),
            Transport::Tcp => Self::Tcp(tcp::Decoder::new(limits)),
        }
    }

    /// From the next message on, another limit. Only between two messages.
    pub(crate) fn set_packet_max(&mut self, packet_max: usize) {
        *self = Self::new(self.transport(), packet_max);
    }

    fn transport(&self) -> Transport {
        match self {
            Self::WebSocket(_) => Transport::WebSocket,
            Self::Tcp(_) => Transport::Tcp,
        }
    }

    /// Bytes of memory that are kept of a message whose last fragment has not arrived.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::WebSocket(decoder) => decoder.held(),
            Self::Tcp(_) => 0,
        }
    }

    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self {
            Self::WebSocket(decoder) => decoder.decode(buffer),
            Self::Tcp(decoder) => decoder.decode(buffer),
        }
    }

    /// Lays a frame out for writing.
    pub(crate) fn encode(&self, frame: &Frame, chunks: &mut Chunks) {
        let (opcode, len) = (frame.opcode, frame.payload.len());
        chunks.push(
            |head| match self {
                Self::WebSocket(_) => ws::put_header(opcode, len, head),
                Self::Tcp(_) => {
                    head.put_u8(opcode as u8);
                    // Fits: what is sent is capped far below 4 GiB.
                    head.put_u32(len as u32);
                }
            },
            &frame.payload,
        );
    }

    /// The answer to a ping frame. The TCP transport's is always empty.
    pub(crate) fn pong(&self, ping: Bytes) -> Frame {
        let payload = match self {
            Self::WebSocket(_) => ping,
            Self::Tcp(_) => Bytes::new(),
        };
        Frame { opcode: Opcode::Pong, payload }
    }

    /// The frame that ends a connection. The TCP transport's carries neither code nor reason.
    pub(crate) fn close(&self, code: u16, reason: &str) -> Frame {
        let payload = match self {
            Self::WebSocket(_) => ws::close_payload(code, reason),
            Self::Tcp(_) => Bytes::new(),
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

    async fn bytes_of(framing: &Framing, frame: &Frame) -> Vec<u8> {
        let (mut chunks, mut out) = (Chunks::default(), Vec::new());
        framing.encode(frame, &mut chunks);
        while !chunks.is_empty() {
            chunks.write_some(&mut out).await.unwrap();
        }
        out
    }

    #[tokio::test]
    async fn tcp_pong_and_close_are_the_bytes_that_old_clients_expect() {
        let framing = Framing::new(Transport::Tcp, 1024);
        let pong = framing.pong(Bytes::from_static(b"x"));
        assert_eq!(bytes_of(&framing, &pong).await, [0x0a, 0, 0, 0, 0]);
        assert_eq!(bytes_of(&framing, &framing.close(1000, "x")).await, [0x08, 0, 0, 0, 0]);
    }

    #[tokio::test]
    async fn websocket_pong_echoes_and_close_carries_code_and_reason() {
        let framing = Framing::new(Transport::WebSocket, 1024);
        let pong = framing.pong(Bytes::from_static(b"abc"));
        assert_eq!(bytes_of(&framing, &pong).await, *b"\x8a\x03abc");
        assert_eq!(bytes_of(&framing, &framing.close(1001, "bye")).await, *b"\x88\x05\x03\xe9bye");
    }

    #[test]
    fn the_limit_is_raised_between_messages() {
        let mut framing = Framing::new(Transport::Tcp, 4);
        let mut five = BytesMut::from(&b"\x02\x00\x00\x00\x05hello"[..]);
        assert!(matches!(framing.decode(&mut five), Err(FrameError::TooLarge { .. })));
        framing.set_packet_max(5);
        assert_eq!(framing.decode(&mut five).unwrap().unwrap().payload, "hello");
    }
}
