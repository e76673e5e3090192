//! What a client reads of a packet: no more than it counts and checks, and no text is copied, so
//! that the servers are measured and not the load.

use anyhow::ensure;
use bytes::{Buf, Bytes};
use imago_proto::{command, msg::Flag};
use prost::Message;

/// What a request's answer or push begins with (client wire, section 2).
const LOGIC_MAGIC: u32 = 0xc311_a365;

/// A packet, as much as matters of it.
#[derive(Debug, PartialEq)]
pub(super) enum Glance {
    /// The answer to a request.
    Answer { is_ack: bool, sequence: u32, status: u32 },
    /// A message for this client.
    Message(Pushed),
    /// Anything else: a heartbeat, a group's news.
    Other,
}

/// A message for this client.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pushed {
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) body: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    extra: Bytes,
    #[prost(bytes = "bytes", tag = "100")]
    pub(super) conversation: Bytes,
    #[prost(uint64, tag = "101")]
    pub(super) seq: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Head {
    #[prost(bytes = "bytes", tag = "1")]
    command: Bytes,
    #[prost(uint32, tag = "3")]
    sequence: u32,
    #[prost(enumeration = "Flag", tag = "4")]
    flag: i32,
    #[prost(uint32, tag = "5")]
    status: u32,
}

impl Glance {
    /// Looks at a whole packet.
    pub(super) fn at(mut packet: Bytes) -> anyhow::Result<Self> {
        if packet.try_get_u32()? != LOGIC_MAGIC {
            return Ok(Self::Other);
        }
        let head = Head::decode(block(&mut packet)?)?;
        let body = block(&mut packet)?;
        let is = |command: &str| head.command == command;
        if head.flag() != Flag::Push {
            let is_ack = is(command::CHAT_TALK_ACK);
            return Ok(Self::Answer { is_ack, sequence: head.sequence, status: head.status });
        }
        if is(command::CHAT_USER_TALK) || is(command::CHAT_GROUP_TALK) {
            return Ok(Self::Message(Pushed::decode(body)?));
        }
        Ok(Self::Other)
    }
}

impl Pushed {
    /// Whether it is of the run with this mark, not left over from an earlier one.
    pub(super) fn is_of(&self, mark: &str) -> bool {
        self.extra == mark
    }
}

/// A length, and as many bytes.
fn block(packet: &mut Bytes) -> anyhow::Result<Bytes> {
    let length = packet.try_get_u32()? as usize;
    ensure!(length <= packet.len(), "a packet that ends too early");
    Ok(packet.split_to(length))
}

#[cfg(test)]
mod tests {
    use imago_proto::{
        BasicPacket, LogicPacket, Status,
        msg::{Header, MessagePush},
    };

    use super::*;

    #[test]
    fn what_matters_is_read_as_it_was_written() {
        let asked = Header { command: "a.b".to_owned(), sequence: 7, ..Header::default() };
        let answer = LogicPacket::response(&asked, "ch", Status::SystemException, Bytes::new());
        let expected = Glance::Answer { is_ack: false, sequence: 7, status: 300 };
        assert_eq!(Glance::at(answer.encode()).unwrap(), expected);

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
        let (conversation, extra) = ("d1".into(), "run".into());
        let expected = Pushed { body: "hello".into(), extra, conversation, seq: 9 };
        assert!(expected.is_of("run") && !expected.is_of("walk"));
        assert_eq!(Glance::at(talk.encode()).unwrap(), Glance::Message(expected));

        let news = LogicPacket::push(command::CHAT_GROUP_CREATE, "dest", body);
        for other in [news.encode(), BasicPacket::PONG.encode()] {
            assert_eq!(Glance::at(other).unwrap(), Glance::Other);
        }
    }

    #[test]
    fn a_packet_that_is_cut_off_is_an_error() {
        let whole = LogicPacket::push(command::CHAT_USER_TALK, "dest", Bytes::new()).encode();
        for end in 0..whole.len() {
            assert!(Glance::at(whole.slice(..end)).is_err(), "{end}");
        }
    }
}
