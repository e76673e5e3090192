//! Properties: no byte string panics a decoder, or makes it hold more memory than its cap.

use bytes::{Bytes, BytesMut};
use imago_proto::{
    Limits, LinkDecoder, LinkError, LinkFrame, LogicPacket, Packet, PacketError,
    link::{Frame, frame::Kind},
    msg::{Header, LoginReq, MessageAckReq, MessageReq, Meta},
    tcp, ws,
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

const CAP: usize = 64 * 1024;
const LIMITS: Limits = Limits { payload: CAP };

/// Random bytes, and bytes that begin like something real, so that decoders get past the start.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let begin = prop_oneof![
        Just(vec![]),
        Just(vec![0xc3, 0x11, 0xa3, 0x65]),
        Just(vec![0xc3, 0x11, 0xa3, 0x65, 0, 0, 0, 8]),
        Just(vec![0xc3, 0x15, 0xa7, 0x65, 0, 1]),
        Just(vec![2, 0, 0]),
        Just(vec![0x82, 0xfe]),
        Just(vec![0x82, 0xff, 0, 0]),
        Just(vec![0x02, 0x81]),
        Just(vec![0, 0, 0, 20, 0, 0, 0, 10]),
    ];
    (begin, vec(any::<u8>(), 0..200)).prop_map(|(begin, rest)| [begin, rest].concat())
}

/// Feeds `bytes` one by one, as long as they are accepted, and returns the largest capacity that
/// the buffer was given.
fn drip<F, E>(
    bytes: &[u8],
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<F>, E>,
) -> usize {
    let (mut buffer, mut largest) = (BytesMut::new(), 0);
    for byte in bytes {
        buffer.extend_from_slice(&[*byte]);
        loop {
            let decoded = decode(&mut buffer);
            largest = largest.max(buffer.capacity());
            match decoded {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return largest,
            }
        }
    }
    largest
}

/// Bytes that the vectors and strings of a header hold on the heap.
fn heap(header: &Header) -> usize {
    let metas = header.meta.capacity() * size_of::<Meta>();
    let texts: usize = header.meta.iter().map(|m| m.key.capacity() + m.value.capacity()).sum();
    metas
        + texts
        + header.command.capacity()
        + header.channel_id.capacity()
        + header.dest.capacity()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_panic_the_packet_decoder(bytes in hostile()) {
        let _ = (Header::decode(&*bytes), LoginReq::decode(&*bytes), Frame::decode(&*bytes));
        let _ = (MessageReq::decode(&*bytes), MessageAckReq::decode(&*bytes));
        let _ = Packet::decode(Bytes::from(bytes));
    }

    #[test]
    fn no_bytes_panic_or_bloat_the_frame_decoders(bytes in hostile()) {
        // What a decoder reserves is at most one frame; the rest of the capacity is ours.
        let bound = CAP + 4 + 4 * bytes.len();
        let mut decoder = tcp::Decoder::new(LIMITS);
        prop_assert!(drip(&bytes, |buffer| decoder.decode(buffer)) <= bound);
        for peer in [ws::Peer::Client, ws::Peer::Server] {
            let mut decoder = ws::Decoder::new(peer, LIMITS);
            prop_assert!(drip(&bytes, |buffer| decoder.decode(buffer)) <= bound);
        }
        let mut decoder = LinkDecoder::new(LIMITS);
        prop_assert!(drip(&bytes, |buffer| decoder.decode(buffer)) <= bound);
    }

    #[test]
    fn any_announced_length_over_the_cap_is_refused_at_once(len in (CAP as u64 + 1)..) {
        let mut frame = BytesMut::from(&[0x82, 0xff][..]);
        frame.extend_from_slice(&len.to_be_bytes());
        let before = frame.capacity();
        let decoded = ws::Decoder::new(ws::Peer::Client, LIMITS).decode(&mut frame);
        // Where the first bit is set, it is no length (RFC 6455 §5.2).
        let error = match len > u64::MAX >> 1 {
            true => imago_proto::FrameError::Length,
            false => imago_proto::FrameError::TooLarge { announced: len, limit: CAP },
        };
        prop_assert_eq!(decoded, Err(error));
        prop_assert_eq!(frame.capacity(), before);
    }

    #[test]
    fn a_32_bit_length_over_the_cap_is_refused_at_once(len in (CAP as u32 + 1)..) {
        let mut frame = BytesMut::from(&[2][..]);
        frame.extend_from_slice(&len.to_be_bytes());
        prop_assert!(tcp::Decoder::new(LIMITS).decode(&mut frame).is_err());
        let mut frame = BytesMut::from(&len.to_be_bytes()[..]);
        let before = frame.capacity();
        let decoded = LinkDecoder::new(LIMITS).decode(&mut frame);
        prop_assert_eq!(decoded, Err(LinkError::TooLarge { announced: len as usize, limit: CAP }));
        prop_assert_eq!(frame.capacity(), before);
    }

    #[test]
    fn lengths_inside_a_packet_allocate_nothing(header: u32, body: u32) {
        let mut bytes = BytesMut::from(&[0xc3, 0x11, 0xa3, 0x65][..]);
        bytes.extend_from_slice(&header.max(1).to_be_bytes());
        bytes.extend_from_slice(&body.to_be_bytes());
        prop_assert!(Packet::decode(bytes.freeze()).is_err());
    }
}

