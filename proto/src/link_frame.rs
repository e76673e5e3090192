//! Frames of the inner link: u32 length of the rest, u32 length of the head, head, payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{Limits, link};

/// Bytes before the head.
const PREFIX_LEN: usize = 8;

/// One frame between a gateway and a logic server.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFrame {
    /// What it says.
    pub kind: link::frame::Kind,
    /// The bytes that it carries through, a slice of the received buffer.
    pub payload: Bytes,
}

/// Why a peer's bytes are not a link frame. The link cannot be read any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// More bytes announced than accepted.
    #[error("link frame of {announced} bytes is over the limit of {limit}")]
    TooLarge {
        /// What the peer announced, in bytes.
        announced: usize,
        /// What is accepted, in bytes.
        limit: usize,
    },
    /// The head is longer than the frame.
    #[error("head of {head} bytes does not fit into a link frame of {frame}")]
    Head {
        /// Announced length of the head, in bytes.
        head: usize,
        /// Announced length of the frame, in bytes.
        frame: usize,
    },
    /// The head is no protobuf `Frame`, or one of a kind we do not know.
    #[error("link frame does not decode: {0}")]
    Decode(String),
}

impl LinkFrame {
    /// A frame without payload.
    pub const fn new(kind: link::frame::Kind) -> Self {
        Self { kind, payload: Bytes::new() }
    }

    /// A frame that carries `payload`.
    pub const fn with_payload(kind: link::frame::Kind, payload: Bytes) -> Self {
        Self { kind, payload }
    }

    /// Appends what stands before the payload, so that the payload itself can be sent without a
    /// copy.
    pub fn encode_head(&self, out: &mut BytesMut) {
        let head_len = self.kind.encoded_len();
        let start = out.len();
        out.resize(start + PREFIX_LEN + head_len, 0);
        let Some(mut place) = out.get_mut(start..) else { return };
        // Lengths fit: payloads are capped far below 4 GiB by the transports.
        place.put_u32((4 + head_len + self.payload.len()) as u32);
        place.put_u32(head_len as u32);
        // Into a slice, because a buffer that can grow checks that for every byte.
        self.kind.encode(&mut place);
    }

    /// Appends the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_head(out);
        out.put_slice(&self.payload);
    }

    /// Roughly what this frame takes in a queue, in bytes.
    pub fn weight(&self) -> usize {
        64 + self.kind.encoded_len() + self.payload.len()
    }
}

impl From<link::frame::Kind> for LinkFrame {
    fn from(kind: link::frame::Kind) -> Self {
        Self::new(kind)
    }
}

/// Takes link frames out of what has arrived.
#[derive(Debug)]
pub struct LinkDecoder {
    limits: Limits,
}

impl LinkDecoder {
    /// A decoder that accepts frames up to `limits`.
    pub const fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// The next frame in `buffer`, or `None` until more bytes have arrived.
    ///
    /// # Errors
    /// When the bytes are no frame, or one over the limit; before memory is taken for it.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<LinkFrame>, LinkError> {
        let Some((len, _)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*len) as usize;
        if len > self.limits.payload {
            return Err(LinkError::TooLarge { announced: len, limit: self.limits.payload });
        }
        if len < 4 {
            return Err(LinkError::Head { head: 0, frame: len });
        }
        if buffer.len() < 4 + len {
            buffer.reserve(4 + len - buffer.len());
            return Ok(None);
        }
        buffer.advance(4);
        let mut frame = buffer.split_to(len).freeze();
        let head_len = frame.get_u32() as usize;
        if head_len > frame.len() {
            return Err(LinkError::Head { head: head_len, frame: len });
        }
        let head = frame.split_to(head_len);
        let head =
            link::Frame::decode(head).map_err(|error| LinkError::Decode(error.to_string()))?;
        let kind = head
            .kind
            .ok_or_else(|| LinkError::Decode("a kind this version does not know".into()))?;
        Ok(Some(LinkFrame { kind, payload: frame }))
    }
}

#[cfg(test)]
mod tests;
