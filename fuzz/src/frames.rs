//! The three codecs that take frames out of a stream: WebSocket, TCP and the inner link.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use imago_proto::{Frame, FrameError, Limits, LinkDecoder, Opcode, tcp as codec, ws as web};

/// Largest payload that the decoders accept here, in bytes: small, so that mutated lengths are around it.
const LIMIT: usize = 200;
const LIMITS: Limits = Limits { payload: LIMIT };

/// What a decoder made of a stream.
#[derive(Debug, PartialEq)]
struct Outcome<F, E> {
    frames: Vec<F>,
    /// The end of the stream: an error, or the number of bytes that wait for more.
    end: Result<usize, E>,
}

/// Feeds `bytes` to a decoder, `step` bytes at a time.
fn read<F, E>(
    bytes: &[u8],
    step: usize,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<F>, E>,
) -> Outcome<F, E> {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let decoded = decode(&mut buffer);
            // What a decoder reserves is one frame; a growing buffer doubles it.
            let bound = 2 * (LIMIT + 8) + 4 * bytes.len() + 64;
            assert!(buffer.capacity() <= bound, "{} bytes are reserved", buffer.capacity());
            match decoded {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return Outcome { frames, end: Err(error) },
            }
        }
    }
    let end = Ok(buffer.len());
    Outcome { frames, end }
}

/// Checks that it makes no difference how a stream is cut, and returns what a decoder makes of it.
fn read_in_any_steps<F, E, D>(bytes: &[u8], decoder: impl Fn() -> D) -> Outcome<F, E>
where
    F: PartialEq + Debug,
    E: PartialEq + Debug,
    D: FnMut(&mut BytesMut) -> Result<Option<F>, E>,
{
    let at_once = read(bytes, bytes.len(), decoder());
    for step in [1, 7] {
        assert_eq!(read(bytes, step, decoder()), at_once, "fed {step} bytes at a time");
    }
    at_once
}

/// Frames on the WebSocket transport, from either side.
pub fn ws(data: &[u8]) {
    for peer in [web::Peer::Client, web::Peer::Server] {
        let outcome = read_in_any_steps(data, || {
            let mut decoder = web::Decoder::new(peer, LIMITS);
            move |buffer: &mut BytesMut| {
                let decoded = decoder.decode(buffer);
                assert!(decoder.held() <= LIMIT, "{} bytes are held", decoder.held());
                decoded
            }
        });
        let mut wire = BytesMut::new();
        for frame in &outcome.frames {
            check_frame(frame);
            match peer {
                web::Peer::Client => {
                    let key = (frame.payload.len() as u32).wrapping_mul(0x9e37_79b9);
                    web::encode_masked(frame, key.to_be_bytes(), &mut wire);
                }
                web::Peer::Server => web::encode(frame, &mut wire),
            }
        }
        let mut decoder = web::Decoder::new(peer, LIMITS);
        let again = read(&wire, wire.len(), |buffer| decoder.decode(buffer));
        assert_eq!(again, Outcome { frames: outcome.frames, end: Ok(0) }, "encoded again");
    }
    check_fragments(data);
}

/// Checks what every decoder of clients' frames keeps to.
fn check_frame(frame: &Frame) {
    let len = frame.payload.len();
    assert_ne!(frame.opcode, Opcode::Continuation);
    assert!(len <= LIMIT, "a payload of {len} bytes");
}

/// Checks that a message in fragments, with a ping after each, is put together, up to the limit.
fn check_fragments(payload: &[u8]) {
    let step = payload.first().map_or(1, |first| 1 + usize::from(*first));
    let ping = Frame { opcode: Opcode::Ping, payload: Bytes::from_static(b"between") };
    let fragments = payload.chunks(step);
    let last = fragments.len().saturating_sub(1);
    let mut wire = BytesMut::new();
    for (number, fragment) in fragments.enumerate() {
        let opcode = if number == 0 { Opcode::Binary } else { Opcode::Continuation };
        let begin = wire.len();
        web::encode(&Frame { opcode, payload: Bytes::copy_from_slice(fragment) }, &mut wire);
        if number < last {
            wire[begin] &= 0x7f;
            web::encode(&ping, &mut wire);
        }
    }
    let mut decoder = web::Decoder::new(web::Peer::Server, LIMITS);
    let outcome = read(&wire, wire.len(), |buffer| decoder.decode(buffer));
    if payload.len() > LIMIT {
        assert!(matches!(outcome.end, Err(FrameError::TooLarge { limit: LIMIT, .. })));
    } else if !payload.is_empty() {
        let mut frames = vec![ping; last];
        frames.push(Frame::binary(Bytes::copy_from_slice(payload)));
        assert_eq!(outcome, Outcome { frames, end: Ok(0) });
    }
}

/// Frames on the plain TCP transport.
pub fn tcp(data: &[u8]) {
    let decoder = || {
        let mut decoder = codec::Decoder::new(LIMITS);
        move |buffer: &mut BytesMut| decoder.decode(buffer)
    };
    let outcome = read_in_any_steps(data, decoder);
    let mut wire = BytesMut::new();
    for frame in &outcome.frames {
        check_frame(frame);
        codec::encode(frame, &mut wire).expect("a payload within the limit has a header");
    }
    // There is one encoding of a frame.
    assert_eq!(data.get(..wire.len()), Some(&*wire), "encoded again");
    if let Ok(rest) = outcome.end {
        assert_eq!(wire.len() + rest, data.len(), "bytes are lost");
    }
}

/// Frames of the inner link.
pub fn link(data: &[u8]) {
    let outcome = read_in_any_steps(data, || {
        let mut decoder = LinkDecoder::new(LIMITS);
        move |buffer: &mut BytesMut| decoder.decode(buffer)
    });
    let mut wire = BytesMut::new();
    for frame in &outcome.frames {
        assert!(frame.payload.len() <= LIMIT);
        assert!(frame.weight() >= frame.payload.len());
        let (begin, mut head) = (wire.len(), BytesMut::new());
        frame.encode(&mut wire);
        frame.encode_head(&mut head);
        assert_eq!(wire[begin..], [&head, &*frame.payload].concat(), "head and payload apart");
    }
    // A head may have been longer or shorter than ours: the limit is another one.
    let mut decoder = LinkDecoder::new(Limits { payload: 8 * LIMIT });
    let mut again = Vec::new();
    while let Some(frame) = decoder.decode(&mut wire).expect("what was encoded decodes") {
        again.push(frame);
    }
    assert!(wire.is_empty(), "bytes are lost");
    assert_eq!(again, outcome.frames, "encoded again");
}
