//! The relay's frames: length, to whom, payload. As little as anything that relays needs.

use anyhow::ensure;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a length, and of a name.
const WORD: usize = 4;
/// Largest frame.
const MOST: usize = 64 * 1024;

/// Appends a frame.
pub(crate) fn put(buffer: &mut BytesMut, to: u32, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    buffer.reserve(2 * WORD + length);
    buffer.put_u32((WORD + length) as u32);
    buffer.put_u32(to);
    for part in parts {
        buffer.put_slice(part);
    }
}

/// Takes the first frame that is whole.
pub(crate) fn take(buffer: &mut BytesMut) -> anyhow::Result<Option<(u32, Bytes)>> {
    let Some(length) = buffer.first_chunk::<WORD>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    ensure!((WORD..=MOST).contains(&length), "a frame of {length} bytes");
    if buffer.len() < WORD + length {
        return Ok(None);
    }
    buffer.advance(WORD);
    let mut frame = buffer.split_to(length).freeze();
    let to = frame.get_u32();
    Ok(Some((to, frame)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whole_however_they_arrive() {
        let mut sent = BytesMut::new();
        put(&mut sent, 7, &[b"one", b" two"]);
        put(&mut sent, u32::MAX, &[]);
        let mut arrived = BytesMut::new();
        let mut frames = Vec::new();
        for byte in sent {
            arrived.put_u8(byte);
            frames.extend(take(&mut arrived).unwrap());
        }
        assert_eq!(frames, [(7, Bytes::from("one two")), (u32::MAX, Bytes::new())]);
        let mut nonsense = BytesMut::from(&[0xff; 9][..]);
        assert!(take(&mut nonsense).is_err());
    }
}
