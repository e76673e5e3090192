//! What all these commands do with bodies that say nothing, and where the store fails.

use bytes::Bytes;
use imago_proto::{
    Status, command,
    msg::{ErrorResp, GroupCreateResp, HistoryReq, MessageResp},
};
use prost::Message;

use super::{
    scene::{ANN, DAN, Scene, joining, quitting},
    text,
};

/// All commands that are tested here, with a destination.
const COMMANDS: [(&str, &str); 12] = [
    (command::CHAT_GROUP_CREATE, ""),
    (command::CHAT_GROUP_JOIN, ""),
    (command::CHAT_GROUP_QUIT, ""),
    (command::CHAT_GROUP_DETAIL, ""),
    (command::CHAT_GROUP_MEMBERS, ""),
    (command::CHAT_GROUP_TALK, "g1"),
    (command::CHAT_USER_TALK, "bob"),
    (command::CHAT_TALK_ACK, ""),
    (command::CHAT_SYNC, ""),
    (command::CHAT_HISTORY, ""),
    (command::CHAT_CONVERSATIONS, ""),
    (command::CHAT_OFFLINE_CONTENT, ""),
];

#[tokio::test]
async fn a_body_that_does_not_decode_is_refused_in_words() {
    let scene = Scene::new();
    let group = scene.group(ANN, &[]).await;
    assert_eq!(group, "g1");
    // Not a field; a field that ends too early; a text that is none; a string as a number's type.
    let wrong: [&[u8]; 4] =
        [&[0xff, 0xff], &[0x0a, 0x05, 0x61], &[0x0a, 0x01, 0xff], &[0x0d, 0x01]];
    for (command, dest) in COMMANDS {
        for body in wrong {
            let answer = scene.raw(ANN, command, dest, Bytes::from_static(body)).await;
            let why = ErrorResp::decode(answer.body).unwrap().message;
            assert_eq!(answer.header.status, Status::InvalidPacketBody.code(), "{command}");
            assert!(why.contains("does not decode"), "{command} {body:?}: {why}");
        }
    }
    assert!(scene.pushes().await.is_empty());
}

#[tokio::test]
async fn an_empty_body_asks_for_the_defaults_where_there_are_any() {
    let scene = Scene::new();
    let group = scene.group(ANN, &[]).await;
    let made: GroupCreateResp = scene.ask(DAN, command::CHAT_GROUP_CREATE, "", &()).await;
    assert_eq!(scene.members(DAN, &made.group_id).await, ["dan"]);
    for command in [command::CHAT_SYNC, command::CHAT_TALK_ACK, command::CHAT_CONVERSATIONS] {
        let answer = scene.raw(ANN, command, "", Bytes::new()).await;
        assert_eq!(answer.header.status, 0, "{command}");
    }
    // A message may be empty.
    let sent: MessageResp = scene.ask(ANN, command::CHAT_GROUP_TALK, &group, &()).await;
    assert_eq!(sent.seq, 1);
    for (command, field) in [
        (command::CHAT_GROUP_JOIN, "account"),
        (command::CHAT_GROUP_QUIT, "account"),
        (command::CHAT_GROUP_DETAIL, "group_id"),
        (command::CHAT_GROUP_MEMBERS, "group_id"),
        (command::CHAT_HISTORY, "conversation"),
        (command::CHAT_OFFLINE_CONTENT, "message_ids"),
    ] {
        let (status, why) = scene.refused(ANN, command, "", &()).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert!(why.starts_with(field), "{why}");
    }
    assert_eq!(scene.members(ANN, &group).await, ["ann"]);
}

#[tokio::test]
async fn fields_that_the_server_does_not_know_are_skipped() {
    let scene = Scene::new();
    let group = scene.group(ANN, &[]).await;
    // Field 200, a varint.
    let unknown = [0xc0, 0x0c, 0x01];
    let with_unknown = |body: Vec<u8>| Bytes::from([body.as_slice(), &unknown].concat());
    let asked = [
        (command::CHAT_GROUP_JOIN, "", joining("bob", &group).encode_to_vec()),
        (command::CHAT_GROUP_TALK, group.as_str(), text("hi").encode_to_vec()),
        (command::CHAT_SYNC, "", Vec::new()),
        (command::CHAT_GROUP_QUIT, "", quitting("bob", &group).encode_to_vec()),
    ];
    for (command, dest, body) in asked {
        let answer = scene.raw(ANN, command, dest, with_unknown(body)).await;
        assert_eq!(answer.header.status, 0, "{command}");
    }
}

#[tokio::test]
async fn a_failure_of_the_store_is_told_to_the_caller_alone_which_may_retry() {
    let scene = Scene::broken();
    let group =
        imago_proto::msg::GroupGetReq { group_id: "g1".to_owned(), skip: 0 }.encode_to_vec();
    let cursors = vec![super::scene::cursor("g1", 1)];
    let ack = imago_proto::msg::MessageAckReq { message_id: 0, cursors }.encode_to_vec();
    let history = HistoryReq { peer: "bob".to_owned(), ..HistoryReq::default() }.encode_to_vec();
    let asked = [
        (command::CHAT_GROUP_CREATE, "", Vec::new()),
        (command::CHAT_GROUP_JOIN, "", joining("bob", "g1").encode_to_vec()),
        (command::CHAT_GROUP_QUIT, "", quitting("ann", "g1").encode_to_vec()),
        (command::CHAT_GROUP_DETAIL, "", group.clone()),
        (command::CHAT_GROUP_MEMBERS, "", group),
        (command::CHAT_GROUP_TALK, "g1", text("hi").encode_to_vec()),
        (command::CHAT_TALK_ACK, "", ack),
        (command::CHAT_SYNC, "", Vec::new()),
        (command::CHAT_HISTORY, "", history),
        (command::CHAT_CONVERSATIONS, "", Vec::new()),
    ];
    for (command, dest, body) in asked {
        let answer = scene.raw(ANN, command, dest, body.into()).await;
        assert_eq!(answer.header.status, Status::SystemException.code(), "{command}");
        let why = ErrorResp::decode(answer.body).unwrap().message;
        assert!(!why.contains("secret") && why.contains("try again"), "{command}: {why}");
    }
    assert!(scene.pushes().await.is_empty());
}

#[tokio::test]
async fn unknown_commands_of_groups_are_refused() {
    let scene = Scene::new();
    for unknown in ["chat.group", "chat.group.", "chat.group.CREATE", "chat.sync.more", "chat"] {
        let refused = scene.refused(ANN, unknown, "", &()).await;
        assert_eq!(refused, (Status::NotImplemented, "unknown command".to_owned()));
    }
}
