//! The vectors of the client wire protocol, each in both directions: bytes to fields, fields to bytes.

use bytes::{Bytes, BytesMut};
use imago_proto::{
    BasicPacket, Frame, Limits, LogicPacket, Opcode, Packet, Status, command,
    msg::{
        ErrorResp, Flag, Header, KickoutNotify, LoginReq, LoginResp, MessageAckReq,
        MessageContentReq, MessageIndex, MessageIndexReq, MessageIndexResp, MessagePush,
        MessageReq, MessageResp,
    },
    tcp, ws,
};
use prost::Message;

const MESSAGE_ID: i64 = 1_628_644_843_872_655_000;
const SEND_TIME: i64 = 1_700_000_000_123_456_789;
const TEST1: &str = "gate01_test1_2";
const LOGIN_REQUEST: &str =
    "c311a365000000100a0c6c6f67696e2e7369676e696e18010000000a0a036162632203776562";

struct Vector {
    name: &'static str,
    hex: &'static str,
    header: Header,
    body: Body,
}

type Decodes = Box<dyn Fn(&[u8]) -> bool>;

/// A body of a known type: what decodes to it, and what it encodes to.
struct Body {
    bytes: Vec<u8>,
    decodes: Decodes,
}

fn body<M: Message + Default + PartialEq + 'static>(message: M) -> Body {
    Body {
        bytes: message.encode_to_vec(),
        decodes: Box::new(move |bytes| M::decode(bytes).is_ok_and(|decoded| decoded == message)),
    }
}

fn empty() -> Body {
    Body { bytes: Vec::new(), decodes: Box::new(<[u8]>::is_empty) }
}

fn request(command: &str, sequence: u32) -> Header {
    Header { command: command.into(), sequence, ..Header::default() }
}

fn response(command: &str, channel_id: &str, sequence: u32, status: Status) -> Header {
    let channel_id = channel_id.into();
    let flag = Flag::Response.into();
    Header { channel_id, flag, status: status.code(), ..request(command, sequence) }
}

fn to(dest: &str, header: Header) -> Header {
    Header { dest: dest.into(), ..header }
}

fn login_vectors() -> Vec<Vector> {
    vec![
        Vector {
            name: "login request",
            hex: LOGIN_REQUEST,
            header: request(command::LOGIN_SIGNIN, 1),
            body: body(LoginReq {
                token: "abc".into(),
                tags: vec!["web".into()],
                ..LoginReq::default()
            }),
        },
        Vector {
            name: "login OK",
            hex: "c311a365000000220a0c6c6f67696e2e7369676e696e120e6761746530315f74657374315f3218012001000000170a0e6761746530315f74657374315f3212057465737431",
            header: response(command::LOGIN_SIGNIN, TEST1, 1, Status::Success),
            body: body(LoginResp { channel_id: TEST1.into(), account: "test1".into() }),
        },
        Vector {
            name: "login refused 105",
            hex: "c311a365000000140a0c6c6f67696e2e7369676e696e18012001286900000000",
            header: response(command::LOGIN_SIGNIN, "", 1, Status::Unauthorized),
            body: empty(),
        },
        Vector {
            name: "kickout push",
            hex: "c311a365000000220a0c6c6f67696e2e7369676e696e120e6761746530315f74657374315f3318012002000000100a0e6761746530315f74657374315f32",
            header: Header {
                flag: Flag::Push.into(),
                ..response(command::LOGIN_SIGNIN, "gate01_test1_3", 1, Status::Success)
            },
            body: body(KickoutNotify { channel_id: TEST1.into() }),
        },
    ]
}

