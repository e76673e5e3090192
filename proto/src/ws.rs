//! Frames on the WebSocket transport (RFC 6455 §5), for both sides of a connection.
//!
//! Ours rather than a library's, because a packet that is pushed to many clients is encoded once
//! and sent as it is, and because text frames that hold a packet are accepted.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Frame, FrameError, Limits, Opcode};

/// Largest payload of a control frame (RFC 6455 §5.5).
const CONTROL_MAX: usize = 125;

/// Largest header: two bytes, a 64-bit length, a mask.
pub const HEADER_MAX: usize = 14;

/// Which side of the connection the frames come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Frames from a client, which must be masked.
    Client,
    /// Frames from a server, which must not be.
    Server,
}

/// Appends the header of an unfragmented, unmasked frame, as a server sends it.
pub fn put_header(opcode: Opcode, payload_len: usize, out: &mut impl BufMut) {
    put_head(opcode, 0, payload_len, out);
}

/// In one piece: each piece that is put somewhere asks for room.
fn put_head(opcode: Opcode, mask_bit: u8, len: usize, out: &mut impl BufMut) {
    let first = 0x80 | opcode as u8;
    match len {
        0..=125 => out.put_slice(&[first, mask_bit | len as u8]),
        126..=0xFFFF => {
            let [a, b] = (len as u16).to_be_bytes();
            out.put_slice(&[first, mask_bit | 126, a, b]);
        }
        _ => {
            let [a, b, c, d, e, f, g, h] = (len as u64).to_be_bytes();
            out.put_slice(&[first, mask_bit | 127, a, b, c, d, e, f, g, h]);
        }
    }
}

/// Appends a whole frame as a server sends it.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    out.reserve(HEADER_MAX + frame.payload.len());
    put_header(frame.opcode, frame.payload.len(), out);
    out.put_slice(&frame.payload);
}

/// Appends a whole frame as a client sends it, masked with `key`.
pub fn encode_masked(frame: &Frame, key: [u8; 4], out: &mut BytesMut) {
    out.reserve(HEADER_MAX + frame.payload.len());
    put_head(frame.opcode, 0x80, frame.payload.len(), out);
    out.put_slice(&key);
    let start = out.len();
    out.put_slice(&frame.payload);
    if let Some(payload) = out.get_mut(start..) {
        apply_mask(payload, key);
    }
}

fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let key = [a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d];
    // Blocks of a size known to the compiler are a few instructions each.
    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        apply_key(block, key);
    }
    apply_key(rest, key);
}

fn apply_key<'a>(bytes: impl IntoIterator<Item = &'a mut u8>, key: [u8; 16]) {
    for (byte, key) in bytes.into_iter().zip(key) {
        *byte ^= key;
    }
}

/// Payload of a close frame: code and reason, cut to what a control frame holds.
pub fn close_payload(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(CONTROL_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = BytesMut::with_capacity(2 + end);
    payload.put_u16(code);
    payload.put_slice(reason.get(..end).unwrap_or_default().as_bytes());
    payload.freeze()
}

/// Code of a close frame's payload; `None` where it carries none.
pub fn close_code(payload: &[u8]) -> Option<u16> {
    payload.first_chunk().map(|code| u16::from_be_bytes(*code))
}

/// Checks what a close frame says (RFC 6455 §5.5.1).
fn check_close(payload: &[u8]) -> Result<(), FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(()) } else { Err(FrameError::CloseLength) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(FrameError::CloseCode(code));
    }
    if str::from_utf8(reason).is_err() { Err(FrameError::Utf8) } else { Ok(()) }
}

/// Returns whether a close frame may carry this code: those of RFC 6455 §7.4.1, those that were added to
/// its registry, and those of frameworks (3000 to 3999) and of applications (4000 to 4999).
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Takes messages out of what has arrived: unmasks, and puts fragments together up to the limit.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    from: Peer,
    partial: Option<(Opcode, BytesMut)>,
}

/// The fixed part of a frame, read before anything is allocated.
struct Head {
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    header_len: usize,
    payload_len: usize,
}

impl Decoder {
    /// A decoder of frames that come `from` that side, with messages up to `limits`.
    pub const fn new(from: Peer, limits: Limits) -> Self {
        Self { limits, from, partial: None }
    }

