//! What a client reads of a packet: no more than it counts and checks, and no text is copied, so
//! that the servers are measured and not the load.

use anyhow::Context;
use bytes::Buf;
use imago_proto::{command, msg::Flag};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What a request's answer or push begins with (docs/wire.md, "Packets").
const LOGIC_MAGIC: u32 = 0xc311_a365;

/// A packet, as much as matters of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Glance<'a> {
    /// The answer to a request.
    Answer { is_ack: bool, sequence: u32, status: u32 },
    /// A message for this client.
    Message(Pushed<'a>),
    /// Anything else: a heartbeat, a group's news.
    Other,
}

/// A message for this client.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pushed<'a> {
    pub(crate) body: &'a [u8],
    extra: &'a [u8],
    pub(crate) conversation: &'a [u8],
    pub(crate) seq: u64,
}

/// A header, as much as matters of it.
#[derive(Default)]
struct Head<'a> {
    command: &'a [u8],
    sequence: u32,
    flag: i32,
    status: u32,
}

/// What a field holds.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Glance<'a> {
    /// Looks at a whole packet.
    pub(crate) fn at(mut packet: &'a [u8]) -> anyhow::Result<Self> {
        if packet.try_get_u32()? != LOGIC_MAGIC {
            return Ok(Self::Other);
        }
        let head = Head::read(block(&mut packet)?)?;
        let body = block(&mut packet)?;
        let is = |command: &str| head.command == command.as_bytes();
        if head.flag != Flag::Push as i32 {
            let is_ack = is(command::CHAT_TALK_ACK);
            return Ok(Self::Answer { is_ack, sequence: head.sequence, status: head.status });
        }
        if is(command::CHAT_USER_TALK) || is(command::CHAT_GROUP_TALK) {
            return Ok(Self::Message(Pushed::read(body)?));
        }
        Ok(Self::Other)
    }
}

impl<'a> Head<'a> {
    fn read(mut bytes: &'a [u8]) -> anyhow::Result<Self> {
        let mut head = Self::default();
        while let Some(field) = field(&mut bytes)? {
            // Numbers are cut as protobuf's are.
            match field {
                (1, Value::Bytes(command)) => head.command = command,
                (3, Value::Number(sequence)) => head.sequence = sequence as u32,
                (4, Value::Number(flag)) => head.flag = flag as i32,
                (5, Value::Number(status)) => head.status = status as u32,
                _ => {}
            }
        }
        Ok(head)
    }
}

impl<'a> Pushed<'a> {
    fn read(mut bytes: &'a [u8]) -> anyhow::Result<Self> {
        let mut pushed = Self::default();
        while let Some(field) = field(&mut bytes)? {
            match field {
                (3, Value::Bytes(body)) => pushed.body = body,
                (4, Value::Bytes(extra)) => pushed.extra = extra,
                (100, Value::Bytes(conversation)) => pushed.conversation = conversation,
                (101, Value::Number(seq)) => pushed.seq = seq,
                _ => {}
            }
        }
        Ok(pushed)
    }

    /// Whether it is of the run with this mark, not left over from an earlier one.
    pub(crate) fn is_of(&self, mark: &str) -> bool {
        self.extra == mark.as_bytes()
    }

    /// The conversation, as an acknowledgement names it.
    pub(crate) fn conversation(&self) -> anyhow::Result<String> {
        Ok(std::str::from_utf8(self.conversation)?.to_owned())
    }
}

/// The next number or text of a protobuf message, with its tag; others are passed over.
fn field<'a>(bytes: &mut &'a [u8]) -> anyhow::Result<Option<(u32, Value<'a>)>> {
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(bytes)?;
        match wire_type {
            WireType::Varint => return Ok(Some((tag, Value::Number(decode_varint(bytes)?)))),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(bytes)?)?;
                return Ok(Some((tag, Value::Bytes(cut(bytes, length)?))));
            }
            other => skip_field(other, tag, bytes, DecodeContext::default())?,
        }
    }
    Ok(None)
}

/// A length, and as many bytes.
fn block<'a>(packet: &mut &'a [u8]) -> anyhow::Result<&'a [u8]> {
    let length = packet.try_get_u32()? as usize;
    cut(packet, length)
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> anyhow::Result<&'a [u8]> {
    bytes.split_off(..length).context("a packet that ends too early")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use imago_proto::{
        BasicPacket, LogicPacket, Status,
        msg::{Header, MessagePush},
    };
    use prost::Message;

    use super::*;

    #[test]
    fn what_matters_is_read_as_it_was_written() {
        let asked = Header { command: "a.b".to_owned(), sequence: 7, ..Header::default() };
        let answer = LogicPacket::response(asked, "ch", Status::SystemException, Bytes::new());
        let expected = Glance::Answer { is_ack: false, sequence: 7, status: 300 };
        assert_eq!(Glance::at(&answer.encode()).unwrap(), expected);

        let push = MessagePush {
            message_id: 1 << 60,
            body: "hello".to_owned(),
            extra: "run".to_owned(),
            conversation: "d1".to_owned(),
            seq: 9,
            ..MessagePush::default()
        };
        let body = Bytes::from(push.encode_to_vec());
        let talk = LogicPacket::push(command::CHAT_GROUP_TALK, "dest", body.clone());
        let (conversation, extra) = (b"d1", b"run");
        let expected = Pushed { body: b"hello", extra, conversation, seq: 9 };
        assert!(expected.is_of("run") && !expected.is_of("walk"));
        assert_eq!(Glance::at(&talk.encode()).unwrap(), Glance::Message(expected));

        let news = LogicPacket::push(command::CHAT_GROUP_CREATE, "dest", body);
        for other in [news.encode(), BasicPacket::PONG.encode()] {
            assert_eq!(Glance::at(&other).unwrap(), Glance::Other);
        }
    }

    #[test]
    fn a_packet_that_is_cut_off_is_an_error() {
        let whole = LogicPacket::push(command::CHAT_USER_TALK, "dest", Bytes::new()).encode();
        for end in 0..whole.len() {
            assert!(Glance::at(&whole[..end]).is_err(), "{end}");
        }
    }
}