#[test]
fn a_header_of_a_million_empty_metas_is_refused_before_it_grows_thirtyfold() {
    let header = [0x3a, 0x00].repeat(Limits::DEFAULT_PAYLOAD / 2 - 20);
    let mut bytes = BytesMut::from(&[0xc3, 0x11, 0xa3, 0x65][..]);
    bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&[0; 4]);
    let error = PacketError::HeaderTooLarge { announced: header.len(), limit: Limits::HEADER };
    // Not `assert_eq!`, which would print the million.
    assert!(Packet::decode(bytes.freeze()) == Err(error));
}

#[test]
fn the_most_wasteful_header_that_is_accepted_stays_under_the_cap() {
    let meta = vec![Meta::default(); Limits::HEADER / 2];
    let packet = LogicPacket { header: Header { meta, ..Header::default() }, body: Bytes::new() };
    let Ok(Packet::Logic(decoded)) = Packet::decode(packet.encode()) else {
        panic!("a header of exactly the limit is accepted");
    };
    assert!(heap(&decoded.header) <= Limits::DEFAULT_PAYLOAD, "{}", heap(&decoded.header));
}

#[test]
fn a_message_of_many_small_fragments_takes_no_more_than_the_cap() {
    let mut decoder = ws::Decoder::new(ws::Peer::Server, LIMITS);
    let mut buffer = BytesMut::from(&[0x02, 1, 7][..]);
    let piece = 1000;
    for _ in 0..(CAP - 1) / piece {
        buffer.extend_from_slice(&[0x00, 126, (piece >> 8) as u8, piece as u8]);
        buffer.extend_from_slice(&vec![7; piece]);
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
    }
    buffer.extend_from_slice(&[0x80, 0]);
    let frame = decoder.decode(&mut buffer).expect("valid").expect("whole");
    assert_eq!(frame.payload.len(), 1 + (CAP - 1) / piece * piece);
    let held = frame.payload.try_into_mut().expect("the only reference").capacity();
    assert!(held <= CAP, "holds {held} bytes for a cap of {CAP}");
}

#[test]
fn what_a_link_frame_weighs_in_a_queue_includes_its_head() {
    let sessions = (0..100_000).collect();
    let frame =
        LinkFrame::new(Kind::Push(imago_proto::link::Push { sessions, ..Default::default() }));
    assert!(frame.weight() >= Kind::encoded_len(&frame.kind));
    let name = "x".repeat(5000);
    let hello = imago_proto::link::Hello { cluster: name, ..Default::default() };
    assert!(LinkFrame::new(Kind::Hello(hello.clone())).weight() >= hello.encoded_len());
}