fn talk_vectors() -> Vec<Vector> {
    let talk = |sequence, status| response(command::CHAT_USER_TALK, TEST1, sequence, status);
    vec![
        Vector {
            name: "talk request",
            hex: "c311a365000000190a0e636861742e757365722e74616c6b1802320574657374320000000f0801120b68656c6c6f20776f726c64",
            header: to("test2", request(command::CHAT_USER_TALK, 2)),
            body: body(MessageReq {
                r#type: 1,
                body: "hello world".into(),
                ..MessageReq::default()
            }),
        },
        Vector {
            name: "talk response",
            hex: "c311a3650000002b0a0e636861742e757365722e74616c6b120e6761746530315f74657374315f321802200132057465737432000000140898adb4c2b4fb86cd1610959a97ece39fe7cb17",
            header: to("test2", talk(2, Status::Success)),
            body: body(MessageResp {
                message_id: MESSAGE_ID,
                send_time: SEND_TIME,
                ..MessageResp::default()
            }),
        },
        Vector {
            name: "talk push",
            hex: "c311a3650000002b0a0e636861742e757365722e74616c6b120e6761746530315f74657374315f3218022002320574657374320000002a0898adb4c2b4fb86cd1610011a0b68656c6c6f20776f726c642a05746573743130959a97ece39fe7cb17",
            header: Header { flag: Flag::Push.into(), ..to("test2", talk(2, Status::Success)) },
            body: body(MessagePush {
                message_id: MESSAGE_ID,
                r#type: 1,
                body: "hello world".into(),
                sender: "test1".into(),
                send_time: SEND_TIME,
                ..MessagePush::default()
            }),
        },
        Vector {
            name: "status 100 with a text",
            hex: "c311a365000000260a0e636861742e757365722e74616c6b120e6761746530315f74657374315f321803200128640000000f0a0d6465737420697320656d707479",
            header: talk(3, Status::NoDestination),
            body: body(ErrorResp { message: "dest is empty".into() }),
        },
    ]
}

fn offline_vectors() -> Vec<Vector> {
    let index = |message_id, send_time, group: &str| MessageIndex {
        message_id,
        send_time,
        account_b: "test1".into(),
        group: group.into(),
        ..MessageIndex::default()
    };
    vec![
        Vector {
            name: "status 404, empty body",
            hex: "c311a365000000260a0d636861742e74616c6b2e61636b120e6761746530315f74657374315f321804200128940300000000",
            header: response(command::CHAT_TALK_ACK, TEST1, 4, Status::SessionNotFound),
            body: empty(),
        },
        Vector {
            name: "ack request",
            hex: "c311a365000000110a0d636861742e74616c6b2e61636b18040000000a0898adb4c2b4fb86cd16",
            header: request(command::CHAT_TALK_ACK, 4),
            body: body(MessageAckReq { message_id: MESSAGE_ID, ..MessageAckReq::default() }),
        },
        Vector {
            name: "index request, cold start",
            hex: "c311a365000000160a12636861742e6f66666c696e652e696e646578180500000000",
            header: request(command::CHAT_OFFLINE_INDEX, 5),
            body: body(MessageIndexReq::default()),
        },
        Vector {
            name: "index response, 2 entries",
            hex: "c311a365000000280a12636861742e6f66666c696e652e696e646578120e6761746530315f74657374325f33180520010000003e0a1b0898adb4c2b4fb86cd1618959a97ece39fe7cb17220574657374310a1f0899adb4c2b4fb86cd1618969a97ece39fe7cb17220574657374332a026731",
            header: response(command::CHAT_OFFLINE_INDEX, "gate01_test2_3", 5, Status::Success),
            body: body(MessageIndexResp {
                indexes: vec![
                    index(MESSAGE_ID, SEND_TIME, ""),
                    MessageIndex {
                        account_b: "test3".into(),
                        ..index(MESSAGE_ID + 1, SEND_TIME + 1, "g1")
                    },
                ],
            }),
        },
        Vector {
            name: "content request, 2 ids packed",
            hex: "c311a365000000180a14636861742e6f66666c696e652e636f6e74656e741806000000140a1299adb4c2b4fb86cd1698adb4c2b4fb86cd16",
            header: request(command::CHAT_OFFLINE_CONTENT, 6),
            body: body(MessageContentReq { message_ids: vec![MESSAGE_ID + 1, MESSAGE_ID] }),
        },
    ]
}

