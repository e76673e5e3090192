//! Properties: whatever is encoded decodes to itself, however the bytes are cut into chunks.

use bytes::{Bytes, BytesMut};
use imago_proto::{
    BasicCode, BasicPacket, Frame, Limits, LinkDecoder, LinkFrame, LogicPacket, Opcode, Packet,
    link::{self, frame::Kind},
    msg::{Header, Meta},
    tcp, ws,
};
use proptest::{collection::vec, prelude::*};

fn payload(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

prop_compose! {
    fn meta()(key in ".{0,20}", value in ".{0,20}", r#type in any::<i32>()) -> Meta {
        Meta { key, value, r#type }
    }
}

prop_compose! {
    fn header()(
        command in ".{0,40}", channel_id in ".{0,60}", sequence: u32, flag: i32, status: u32,
        dest in ".{0,60}", meta in vec(meta(), 0..4),
    ) -> Header {
        Header { command, channel_id, sequence, flag, status, dest, meta }
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let code = prop_oneof![
        Just(BasicCode::Ping),
        Just(BasicCode::Pong),
        (3..=u16::MAX).prop_map(BasicCode::Other),
    ];
    prop_oneof![
        (header(), payload(2000))
            .prop_map(|(header, body)| Packet::Logic(LogicPacket { header, body })),
        (code, payload(300)).prop_map(|(code, body)| Packet::Basic(BasicPacket { code, body })),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let control = prop_oneof![Just(Opcode::Ping), Just(Opcode::Pong)];
    let close = (3000..5000_u16, ".{0,40}").prop_map(|(code, reason)| Frame {
        opcode: Opcode::Close,
        payload: ws::close_payload(code, &reason),
    });
    let data = prop_oneof![Just(Opcode::Binary), Just(Opcode::Text)];
    prop_oneof![
        (control, payload(126)).prop_map(|(opcode, payload)| Frame { opcode, payload }),
        close,
        (data, payload(700)).prop_map(|(opcode, payload)| Frame { opcode, payload }),
    ]
}

fn link_frame() -> impl Strategy<Value = LinkFrame> {
    let kind = prop_oneof![
        Just(Kind::SyncBegin(link::SyncBegin {})),
        any::<u64>().prop_map(|id| Kind::Ping(link::Ping { id, stamp: id })),
        vec(any::<u64>(), 0..50)
            .prop_map(|sessions| Kind::Push(link::Push { sessions, ..link::Push::default() })),
        (any::<u64>(), any::<u64>(), ".{0,30}", any::<u32>(), ".{0,30}").prop_map(
            |(request, session, command, sequence, dest)| {
                let acked = Vec::new();
                Kind::Forward(link::Forward { request, session, command, sequence, dest, acked })
            }
        ),
        (any::<u64>(), ".{0,40}", vec(".{0,9}", 0..3)).prop_map(|(id, account, tags)| {
            let session = Some(link::Session { id, account, tags, ..link::Session::default() });
            Kind::SessionUp(link::SessionUp { session })
        }),
    ];
    (kind, payload(500)).prop_map(|(kind, payload)| LinkFrame { kind, payload })
}

/// Feeds `wire` in chunks of these sizes (the last repeats) and collects what `decode` takes out.
fn feed<F, E: std::fmt::Debug>(
    wire: &[u8],
    chunks: &[usize],
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<F>, E>,
) -> Vec<F> {
    let (mut out, mut buffer, mut rest) = (Vec::new(), BytesMut::new(), wire);
    let mut sizes = chunks.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        buffer.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
        while let Some(frame) = decode(&mut buffer).expect("encoded by us") {
            out.push(frame);
        }
    }
    assert!(buffer.is_empty(), "bytes left over");
    out
}

proptest! {
    #[test]
    fn packets_round_trip(packet in packet()) {
        let bytes = packet.encode();
        if let Packet::Logic(logic) = &packet {
            prop_assert_eq!(logic.encoded_len(), bytes.len());
        }
        prop_assert_eq!(Packet::decode(bytes), Ok(packet));
    }

    #[test]
    fn a_packet_cut_short_or_followed_by_bytes_is_refused(packet in packet(), cut in any::<prop::sample::Index>()) {
        let bytes = packet.encode();
        prop_assert!(Packet::decode(bytes.slice(..cut.index(bytes.len()))).is_err());
        let mut longer = BytesMut::from(&*bytes);
        longer.extend_from_slice(b"x");
        prop_assert!(Packet::decode(longer.freeze()).is_err());
    }

    #[test]
    fn tcp_frames_round_trip_in_any_chunks(frames in vec(frame(), 1..8), chunks in vec(1usize..400, 1..6)) {
        let mut wire = BytesMut::new();
        for frame in &frames {
            tcp::encode(frame, &mut wire).expect("small frames fit");
        }
        let mut decoder = tcp::Decoder::new(Limits::default());
        prop_assert_eq!(feed(&wire, &chunks, |buffer| decoder.decode(buffer)), frames);
    }

    #[test]
    fn server_frames_round_trip_in_any_chunks(frames in vec(frame(), 1..8), chunks in vec(1usize..400, 1..6)) {
        let mut wire = BytesMut::new();
        for frame in &frames {
            ws::encode(frame, &mut wire);
        }
        let mut decoder = ws::Decoder::new(ws::Peer::Server, Limits::default());
        prop_assert_eq!(feed(&wire, &chunks, |buffer| decoder.decode(buffer)), frames);
    }

    #[test]
    fn masked_frames_round_trip_in_any_chunks(
        frames in vec((frame(), any::<[u8; 4]>()), 1..8), chunks in vec(1usize..400, 1..6)
    ) {
        let mut wire = BytesMut::new();
        for (frame, key) in &frames {
            ws::encode_masked(frame, *key, &mut wire);
        }
        let mut decoder = ws::Decoder::new(ws::Peer::Client, Limits::default());
        let expected: Vec<Frame> = frames.into_iter().map(|(frame, _)| frame).collect();
        prop_assert_eq!(feed(&wire, &chunks, |buffer| decoder.decode(buffer)), expected);
    }

    #[test]
    fn link_frames_round_trip_in_any_chunks(frames in vec(link_frame(), 1..8), chunks in vec(1usize..400, 1..6)) {
        let mut wire = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut wire);
        }
        let mut decoder = LinkDecoder::new(Limits::default());
        prop_assert_eq!(feed(&wire, &chunks, |buffer| decoder.decode(buffer)), frames);
    }
}

#[test]
fn a_frame_of_every_length_class_round_trips() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, Limits::OUTBOUND_PAYLOAD] {
        let frame = Frame::binary(Bytes::from(vec![7; len]));
        let mut wire = BytesMut::new();
        ws::encode(&frame, &mut wire);
        let mut decoder = ws::Decoder::new(ws::Peer::Server, Limits::default());
        assert_eq!(decoder.decode(&mut wire), Ok(Some(frame)));
    }
}
