//! What a client may send, mostly once it has logged in: a table by RFC 6455 §5, §7 and §8. Numbers in brackets
//! are those of the cases of the Autobahn test suite; those of texts that are echoed and of compression
//! do not apply, for a message here is a packet, and no extension is agreed on.

use imago_proto::Packet;

use super::*;

/// A frame as a client sends it, masked: the first byte and the payload.
type Sent = (u8, &'static [u8]);

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Back {
    /// The pong frame of a ping frame.
    Pong(&'static [u8]),
    /// The pong packet of a ping packet.
    Packet,
    /// The end, with this code, and nothing after it.
    Close(u16),
}

const FIN: u8 = 0x80;
const MORE: u8 = 0;
const NEXT: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A ping packet, whole and in pieces.
const PACKET: &[u8] = b"\xc3\x15\xa7\x65\0\x01\0\0";
const HEAD: &[u8] = b"\xc3\x15\xa7\x65";
const TAIL: &[u8] = b"\0\x01\0\0";
const LONGEST: &[u8] = &[b'x'; 125];
const TOO_LONG: &[u8] = &[b'x'; 126];
const LONG_REASON: &[u8] = &{
    let mut payload = [b'x'; 125];
    [payload[0], payload[1]] = 1000_u16.to_be_bytes();
    payload
};

const PROTOCOL: Back = Back::Close(1002);
const INVALID: Back = Back::Close(1007);

/// Why, what is sent, and what comes back. Where no end comes, the connection has to go on.
type Case = (&'static str, &'static [Sent], &'static [Back]);

#[rustfmt::skip]
const PINGS: &[Case] = &[
    ("§5.5.2 a ping without a payload [2.1]", &[(FIN | PING, b"")], &[Back::Pong(b"")]),
    ("§5.5.3 the payload comes back [2.2]", &[(FIN | PING, b"Hello")], &[Back::Pong(b"Hello")]),
    ("§5.5.3 whatever bytes it has [2.3]", &[(FIN | PING, b"\0\xff\xfe\xfd")], &[Back::Pong(b"\0\xff\xfe\xfd")]),
    ("§5.5 125 bytes of it [2.4]", &[(FIN | PING, LONGEST)], &[Back::Pong(LONGEST)]),
    ("§5.5 no more [2.5]", &[(FIN | PING, TOO_LONG)], &[PROTOCOL]),
    ("§5.5.3 a pong that was not asked for [2.7]", &[(FIN | PONG, b"")], &[]),
    ("§5.5.3 with a payload [2.8]", &[(FIN | PONG, b"Hello")], &[]),
    ("§5.5.3 it answers no ping [2.9]", &[(FIN | PONG, b"a"), (FIN | PING, b"b")], &[Back::Pong(b"b")]),
    ("§5.5.3 several pings in their order [2.10]", &[(FIN | PING, b"1"), (FIN | PING, b"2"), (FIN | PING, b"3")], &[Back::Pong(b"1"), Back::Pong(b"2"), Back::Pong(b"3")]),
    ("§5.5 a pong that is too long", &[(FIN | PONG, TOO_LONG)], &[PROTOCOL]),
];

#[rustfmt::skip]
const RESERVED: &[Case] = &[
    ("§5.2 RSV3 [3.1]", &[(FIN | 0x10 | BINARY, PACKET)], &[PROTOCOL]),
    ("§5.2 RSV2, after a message [3.2]", &[(FIN | BINARY, PACKET), (FIN | 0x20 | BINARY, PACKET)], &[Back::Packet, PROTOCOL]),
    ("§5.2 RSV2 and RSV3 [3.3]", &[(FIN | 0x30 | BINARY, PACKET)], &[PROTOCOL]),
    ("§5.2 RSV1, no compression was agreed on [3.4]", &[(FIN | 0x40 | BINARY, PACKET)], &[PROTOCOL]),
    ("§5.2 RSV1 and RSV3 [3.5]", &[(FIN | 0x50 | BINARY, b"")], &[PROTOCOL]),
    ("§5.2 RSV1 and RSV2 of a ping [3.6]", &[(FIN | 0x60 | PING, b"")], &[PROTOCOL]),
    ("§5.2 all of them of a close [3.7]", &[(FIN | 0x70 | CLOSE, b"")], &[PROTOCOL]),
    ("§5.2 a piece", &[(MORE | BINARY, HEAD), (FIN | 0x40 | NEXT, TAIL)], &[PROTOCOL]),
    ("§5.2 opcode 3 [4.1.1]", &[(FIN | 3, b"")], &[PROTOCOL]),
    ("§5.2 opcode 4 with a payload [4.1.2]", &[(FIN | 4, b"x")], &[PROTOCOL]),
    ("§5.2 opcode 5, after a message [4.1.3]", &[(FIN | BINARY, PACKET), (FIN | 5, b"")], &[Back::Packet, PROTOCOL]),
    ("§5.2 opcode 6 [4.1.4]", &[(FIN | 6, b"x")], &[PROTOCOL]),
    ("§5.2 opcode 7 [4.1.5]", &[(FIN | 7, b"x")], &[PROTOCOL]),
    ("§5.2 opcode 11 [4.2.1]", &[(FIN | 11, b"")], &[PROTOCOL]),
    ("§5.2 opcode 12 with a payload [4.2.2]", &[(FIN | 12, b"x")], &[PROTOCOL]),
    ("§5.2 opcode 13, after a message [4.2.3]", &[(FIN | BINARY, PACKET), (FIN | 13, b"")], &[Back::Packet, PROTOCOL]),
    ("§5.2 opcode 14 [4.2.4]", &[(FIN | 14, b"x")], &[PROTOCOL]),
    ("§5.2 opcode 15 [4.2.5]", &[(FIN | 15, b"x")], &[PROTOCOL]),
];

#[rustfmt::skip]
const PIECES: &[Case] = &[
    ("§5.5 a ping in pieces [5.1]", &[(MORE | PING, b"a"), (FIN | NEXT, b"b")], &[PROTOCOL]),
    ("§5.5 a pong in pieces [5.2]", &[(MORE | PONG, b"a"), (FIN | NEXT, b"b")], &[PROTOCOL]),
    ("§5.5 a close in pieces", &[(MORE | CLOSE, b"\x03"), (FIN | NEXT, b"\xe8")], &[PROTOCOL]),
    ("§5.4 a message in pieces [5.3]", &[(MORE | BINARY, HEAD), (FIN | NEXT, TAIL)], &[Back::Packet]),
    ("§5.4 a ping between them [5.6]", &[(MORE | BINARY, HEAD), (FIN | PING, b"p"), (FIN | NEXT, TAIL)], &[Back::Pong(b"p"), Back::Packet]),
    ("§5.4 a pong between them", &[(MORE | BINARY, HEAD), (FIN | PONG, b"p"), (FIN | NEXT, TAIL)], &[Back::Packet]),
    ("§5.4 pieces of nothing [6.1.2]", &[(MORE | BINARY, b""), (MORE | NEXT, b""), (FIN | NEXT, b"")], &[]),
    ("§5.4 some of them", &[(MORE | BINARY, b""), (MORE | NEXT, PACKET), (FIN | NEXT, b"")], &[Back::Packet]),
    ("§5.4 a last piece of nothing begun [5.9]", &[(FIN | NEXT, PACKET)], &[PROTOCOL]),
    ("§5.4 a piece of nothing begun [5.12]", &[(MORE | NEXT, HEAD), (FIN | NEXT, TAIL)], &[PROTOCOL]),
    ("§5.4 one after a message in pieces [5.15]", &[(MORE | BINARY, HEAD), (FIN | NEXT, TAIL), (FIN | NEXT, TAIL)], &[Back::Packet, PROTOCOL]),
    ("§5.4 a message within another [5.18]", &[(MORE | BINARY, HEAD), (FIN | BINARY, TAIL)], &[PROTOCOL]),
    ("§5.4 begun within another", &[(MORE | BINARY, HEAD), (MORE | TEXT, TAIL)], &[PROTOCOL]),
    ("§5.4 pings and pieces by turns [5.19]", &[(MORE | BINARY, b"\xc3\x15"), (MORE | NEXT, b"\xa7\x65"), (FIN | PING, b"1"), (MORE | NEXT, b"\0\x01"), (FIN | PING, b"2"), (FIN | NEXT, b"\0\0")], &[Back::Pong(b"1"), Back::Pong(b"2"), Back::Packet]),
    ("§5.5.1 a close between them", &[(MORE | BINARY, HEAD), (FIN | CLOSE, b"\x03\xe8")], &[Back::Close(1000)]),
];

/// A text that holds a packet is taken, for old clients send such. It is no UTF-8 by its first two bytes.
#[rustfmt::skip]
const TEXTS: &[Case] = &[
    ("§5.6 an empty text says nothing [6.1.1]", &[(FIN | TEXT, b"")], &[]),
    ("§5.6 a text that is a packet", &[(FIN | TEXT, PACKET)], &[Back::Packet]),
    ("§5.6 such a one in pieces", &[(MORE | TEXT, HEAD), (FIN | NEXT, TAIL)], &[Back::Packet]),
    ("§5.6 a text is no packet [6.2.1]", &[(FIN | TEXT, "Hello-µ@ßöäüàá-UTF-8!!".as_bytes())], &[PROTOCOL]),
    ("§8.1 a character in two pieces [6.2.3]", &[(MORE | TEXT, b"\xce"), (FIN | NEXT, b"\xba")], &[PROTOCOL]),
    ("§8.1 the last character of all [6.9.3]", &[(FIN | TEXT, b"\xf4\x8f\xbf\xbf")], &[PROTOCOL]),
    ("§8.1 a surrogate in the middle [6.3.1]", &[(FIN | TEXT, b"\xce\xba\xed\xa0\x80edited")], &[INVALID]),
    ("§8.1 in two pieces [6.3.2]", &[(MORE | TEXT, b"\xce\xba\xed\xa0"), (FIN | NEXT, b"\x80edited")], &[INVALID]),
    ("§8.1 beyond the last character [6.4.1]", &[(MORE | TEXT, b"\xce\xba\xf4"), (FIN | NEXT, b"\x90\x80\x80")], &[INVALID]),
    ("§8.1 half a character at the end [6.6.1]", &[(FIN | TEXT, b"\xce")], &[INVALID]),
    ("§8.1 a continuation alone [6.14.1]", &[(FIN | TEXT, b"\x80")], &[INVALID]),
    ("§8.1 a byte that never is [6.18.1]", &[(FIN | TEXT, b"\xfe")], &[INVALID]),
    ("§8.1 slash in two bytes [6.19.1]", &[(FIN | TEXT, b"\xc0\xaf")], &[INVALID]),
    ("§8.1 slash in four bytes [6.19.3]", &[(FIN | TEXT, b"\xf0\x80\x80\xaf")], &[INVALID]),
    ("§8.1 NUL in two bytes [6.21.1]", &[(FIN | TEXT, b"\xc0\x80")], &[INVALID]),
];

#[rustfmt::skip]
const CLOSES: &[Case] = &[
    ("§5.5.1 a close is answered [7.1.1]", &[(FIN | BINARY, PACKET), (FIN | CLOSE, b"\x03\xe8")], &[Back::Packet, Back::Close(1000)]),
    ("§5.5.1 a second one is not [7.1.2]", &[(FIN | CLOSE, b"\x03\xe8"), (FIN | CLOSE, b"\x03\xe8")], &[Back::Close(1000)]),
    ("§5.5.1 a ping after it is not [7.1.3]", &[(FIN | CLOSE, b"\x03\xe8"), (FIN | PING, b"")], &[Back::Close(1000)]),
    ("§5.5.1 nor a message [7.1.4]", &[(FIN | CLOSE, b"\x03\xe8"), (FIN | BINARY, PACKET)], &[Back::Close(1000)]),
    ("§5.5.1 nor what breaks every rule", &[(FIN | CLOSE, b"\x03\xe8"), (FIN | 15, b"")], &[Back::Close(1000)]),
    ("§5.5.1 the rest of a message [7.1.5]", &[(MORE | BINARY, HEAD), (FIN | CLOSE, b"\x03\xe8"), (FIN | NEXT, TAIL)], &[Back::Close(1000)]),
    ("§7.1.5 a close without a code [7.3.1]", &[(FIN | CLOSE, b"")], &[Back::Close(1000)]),
    ("§5.5.1 half a code [7.3.2]", &[(FIN | CLOSE, b"\x03")], &[PROTOCOL]),
    ("§5.5.1 a code [7.3.3]", &[(FIN | CLOSE, b"\x03\xe9")], &[Back::Close(1001)]),
    ("§5.5.1 a code and a reason [7.3.4]", &[(FIN | CLOSE, b"\x03\xe8Hello World!")], &[Back::Close(1000)]),
    ("§5.5.1 the longest [7.3.5]", &[(FIN | CLOSE, LONG_REASON)], &[Back::Close(1000)]),
    ("§5.5 one that is too long [7.3.6]", &[(FIN | CLOSE, TOO_LONG)], &[PROTOCOL]),
    ("§5.5.1 a reason that is no UTF-8 [7.5.1]", &[(FIN | CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")], &[INVALID]),
];

/// A frame of these bytes, after its first two, which say more about its length than there is to say.
#[rustfmt::skip]
const LENGTHS: &[(&str, &[u8], u16)] = &[
    ("§5.2 the shortest form of a length: 0 in 16 bits", b"\x82\xfe\0\0\x01\x02\x03\x04", 1002),
    ("§5.2 the longest that fits into 7 bits", b"\x82\xfe\0\x7d\x01\x02\x03\x04", 1002),
    ("§5.2 what fits into 7 bits in 64", b"\x82\xff\0\0\0\0\0\0\0\x05\x01\x02\x03\x04", 1002),
    ("§5.2 what fits into 16 bits in 64", b"\x82\xff\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04", 1002),
    ("§5.2 the most significant bit", b"\x82\xff\x80\0\0\0\0\0\0\0\x01\x02\x03\x04", 1002),
    ("§5.2 all bits", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1002),
    ("§7.4.1 the longest there is", b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04", 1009),
    ("§5.5 a ping of 16 bits", b"\x89\xfe\0\x7e\x01\x02\x03\x04", 1002),
    ("§5.1 no mask", b"\x82\x08\xc3\x15\xa7\x65\0\x01\0\0", 1002),
    ("§5.1 no mask of a ping", b"\x89\x00", 1002),
    ("§5.1 no mask of a close", b"\x88\x02\x03\xe8", 1002),
];

async fn online() -> Pair {
    Pair::online(Framing::WebSocket, 1 << 20).await.0
}

fn masked(frames: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (first, payload) in frames {
        let mut frame = BytesMut::new();
        let opcode = Opcode::Binary;
        let whole = imago_proto::Frame { opcode, payload: Bytes::from_static(payload) };
        imago_proto::ws::encode_masked(&whole, [7, 5, 3, 1], &mut frame);
        frame[0] = *first;
        bytes.extend_from_slice(&frame);
    }
    bytes
}

fn same(back: Back, received: &Received) -> bool {
    match (back, received) {
        (Back::Pong(sent), Received::Pong(pong)) => pong == sent,
        (Back::Packet, Received::Packet(Packet::Basic(packet))) => *packet == BasicPacket::PONG,
        (Back::Close(code), Received::Close(given)) => Some(code) == *given,
        _ => false,
    }
}

/// What comes back that should not, in words.
async fn run((why, frames, expected): Case, step: usize) -> Option<String> {
    let mut pair = online().await;
    for some in masked(frames).chunks(step) {
        pair.client.send_bytes(some).await;
        tokio::task::yield_now().await;
    }
    for back in expected {
        let received = pair.client.recv().await;
        if !same(*back, &received) {
            return Some(format!("{why}: expected {back:?}, got {received:?}"));
        }
    }
    if let Some(Back::Close(_)) = expected.last() {
        let after = pair.client.recv().await;
        return (after != Received::End).then(|| format!("{why}: {after:?} after the close"));
    }
    pair.client.send_frame(Opcode::Ping, "goes on").await;
    let last = pair.client.recv().await;
    (last != Received::Pong("goes on".into())).then(|| format!("{why}: {last:?} at the end"))
}

#[tokio::test(start_paused = true)]
async fn frames_are_answered_as_the_rfc_says_in_whole_and_byte_by_byte() {
    let mut wrong = Vec::new();
    for case in [PINGS, RESERVED, PIECES, TEXTS, CLOSES].concat() {
        for step in [1, usize::MAX] {
            wrong.extend(run(case, step).await);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(start_paused = true)]
async fn lengths_and_masks_are_those_of_the_rfc() {
    let mut wrong = Vec::new();
    for (why, bytes, code) in LENGTHS {
        let mut pair = online().await;
        pair.client.send_bytes(bytes).await;
        let received = pair.client.recv().await;
        if received != Received::Close(Some(*code)) {
            wrong.push(format!("{why}: expected {code}, got {received:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// RFC 6455 §7.4, and the registry of close codes that it founds [7.7, 7.9, 7.13].
#[tokio::test(start_paused = true)]
async fn a_close_code_is_one_that_may_be_sent() {
    let valid = [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
    let invalid = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let expected = (valid.into_iter().chain([3000, 3999, 4000, 4999]).map(|code| (code, code)))
        .chain(invalid.into_iter().map(|code| (code, 1002)));
    for (code, answer) in expected {
        let mut pair = online().await;
        pair.client.send_frame(Opcode::Close, code.to_be_bytes().to_vec()).await;
        assert_eq!(pair.client.recv().await, Received::Close(Some(answer)), "{code}");
        assert_eq!(pair.client.recv().await, Received::End, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_before_the_login_is_answered_at_once() {
    for framing in [Framing::WebSocket, Framing::LengthPrefixed] {
        let mut pair = Pair::new(framing);
        pair.client.send_frame(Opcode::Ping, "").await;
        assert_eq!(pair.client.recv().await, Received::Pong(Bytes::new()));
    }
}
