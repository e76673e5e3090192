//! Frames on the plain TCP transport: opcode (1 byte), length (u32, big-endian), payload. No mask.

use bytes::{Buf, BufMut, BytesMut};

use crate::{Frame, FrameError, Limits, Opcode};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 5;

/// The header of a frame.
///
/// # Errors
/// [`FrameError::TooLarge`] where the length does not fit into 32 bits.
pub fn header(opcode: Opcode, payload_len: usize) -> Result<[u8; HEADER_LEN], FrameError> {
    let len = u32::try_from(payload_len).map_err(|_| FrameError::TooLarge {
        announced: payload_len as u64,
        limit: u32::MAX as usize,
    })?;
    let [a, b, c, d] = len.to_be_bytes();
    Ok([opcode as u8, a, b, c, d])
}

/// Appends a whole frame.
///
/// # Errors
/// As [`header`].
pub fn encode(frame: &Frame, out: &mut BytesMut) -> Result<(), FrameError> {
    let header = header(frame.opcode, frame.payload.len())?;
    out.reserve(header.len() + frame.payload.len());
    out.put_slice(&header);
    out.put_slice(&frame.payload);
    Ok(())
}

/// Takes frames out of what has arrived.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
}

impl Decoder {
    /// A decoder that accepts payloads up to `limits`.
    pub const fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// The next frame in `buffer`, or `None` until more bytes have arrived.
    ///
    /// # Errors
    /// When the bytes are no frame, a continuation frame (this transport never fragments), or one
    /// over the limit; before memory is taken for it.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((&[code, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let opcode = Opcode::from_code(code).ok_or(FrameError::Opcode(code))?;
        if opcode == Opcode::Continuation {
            return Err(FrameError::Fragmentation);
        }
        let announced = u32::from_be_bytes([a, b, c, d]);
        let len = announced as usize;
        if len > self.limits.payload {
            return Err(FrameError::TooLarge {
                announced: u64::from(announced),
                limit: self.limits.payload,
            });
        }
        if buffer.len() < HEADER_LEN + len {
            return Ok(None);
        }
        buffer.advance(HEADER_LEN);
        Ok(Some(Frame { opcode, payload: buffer.split_to(len).freeze() }))
    }
}

#[cfg(test)]
mod tests;
