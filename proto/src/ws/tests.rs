//! Tests of WebSocket framing against RFC 6455.

use super::*;

const CLIENT: Peer = Peer::Client;
const SERVER: Peer = Peer::Server;

fn decode(from: Peer, wire: &[u8]) -> Result<Vec<Frame>, FrameError> {
    decode_with(&mut Decoder::new(from, Limits { payload: 1000 }), wire)
}

fn decode_with(decoder: &mut Decoder, wire: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let (mut buffer, mut frames) = (BytesMut::from(wire), Vec::new());
    while let Some(frame) = decoder.decode(&mut buffer)? {
        frames.push(frame);
    }
    Ok(frames)
}

fn frame(opcode: Opcode, payload: &'static [u8]) -> Frame {
    Frame { opcode, payload: Bytes::from_static(payload) }
}

fn wire(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn fragments_are_put_together() {
    let bytes = wire(&[b"\x02\x02ab", b"\x00\x01c", b"\x00\x00", b"\x80\x02de"]);
    assert_eq!(decode(SERVER, &bytes), Ok(vec![frame(Opcode::Binary, b"abcde")]));
}

#[test]
fn masked_fragments_each_have_their_own_key() {
    let bytes = wire(&[b"\x02\x82\x01\x01\x01\x01\x60\x63", b"\x80\x81\x02\x00\x00\x00\x61"]);
    assert_eq!(decode(CLIENT, &bytes), Ok(vec![frame(Opcode::Binary, b"abc")]));
}

#[test]
fn control_frames_between_fragments_come_out_first() {
    let bytes = wire(&[b"\x01\x01a", b"\x89\x02hi", b"\x00\x01b", b"\x8a\x00", b"\x80\x01c"]);
    let expected =
        vec![frame(Opcode::Ping, b"hi"), frame(Opcode::Pong, b""), frame(Opcode::Text, b"abc")];
    assert_eq!(decode(SERVER, &bytes), Ok(expected));
}

#[test]
fn a_continuation_of_nothing_and_a_message_inside_another_are_refused() {
    assert_eq!(decode(SERVER, b"\x80\x01a"), Err(FrameError::Fragmentation));
    assert_eq!(decode(SERVER, b"\x02\x01a\x82\x01b"), Err(FrameError::Fragmentation));
}

#[test]
fn a_new_message_may_follow_a_fragmented_one() {
    let bytes = wire(&[b"\x02\x01a", b"\x80\x01b", b"\x82\x01c"]);
    let expected = vec![frame(Opcode::Binary, b"ab"), frame(Opcode::Binary, b"c")];
    assert_eq!(decode(SERVER, &bytes), Ok(expected));
}

#[test]
fn each_side_must_mask_or_not_as_the_rfc_says() {
    assert_eq!(decode(CLIENT, b"\x82\x01a"), Err(FrameError::Unmasked));
    assert_eq!(decode(SERVER, b"\x82\x81\x00\x00\x00\x00a"), Err(FrameError::Masked));
}

#[test]
fn reserved_bits_are_refused() {
    for bit in [0x10, 0x20, 0x40] {
        assert_eq!(decode(SERVER, &[0x82 | bit, 0]), Err(FrameError::Reserved(bit)));
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for code in (3..8).chain(11..16) {
        assert_eq!(decode(SERVER, &[0x80 | code, 0]), Err(FrameError::Opcode(code)));
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    assert_eq!(decode(SERVER, b"\x89\x7e\x00\x7e"), Err(FrameError::Control));
    assert_eq!(decode(SERVER, b"\x09\x00"), Err(FrameError::Control));
    let mut longest = vec![0x89, 125];
    longest.extend([7; 125]);
    assert_eq!(decode(SERVER, &longest).map(|frames| frames.len()), Ok(1));
}

#[test]
fn absurd_lengths_are_refused_before_the_payload_comes() {
    for len in [i64::MAX as u64, 1 << 32, 1 << 16] {
        let bytes = wire(&[b"\x82\xff", &len.to_be_bytes()]);
        let error = FrameError::TooLarge { announced: len, limit: 1000 };
        assert_eq!(decode(CLIENT, &bytes), Err(error));
    }
    let error = FrameError::TooLarge { announced: 1001, limit: 1000 };
    assert_eq!(decode(CLIENT, b"\x82\xfe\x03\xe9"), Err(error));
}

#[test]
fn fragments_together_must_stay_under_the_limit() {
    let mut decoder = Decoder::new(SERVER, Limits { payload: 8 });
    assert_eq!(decode_with(&mut decoder, b"\x02\x05aaaaa"), Ok(vec![]));
    assert_eq!(decode_with(&mut decoder, b"\x00\x03bbb"), Ok(vec![]), "exactly the limit");
    let error = FrameError::TooLarge { announced: 9, limit: 8 };
    assert_eq!(decode_with(&mut decoder, b"\x80\x01c"), Err(error));
}

#[test]
fn a_length_has_its_shortest_form_and_63_bits() {
    for (bytes, len) in [(&b"\x82\x7e\x00\x7e"[..], 126), (b"\x82\x7e\x03\xe8", 1000)] {
        let whole = wire(&[bytes, &vec![b'x'; len]]);
        assert_eq!(decode(SERVER, &whole).map(|frames| frames[0].payload.len()), Ok(len));
    }
    for (kind, len) in [(126, 0_u64), (126, 125), (127, 0), (127, 125), (127, 0xffff)] {
        let bytes = len.to_be_bytes();
        let length = if kind == 126 { &bytes[6..] } else { &bytes[..] };
        assert_eq!(decode(SERVER, &wire(&[&[0x82, kind], length])), Err(FrameError::Length));
    }
    for len in [1 << 63, u64::MAX] {
        let bytes = wire(&[b"\x82\x7f", &len.to_be_bytes()]);
        assert_eq!(decode(SERVER, &bytes), Err(FrameError::Length));
    }
}

#[test]
fn a_frame_out_of_its_order_is_refused_by_its_first_bytes() {
    assert_eq!(decode(SERVER, b"\x80\x64"), Err(FrameError::Fragmentation));
    assert_eq!(decode(SERVER, b"\x02\x01a\x82\x64"), Err(FrameError::Fragmentation));
}

#[test]
fn a_close_frame_is_empty_or_has_a_code_and_a_text() {
    assert_eq!(decode(SERVER, b"\x88\x00"), Ok(vec![frame(Opcode::Close, b"")]));
    assert_eq!(
        decode(SERVER, b"\x88\x04\x0f\xa0hi"),
        Ok(vec![frame(Opcode::Close, b"\x0f\xa0hi")])
    );
    assert_eq!(decode(SERVER, b"\x88\x01\x03"), Err(FrameError::CloseLength));
    assert_eq!(decode(SERVER, b"\x88\x02\x03\xed"), Err(FrameError::CloseCode(1005)));
    assert_eq!(decode(SERVER, b"\x88\x03\x03\xe8\xff"), Err(FrameError::Utf8));
}

#[test]
fn a_close_payload_is_cut_at_a_character_and_read_back() {
    let reason = "ü".repeat(100);
    let payload = close_payload(1008, &reason);
    assert_eq!(payload.len(), 2 + 122);
    assert_eq!(close_code(&payload), Some(1008));
    assert!(std::str::from_utf8(&payload[2..]).is_ok());
    assert_eq!(close_code(b""), None);
    assert_eq!(close_code(b"\x03"), None);
}

#[test]
fn every_byte_of_a_payload_of_any_length_is_masked_by_its_place() {
    let key = [1, 2, 4, 8];
    for len in 0..100 {
        let mut payload = vec![0; len];
        apply_mask(&mut payload, key);
        let expected: Vec<u8> = key.into_iter().cycle().take(len).collect();
        assert_eq!(payload, expected);
    }
}
