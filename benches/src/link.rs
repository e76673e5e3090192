//! Frames between a gateway and a logic server, many at a time.

use std::hint::black_box;

use bytes::BytesMut;
use imago_proto::{
    Limits, LinkDecoder, LinkFrame, command,
    link::{Forward, Push, frame::Kind},
};

use crate::{Run, Scenario, packet};

/// Link frames.
pub const LINK: &[Scenario] = &[
    Scenario::new("link/encode-request", || encode(request())),
    Scenario::new("link/encode-push-1", || encode(push(1))),
    Scenario::new("link/encode-push-100", || encode(push(100))),
    Scenario::new("link/encode-push-1000", || encode(push(1000))),
    Scenario::new("link/decode-request", || decode(&request())),
    Scenario::new("link/decode-push-1", || decode(&push(1))),
    Scenario::new("link/decode-push-100", || decode(&push(100))),
    Scenario::new("link/decode-push-1000", || decode(&push(1000))),
];

const BATCHES: usize = 20;
/// Frames read or written at once.
const BATCH: usize = 20;

fn request() -> LinkFrame {
    let forward = Forward {
        request: 5_000_000,
        session: 100_000,
        command: command::CHAT_USER_TALK.to_owned(),
        sequence: 1000,
        dest: "bob".to_owned(),
        acked: Vec::new(),
    };
    LinkFrame::with_payload(Kind::Forward(forward), packet::request(1))
}

fn push(channels: u64) -> LinkFrame {
    // Numbers as a gateway has them that took some hundred thousand logins.
    let sessions = (0..channels).map(|number| 100_000 + 97 * number).collect();
    LinkFrame::with_payload(Kind::Push(Push { sessions, ..Push::default() }), packet::push())
}

fn encode(frame: LinkFrame) -> Run {
    Run::batches(vec![(); BATCHES], BATCH, move |()| {
        let mut out = BytesMut::new();
        for _ in 0..BATCH {
            black_box(&frame).encode(&mut out);
        }
        black_box(out);
    })
}

fn decode(frame: &LinkFrame) -> Run {
    let mut wire = BytesMut::new();
    for _ in 0..BATCH {
        frame.encode(&mut wire);
    }
    let mut decoder = LinkDecoder::new(Limits::default());
    Run::batches(vec![wire; BATCHES], BATCH, move |buffer| {
        while let Some(frame) = decoder.decode(buffer).expect("encoded above") {
            black_box(frame);
        }
    })
}
