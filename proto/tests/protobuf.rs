//! What we accept beyond what we write, and what clients of other ages make of our messages.

use bytes::Bytes;
use imago_proto::{
    LogicPacket, Packet, PacketError, Status, command,
    msg::{
        Cursor, ErrorResp, Header, MessageAckReq, MessageContentReq, MessageIndex,
        MessageIndexResp, MessagePush, MessageReq, MessageResp,
    },
};
use prost::Message;

/// The messages as clients know them that were written before our extensions.
mod old {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MessageReq {
        #[prost(int32, tag = "1")]
        pub(super) kind: i32,
        #[prost(string, tag = "2")]
        pub(super) body: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MessageResp {
        #[prost(int64, tag = "1")]
        pub(super) message_id: i64,
        #[prost(int64, tag = "2")]
        pub(super) send_time: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MessagePush {
        #[prost(int64, tag = "1")]
        pub(super) message_id: i64,
        #[prost(string, tag = "5")]
        pub(super) sender: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MessageIndex {
        #[prost(int64, tag = "1")]
        pub(super) message_id: i64,
        #[prost(string, tag = "4")]
        pub(super) account_b: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MessageAckReq {
        #[prost(int64, tag = "1")]
        pub(super) message_id: i64,
    }
}

/// Decodes `new` as an old party would, and that party's bytes as we do.
fn cross<New: Message, Old: Message + Default>(new: &New) -> Old {
    Old::decode(&*new.encode_to_vec()).expect("unknown fields are skipped")
}

#[test]
fn an_old_client_skips_our_extension_fields() {
    let (conversation, seq) = ("d:a:b".to_owned(), 7);
    let resp = MessageResp { message_id: 1, send_time: 2, conversation: conversation.clone(), seq };
    assert_eq!(
        cross::<_, old::MessageResp>(&resp),
        old::MessageResp { message_id: 1, send_time: 2 }
    );
    let push = MessagePush {
        message_id: 3,
        sender: "alice".into(),
        conversation: conversation.clone(),
        seq,
        peer: "bob".into(),
        ..MessagePush::default()
    };
    assert_eq!(
        cross::<_, old::MessagePush>(&push),
        old::MessagePush { message_id: 3, sender: "alice".into() }
    );
    let index = MessageIndex {
        message_id: 4,
        account_b: "bob".into(),
        conversation,
        seq,
        ..MessageIndex::default()
    };
    assert_eq!(
        cross::<_, old::MessageIndex>(&index),
        old::MessageIndex { message_id: 4, account_b: "bob".into() }
    );
}

#[test]
fn an_old_server_skips_our_extension_fields() {
    let req = MessageReq {
        r#type: 1,
        body: "hi".into(),
        client_message_id: "an id".into(),
        ..MessageReq::default()
    };
    assert_eq!(cross::<_, old::MessageReq>(&req), old::MessageReq { kind: 1, body: "hi".into() });
    let cursors = vec![Cursor { conversation: "c".into(), seq: 9 }];
    let ack = MessageAckReq { message_id: 5, cursors };
    assert_eq!(cross::<_, old::MessageAckReq>(&ack), old::MessageAckReq { message_id: 5 });
}

#[test]
fn what_an_old_client_writes_reads_as_absent_extensions() {
    let old = old::MessageReq { kind: 1, body: "hi".into() };
    let req = MessageReq::decode(&*old.encode_to_vec()).expect("decodes");
    assert_eq!(req.client_message_id, "");
    let old = old::MessageAckReq { message_id: 5 };
    let ack = MessageAckReq::decode(&*old.encode_to_vec()).expect("decodes");
    assert!(ack.cursors.is_empty());
}

#[test]
fn unpacked_and_mixed_repeated_values_are_accepted() {
    let unpacked = [0x08, 1, 0x08, 0xac, 0x02];
    let request = MessageContentReq::decode(&unpacked[..]).expect("unpacked");
    assert_eq!(request.message_ids, [1, 300]);
    let mixed = [0x0a, 2, 5, 6, 0x08, 7];
    let request = MessageContentReq::decode(&mixed[..]).expect("mixed");
    assert_eq!(request.message_ids, [5, 6, 7]);
    assert_eq!(request.encode_to_vec(), [0x0a, 3, 5, 6, 7], "we write packed");
}

#[test]
fn explicit_defaults_are_accepted_and_never_written() {
    let explicit = [0x0a, 0, 0x12, 0, 0x18, 0, 0x20, 0, 0x28, 0, 0x32, 0];
    let header = Header::decode(&explicit[..]).expect("explicit defaults");
    assert_eq!(header, Header::default());
    assert!(header.encode_to_vec().is_empty());
}

#[test]
fn fields_are_written_in_ascending_order_whatever_order_they_came_in() {
    let descending = [0x32, 1, b'd', 0x18, 4, 0x0a, 1, b'c'];
    let header = Header::decode(&descending[..]).expect("any order is legal");
    assert_eq!(header.encode_to_vec(), [0x0a, 1, b'c', 0x18, 4, 0x32, 1, b'd']);
}

#[test]
fn unknown_statuses_and_flags_survive() {
    let header = Header { status: 777, flag: 9, ..Header::default() };
    assert_eq!(Header::decode(&*header.encode_to_vec()), Ok(header));
}

#[test]
fn invalid_utf8_is_refused_in_bodies_and_headers() {
    assert!(MessageReq::decode(&[0x12, 2, 0xc3, 0x28][..]).is_err());
    let packet = [0xc3, 0x11, 0xa3, 0x65, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe, 0, 0, 0, 0].as_slice();
    assert!(matches!(Packet::decode(Bytes::from_static(packet)), Err(PacketError::Header(_))));
}

#[test]
fn a_refused_offline_index_reads_as_an_empty_list() {
    let refusal = |command: &str| {
        let request = Header { command: command.to_owned(), sequence: 7, ..Header::default() };
        LogicPacket::refusal(request, "channel", Status::SystemException, "busy, try again later")
    };
    let index = refusal(command::CHAT_OFFLINE_INDEX);
    assert_eq!((index.header.status, index.header.sequence), (300, 7));
    assert_eq!(MessageIndexResp::decode(index.body), Ok(MessageIndexResp::default()));
    let ack = ErrorResp::decode(refusal(command::CHAT_TALK_ACK).body).unwrap();
    assert_eq!(ack.message, "busy, try again later");
}