fn unhex(hex: &str) -> Bytes {
    let digit = |c: char| c.to_digit(16).expect("vectors are hexadecimal") as u8;
    let digits: Vec<u8> = hex.chars().map(digit).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn check(vectors: Vec<Vector>) {
    for Vector { name, hex, header, body } in vectors {
        let bytes = unhex(hex);
        let Ok(Packet::Logic(decoded)) = Packet::decode(bytes.clone()) else {
            panic!("{name}: does not decode");
        };
        assert_eq!(decoded.header, header, "{name}: header");
        assert!((body.decodes)(&decoded.body), "{name}: body");
        let encoded = LogicPacket { header, body: body.bytes.into() };
        assert_eq!(encoded.encoded_len(), bytes.len(), "{name}: length");
        assert_eq!(encoded.encode(), bytes, "{name}: encoded");
    }
}

#[test]
fn login_and_kickout_have_exactly_these_bytes() {
    check(login_vectors());
}

#[test]
fn talk_has_exactly_these_bytes() {
    check(talk_vectors());
}

#[test]
fn ack_and_offline_have_exactly_these_bytes() {
    check(offline_vectors());
}

/// Frames and basic packets: name and bytes.
const FRAMES: [(&str, &str); 6] = [
    ("basic ping", "c315a76500010000"),
    ("basic pong", "c315a76500020000"),
    (
        "login request in a masked WebSocket frame, key 01020304",
        "82a601020304c213a061010203140b0e6f6b666b6d2a726b646a686c1b050102030e0b016266622000736460",
    ),
    ("TCP ping", "0900000000"),
    ("TCP pong", "0a00000000"),
    ("TCP close", "0800000000"),
];

fn frame(name: &str) -> Bytes {
    let found = FRAMES.iter().find(|(known, _)| *known == name);
    unhex(found.expect("a known name").1)
}

#[test]
fn basic_packets_have_exactly_these_bytes() {
    for (name, packet) in [("basic ping", BasicPacket::PING), ("basic pong", BasicPacket::PONG)] {
        assert_eq!(Packet::decode(frame(name)), Ok(Packet::Basic(packet.clone())));
        assert_eq!(packet.encode(), frame(name));
    }
}

#[test]
fn a_masked_login_frame_has_exactly_these_bytes() {
    let wire = frame("login request in a masked WebSocket frame, key 01020304");
    let frame = Frame::binary(unhex(LOGIN_REQUEST));
    let mut decoder = ws::Decoder::new(ws::Peer::Client, Limits::default());
    let mut buffer = BytesMut::from(&*wire);
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(frame.clone())));
    assert!(buffer.is_empty());
    let mut encoded = BytesMut::new();
    ws::encode_masked(&frame, [1, 2, 3, 4], &mut encoded);
    assert_eq!(encoded, wire);
}

#[test]
fn tcp_control_frames_have_exactly_these_bytes() {
    for (name, opcode) in
        [("TCP ping", Opcode::Ping), ("TCP pong", Opcode::Pong), ("TCP close", Opcode::Close)]
    {
        let (wire, frame) = (frame(name), Frame { opcode, payload: Bytes::new() });
        let mut buffer = BytesMut::from(&*wire);
        let mut decoder = tcp::Decoder::new(Limits::default());
        assert_eq!(decoder.decode(&mut buffer), Ok(Some(frame.clone())));
        let mut encoded = BytesMut::new();
        tcp::encode(&frame, &mut encoded).expect("an empty payload fits");
        assert_eq!(encoded, wire);
    }
}

/// Returns `text` with what stands between the two markers of `part` replaced.
fn with_part(text: &str, part: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- begin {part} -->\n"), format!("<!-- end {part} -->"));
    let (before, rest) = text.split_once(&begin).expect("the marker of the beginning");
    let (_, after) = rest.split_once(&end).expect("the marker of the end");
    format!("{before}{begin}{content}{end}{after}")
}

#[test]
fn the_document_of_the_wire_holds_these_vectors_and_the_messages() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../docs/wire.md");
    let messages =
        std::fs::read_to_string(root.join("proto/client.proto")).expect("a readable file");
    let mut vectors = "| name | bytes |\n| --- | --- |\n".to_owned();
    let packets = [login_vectors(), talk_vectors(), offline_vectors()];
    let packets = packets.iter().flatten().map(|vector| (vector.name, vector.hex));
    for (name, hex) in packets.chain(FRAMES) {
        vectors.push_str(&format!("| {name} | `{hex}` |\n"));
    }
    let document = std::fs::read_to_string(&path).expect("a readable file");
    let expected = with_part(&document, "vectors", &vectors);
    let expected = with_part(&expected, "messages", &format!("```proto\n{messages}```\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).expect("a writable file");
        return;
    }
    assert!(document == expected, "docs/wire.md is out of date: run this test with UPDATE_DOCS=1");
}