    /// Bytes of memory that are kept of a message whose last fragment has not arrived.
    pub fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |(_, partial)| partial.capacity())
    }

    /// The next message in `buffer`, or `None` until more bytes have arrived.
    ///
    /// # Errors
    /// When the bytes break RFC 6455 or a limit; before memory is taken for the payload.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            let Some(head) = self.head(buffer)? else { return Ok(None) };
            let whole = head.header_len + head.payload_len;
            if buffer.len() < whole {
                return Ok(None);
            }
            buffer.advance(head.header_len);
            let mut payload = buffer.split_to(head.payload_len);
            if let Some(key) = head.mask {
                apply_mask(&mut payload, key);
            }
            if let Some(frame) = self.join(&head, payload)? {
                return Ok(Some(frame));
            }
        }
    }

    fn head(&self, buffer: &BytesMut) -> Result<Option<Head>, FrameError> {
        let Some((&[first, second], rest)) = buffer.split_first_chunk::<2>() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved(first & 0x70));
        }
        let opcode = Opcode::from_code(first & 0x0F).ok_or(FrameError::Opcode(first & 0x0F))?;
        let masked = second & 0x80 != 0;
        match self.from {
            Peer::Client if !masked => return Err(FrameError::Unmasked),
            Peer::Server if masked => return Err(FrameError::Masked),
            _ => {}
        }
        let fin = first & 0x80 != 0;
        self.check_order(opcode)?;
        let Some((len_bytes, announced)) = length(second & 0x7F, rest)? else { return Ok(None) };
        if opcode.is_control() && (!fin || announced > CONTROL_MAX as u64) {
            return Err(FrameError::Control);
        }
        let payload_len = self.check_len(opcode, announced)?;
        let header_len = 2 + len_bytes + if masked { 4 } else { 0 };
        let mask = if masked {
            match rest.get(len_bytes..).and_then(<[u8]>::first_chunk) {
                Some(key) => Some(*key),
                None => return Ok(None),
            }
        } else {
            None
        };
        Ok(Some(Head { fin, opcode, mask, header_len, payload_len }))
    }

    /// A continuation follows a beginning, and nothing else does (RFC 6455 §5.4).
    fn check_order(&self, opcode: Opcode) -> Result<(), FrameError> {
        let is_continuation = opcode == Opcode::Continuation;
        if !opcode.is_control() && is_continuation != self.partial.is_some() {
            return Err(FrameError::Fragmentation);
        }
        Ok(())
    }

    /// The length of this frame, with the pieces before it, must be within the limit.
    fn check_len(&self, opcode: Opcode, announced: u64) -> Result<usize, FrameError> {
        let before = match (&self.partial, opcode) {
            (Some((_, partial)), Opcode::Continuation) => partial.len() as u64,
            _ => 0,
        };
        let total = before.saturating_add(announced);
        if total > self.limits.payload as u64 {
            return Err(FrameError::TooLarge { announced: total, limit: self.limits.payload });
        }
        Ok(announced as usize)
    }

    fn join(&mut self, head: &Head, payload: BytesMut) -> Result<Option<Frame>, FrameError> {
        let Head { fin, opcode, .. } = *head;
        if opcode.is_control() {
            if opcode == Opcode::Close {
                check_close(&payload)?;
            }
            return Ok(Some(Frame { opcode, payload: payload.freeze() }));
        }
        match self.partial.take() {
            Some((opcode, mut partial)) => {
                append(&mut partial, &payload, self.limits);
                if fin {
                    return Ok(Some(Frame { opcode, payload: partial.freeze() }));
                }
                self.partial = Some((opcode, partial));
                Ok(None)
            }
            None if fin => Ok(Some(Frame { opcode, payload: payload.freeze() })),
            None => {
                // A copy: the payload keeps all that was read together with it.
                self.partial = Some((opcode, BytesMut::from(&payload[..])));
                Ok(None)
            }
        }
    }
}

/// Bytes that a length takes besides its first seven bits, and the length; `None` where they have not
/// arrived.
fn length(first: u8, rest: &[u8]) -> Result<Option<(usize, u64)>, FrameError> {
    let (len_bytes, len, least) = match first {
        126 => match rest.first_chunk() {
            Some(len) => (2, u64::from(u16::from_be_bytes(*len)), 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(len) => (8, u64::from_be_bytes(*len), 1 << 16),
            None => return Ok(None),
        },
        len => (0, u64::from(len), 0),
    };
    if len < least || len > u64::MAX >> 1 {
        Err(FrameError::Length)
    } else {
        Ok(Some((len_bytes, len)))
    }
}

/// Appends a fragment, doubling the memory as it grows, but never beyond the limit.
fn append(message: &mut BytesMut, fragment: &[u8], limits: Limits) {
    let needed = message.len() + fragment.len();
    if message.capacity() < needed {
        let room = (2 * needed).min(limits.payload.max(needed));
        let mut larger = BytesMut::with_capacity(room);
        larger.put_slice(message);
        *message = larger;
    }
    message.put_slice(fragment);
}

#[cfg(test)]
mod tests;
