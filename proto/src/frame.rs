//! What both client transports carry: an opcode and a payload.

use bytes::Bytes;

/// Kind of a frame, with the numbers of RFC 6455 §5.2, which the TCP transport shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further piece of a fragmented message.
    Continuation = 0x0,
    /// Text; holds a packet only by mistake.
    Text = 0x1,
    /// A packet.
    Binary = 0x2,
    /// End of the connection.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answer to a ping.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode of a number on the wire.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Returns whether frames of this kind may stand between the pieces of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// One whole message of a transport: pieces put together, masks taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is; never [`Opcode::Continuation`] when it comes from a decoder.
    pub opcode: Opcode,
    /// Its content.
    pub payload: Bytes,
}

impl Frame {
    /// A frame that carries a packet.
    pub const fn binary(payload: Bytes) -> Self {
        Self { opcode: Opcode::Binary, payload }
    }
}

/// Why a peer's bytes are not a frame. The connection cannot be read any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// More bytes announced, or sent in pieces, than accepted.
    #[error("payload of {announced} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the peer announced, in bytes.
        announced: u64,
        /// What is accepted, in bytes.
        limit: usize,
    },
    /// A number that is no opcode.
    #[error("expected an opcode of RFC 6455, got {0:#x}")]
    Opcode(u8),
    /// A client frame without a mask (RFC 6455 §5.1).
    #[error("expected a masked frame, got an unmasked one")]
    Unmasked,
    /// A server frame with a mask (RFC 6455 §5.1).
    #[error("expected an unmasked frame, got a masked one")]
    Masked,
    /// A reserved bit is set although no extension was negotiated.
    #[error("expected reserved bits to be 0, got {0:#x}")]
    Reserved(u8),
    /// A control frame that is fragmented or longer than 125 bytes (RFC 6455 §5.5).
    #[error("expected a control frame of at most 125 bytes in one piece")]
    Control,
    /// A length that is not in its shortest form, or of 2^63 and more (RFC 6455 §5.2).
    #[error("expected the shortest form of a length below 2^63")]
    Length,
    /// A close frame whose payload is neither empty nor a code with a reason (RFC 6455 §5.5.1).
    #[error("expected a close frame with a code, or with nothing, got one byte")]
    CloseLength,
    /// A code that no close frame may carry (RFC 6455 §7.4).
    #[error("expected a close code that may be sent, got {0}")]
    CloseCode(u16),
    /// A close frame whose reason is not in UTF-8 (RFC 6455 §8.1).
    #[error("expected the reason of a close frame in UTF-8")]
    Utf8,
    /// A continuation of nothing, or a new message within another.
    #[error("expected the pieces of one message one after the other")]
    Fragmentation,
}
