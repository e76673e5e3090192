//! Tests of TCP framing.

use super::*;

const LIMITS: Limits = Limits { payload: 1000 };

fn decode(wire: &[u8]) -> Result<Option<Frame>, FrameError> {
    Decoder::new(LIMITS).decode(&mut BytesMut::from(wire))
}

#[test]
fn a_frame_waits_for_its_last_byte() {
    let wire = b"\x02\x00\x00\x00\x03abc";
    for end in 0..wire.len() {
        assert_eq!(decode(&wire[..end]), Ok(None));
    }
    let payload = "abc".into();
    assert_eq!(decode(wire), Ok(Some(Frame::binary(payload))));
}

#[test]
fn the_limit_is_the_largest_payload_that_is_accepted() {
    assert_eq!(decode(b"\x02\x00\x00\x03\xe8"), Ok(None), "waits for its payload");
    let error = FrameError::TooLarge { announced: 1001, limit: 1000 };
    assert_eq!(decode(b"\x02\x00\x00\x03\xe9"), Err(error));
    let error = FrameError::TooLarge { announced: u64::from(u32::MAX), limit: 1000 };
    assert_eq!(decode(b"\x02\xff\xff\xff\xff"), Err(error));
}

#[test]
fn this_transport_has_no_fragments() {
    assert_eq!(decode(b"\x00\x00\x00\x00\x00"), Err(FrameError::Fragmentation));
}

#[test]
fn unknown_opcodes_are_refused() {
    assert_eq!(decode(b"G\x45T /"), Err(FrameError::Opcode(b'G')));
}

#[test]
fn bytes_after_a_frame_stay_in_the_buffer() {
    let mut buffer = BytesMut::from(&b"\x09\x00\x00\x00\x00\x0a\x00"[..]);
    let mut decoder = Decoder::new(LIMITS);
    let ping = Frame { opcode: Opcode::Ping, payload: bytes::Bytes::new() };
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(ping)));
    assert_eq!(&buffer[..], b"\x0a\x00");
}
