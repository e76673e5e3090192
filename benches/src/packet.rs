//! Client packets: a message from its fields to its bytes, and back.

use std::hint::black_box;

use bytes::Bytes;
use imago_proto::{
    LogicPacket, Packet, Status, command,
    msg::{Header, MessagePush, MessageReq, MessageResp},
};
use prost::Message;

use crate::{Run, Scenario};

/// Client packets.
pub const PACKET: &[Scenario] = &[
    Scenario::new("packet/encode-request", encode_request),
    Scenario::new("packet/encode-response", encode_response),
    Scenario::new("packet/encode-push", encode_push),
    Scenario::new("packet/decode-request", || decode::<MessageReq>(request(1))),
    Scenario::new("packet/decode-response", || {
        decode::<MessageResp>(pack_response(&header(), &answer()))
    }),
    Scenario::new("packet/decode-push", || decode::<MessagePush>(push())),
    Scenario::new("packet/peek-request", peek),
];

const TIMES: usize = 1000;
/// A message as people write them: a line of text.
const TEXT: &str = "The imago is the last stage of an insect: it has wings, and it does not grow.";
const CHANNEL: &str = "gateway-1_alice_0123456789abcdef";

/// A message to one account.
fn message(number: usize) -> MessageReq {
    MessageReq {
        r#type: 1,
        body: TEXT.to_owned(),
        extra: String::new(),
        client_message_id: format!("0198c0de-0000-7000-8000-{number:012x}"),
    }
}

/// Its bytes, as a client sends it.
pub(crate) fn request(number: usize) -> Bytes {
    pack_request(number, &message(number))
}

fn pack_request(number: usize, message: &MessageReq) -> Bytes {
    let body = message.encode_to_vec().into();
    LogicPacket::request(command::CHAT_USER_TALK, number as u32, "bob", body).encode()
}

/// The header of that request.
fn header() -> Header {
    let command = command::CHAT_USER_TALK.to_owned();
    Header { command, sequence: 1000, dest: "bob".to_owned(), ..Header::default() }
}

/// What is answered.
fn answer() -> MessageResp {
    MessageResp {
        message_id: 200_000_000_000,
        send_time: 1_760_000_000_000_000_000,
        conversation: "d:alice:bob".to_owned(),
        seq: 1000,
    }
}

fn pack_response(request: &Header, answer: &MessageResp) -> Bytes {
    let body = answer.encode_to_vec().into();
    let asked = Header {
        command: request.command.clone(),
        sequence: request.sequence,
        dest: request.dest.clone(),
        ..Header::default()
    };
    LogicPacket::response(asked, CHANNEL, Status::Success, body).encode()
}

/// What the receiver gets.
fn pushed() -> MessagePush {
    MessagePush {
        message_id: 200_000_000_000,
        r#type: 1,
        body: TEXT.to_owned(),
        sender: "alice".to_owned(),
        send_time: 1_760_000_000_000_000_000,
        conversation: "d:alice:bob".to_owned(),
        seq: 1000,
        ..MessagePush::default()
    }
}

/// Its bytes.
pub(crate) fn push() -> Bytes {
    pack_push(&pushed())
}

fn pack_push(message: &MessagePush) -> Bytes {
    LogicPacket::push(command::CHAT_USER_TALK, "bob", message.encode_to_vec().into()).encode()
}

fn encode_request() -> Run {
    let message = message(1);
    Run::times(TIMES, move |number| {
        black_box(pack_request(number, black_box(&message)));
    })
}

fn encode_response() -> Run {
    let (request, answer) = (header(), answer());
    Run::times(TIMES, move |_| {
        black_box(pack_response(black_box(&request), black_box(&answer)));
    })
}

fn encode_push() -> Run {
    let message = pushed();
    Run::times(TIMES, move |_| {
        black_box(pack_push(black_box(&message)));
    })
}

/// The whole of it, as a client or a handler reads it.
fn decode<M: Message + Default>(packet: Bytes) -> Run {
    Run::times(TIMES, move |_| {
        if let Ok(Packet::Logic(packet)) = Packet::decode(black_box(&packet).clone()) {
            let body = M::decode(packet.body.clone()).expect("encoded above");
            black_box((packet, body));
        }
    })
}

/// What a gateway reads of a request: not the body.
fn peek() -> Run {
    let packet = request(1);
    Run::times(TIMES, move |_| {
        black_box(Packet::decode(black_box(&packet).clone())).expect("encoded above");
    })
}
