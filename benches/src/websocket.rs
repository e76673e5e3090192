//! WebSocket frames, many at a time, as a gateway reads and writes them.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use imago_kit::io::Chunks;
use imago_proto::{Frame, Limits, ws};

use crate::{Run, Scenario, packet};

/// WebSocket frames.
pub const WEBSOCKET: &[Scenario] = &[
    Scenario::new("websocket/decode-masked", || decode(&requests())),
    Scenario::new("websocket/decode-masked-16k", || decode(&large())),
    Scenario::new("websocket/encode", encode),
    Scenario::new("websocket/encode-masked", encode_masked),
];

const BATCHES: usize = 20;
/// Frames read or written at once.
const BATCH: usize = 50;
const KEY: [u8; 4] = [0x1d, 0xe5, 0x0a, 0x77];

fn requests() -> Vec<Frame> {
    (0..BATCH).map(|number| Frame::binary(packet::request(number))).collect()
}

fn large() -> Vec<Frame> {
    vec![Frame::binary(Bytes::from(vec![b'a'; 16 << 10]))]
}

/// Frames from a client that have arrived together.
fn decode(frames: &[Frame]) -> Run {
    let mut wire = BytesMut::new();
    for frame in frames {
        ws::encode_masked(frame, KEY, &mut wire);
    }
    let buffers = vec![wire; BATCHES];
    let mut decoder = ws::Decoder::new(ws::Peer::Client, Limits::default());
    Run::batches(buffers, frames.len(), move |buffer| {
        while let Some(frame) = decoder.decode(buffer).expect("encoded above") {
            black_box(frame);
        }
    })
}

/// Pushes to a client that are written together.
fn encode() -> Run {
    let pushes = vec![packet::push(); BATCH];
    Run::batches(vec![pushes; BATCHES], BATCH, |pushes| {
        let mut chunks = Chunks::default();
        for push in pushes {
            let frame = Frame::binary(push.clone());
            let (opcode, len) = (frame.opcode, frame.payload.len());
            chunks.push(|head| ws::put_header(opcode, len, head), &frame.payload);
        }
        black_box(chunks);
    })
}

/// Requests as a client writes them.
fn encode_masked() -> Run {
    Run::batches(vec![requests(); BATCHES], BATCH, |frames| {
        let mut out = BytesMut::new();
        for frame in frames {
            ws::encode_masked(frame, KEY, &mut out);
        }
        black_box(out);
    })
}
