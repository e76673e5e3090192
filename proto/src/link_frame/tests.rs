//! Tests of the inner link's framing.

use super::*;
use crate::link::frame::Kind;

const LIMITS: Limits = Limits { payload: 1000 };

fn decode(wire: &[u8]) -> Result<Option<LinkFrame>, LinkError> {
    LinkDecoder::new(LIMITS).decode(&mut BytesMut::from(wire))
}

#[test]
fn a_frame_is_length_head_length_head_payload() {
    let kind = Kind::Ping(link::Ping { id: 1, stamp: 0 });
    let mut wire = BytesMut::new();
    LinkFrame::with_payload(kind.clone(), "abc".into()).encode(&mut wire);
    assert_eq!(&wire[..], b"\x00\x00\x00\x0c\x00\x00\x00\x05\x82\x01\x02\x08\x01abc");
    assert_eq!(decode(&wire), Ok(Some(LinkFrame::with_payload(kind, "abc".into()))));
}

#[test]
fn the_payload_shares_the_received_buffer() {
    let mut wire = BytesMut::new();
    LinkFrame::with_payload(Kind::Ping(link::Ping { id: 1, stamp: 0 }), vec![7; 500].into())
        .encode(&mut wire);
    let range = wire.as_ptr_range();
    let frame = LinkDecoder::new(LIMITS).decode(&mut wire).expect("valid").expect("whole");
    assert!(range.contains(&frame.payload.as_ptr()), "the payload was copied");
}

#[test]
fn a_frame_waits_for_its_last_byte_with_room_for_no_more_than_itself() {
    let mut buffer = BytesMut::from(&b"\x00\x00\x03\xe8\x00"[..]);
    assert_eq!(LinkDecoder::new(LIMITS).decode(&mut buffer), Ok(None));
    assert!(buffer.capacity() <= 2 * 1004, "reserved {}", buffer.capacity());
}

#[test]
fn lengths_over_the_limit_are_refused() {
    let error = LinkError::TooLarge { announced: 1001, limit: 1000 };
    assert_eq!(decode(b"\x00\x00\x03\xe9"), Err(error));
}

#[test]
fn a_head_must_fit_into_its_frame() {
    assert_eq!(decode(b"\x00\x00\x00\x03abc"), Err(LinkError::Head { head: 0, frame: 3 }));
    let error = LinkError::Head { head: 5, frame: 8 };
    assert_eq!(decode(b"\x00\x00\x00\x08\x00\x00\x00\x05abcd"), Err(error));
}

#[test]
fn a_head_that_is_no_frame_or_of_an_unknown_kind_is_refused() {
    assert!(matches!(decode(b"\x00\x00\x00\x05\x00\x00\x00\x01\xff"), Err(LinkError::Decode(_))));
    // Field 1000, empty: a kind of a later version.
    let unknown = b"\x00\x00\x00\x07\x00\x00\x00\x03\xc2\x3e\x00";
    assert!(matches!(decode(unknown), Err(LinkError::Decode(_))));
}
