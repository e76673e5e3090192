//! What clients are answered, and what others get, through a server without sockets.

mod conversations;
mod group_changes;
mod group_limits;
mod group_talk;
mod history;
mod large_group;
mod legacy;
mod refusals;
mod repeats;
mod scene;
mod sync;

use std::sync::Arc;

use imago_proto::{
    Status, command,
    msg::{
        Cursor, ErrorResp, LoginReq, LoginResp, MessageAckReq, MessageContentReq,
        MessageContentResp, MessageIndexReq, MessageIndexResp, MessagePush, MessageReq,
        MessageResp,
    },
};
use prost::Message;

use crate::{
    WorkLimits, handlers,
    store::{Device, Envelope, Page},
    support::{Broken, Sent, World, gateway, session},
};

fn text(body: &str) -> MessageReq {
    MessageReq { r#type: 1, body: body.to_owned(), ..MessageReq::default() }
}

/// Ann with two devices and Bob with two, on two gateways. The same number on another gateway is
/// another session.
fn world() -> World {
    let world = World::new();
    let ann = [session(1, "ann", ""), session(2, "ann", "phone")];
    let bob = [session(3, "bob", ""), session(2, "bob", "phone")];
    world.link(&gateway("a"), &[ann[0].clone(), ann[1].clone(), bob[0].clone()]);
    world.link(&gateway("b"), &[session(9, "cid", ""), bob[1].clone()]);
    world
}

/// Returns the messages that an account's unnamed device has not acknowledged.
async fn listed(world: &World, account: &str) -> Vec<Envelope> {
    let device = Device { app: "kim".into(), account: account.into(), name: "".into() };
    world.store.index(&device, Page::Unacknowledged).await.unwrap().messages
}

async fn refused(
    world: &World,
    command: &str,
    dest: &str,
    body: &impl Message,
) -> (Status, String) {
    let a = gateway("a");
    let answer = world.call((&a, 1), command, dest, body).await;
    let status = Status::from_code(answer.header.status).unwrap();
    assert_ne!(status, Status::Success, "{answer:?}");
    (status, ErrorResp::decode(answer.body).unwrap().message)
}

#[tokio::test]
async fn a_login_is_answered_with_channel_and_account() {
    let (world, a) = (world(), gateway("a"));
    let answer: LoginResp =
        world.success((&a, 1), command::LOGIN_SIGNIN, "", &LoginReq::default()).await;
    assert_eq!((answer.channel_id.as_str(), answer.account.as_str()), ("gate_ann_1", "ann"));
    let () = world.success((&a, 1), command::LOGIN_SIGNOUT, "", &()).await;
}

#[tokio::test]
async fn a_message_goes_to_every_device_of_both_sides_but_the_calling_one() {
    let (world, a) = (world(), gateway("a"));
    let answer: MessageResp =
        world.success((&a, 1), command::CHAT_USER_TALK, "bob", &text("hi")).await;
    assert_eq!(answer.seq, 1);
    let pushes = world.pushes().await;
    let mut seen = Vec::new();
    for (to, sessions, packet) in pushes {
        let header = &packet.header;
        assert_eq!((header.command.as_str(), header.flag, header.status), ("chat.user.talk", 2, 0));
        let push = MessagePush::decode(packet.body.clone()).unwrap();
        assert_eq!((push.body.as_str(), push.sender.as_str(), push.r#type), ("hi", "ann", 1));
        assert_eq!((push.message_id, push.send_time), (answer.message_id, answer.send_time));
        assert_eq!((&push.conversation, push.seq), (&answer.conversation, answer.seq));
        seen.push((to, sessions, header.dest.clone(), push.peer));
    }
    seen.sort();
    let expected = [("a", 2, "ann", "bob"), ("a", 3, "bob", ""), ("b", 2, "bob", "")];
    let expected = expected.map(|(to, session, dest, peer)| {
        (to.to_owned(), vec![session], dest.to_owned(), peer.to_owned())
    });
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_answer_leaves_before_any_push() {
    let (world, a) = (world(), gateway("a"));
    let _: MessageResp = world.success((&a, 1), command::CHAT_USER_TALK, "bob", &text("hi")).await;
    world.pushes().await;
    assert!(matches!(world.outlet.sent()[0], Sent::Reply { .. }));
}

#[tokio::test]
async fn a_message_to_oneself_goes_to_the_other_devices_only() {
    let (world, a) = (world(), gateway("a"));
    let _: MessageResp =
        world.success((&a, 1), command::CHAT_USER_TALK, "ann", &text("note")).await;
    let pushes = world.pushes().await;
    assert_eq!(pushes.len(), 1);
    assert_eq!((pushes[0].0.as_str(), &pushes[0].1), ("a", &vec![2]));
}

#[tokio::test]
async fn a_message_to_an_unknown_account_is_stored() {
    let (world, a) = (world(), gateway("a"));
    let answer: MessageResp =
        world.success((&a, 1), command::CHAT_USER_TALK, "unknown", &text("hi")).await;
    assert_eq!(listed(&world, "unknown").await[0].message_id, answer.message_id);
}

#[tokio::test]
async fn a_repeat_with_the_clients_own_id_is_answered_the_same_and_pushed_again() {
    let (world, a, b) = (world(), gateway("a"), gateway("b"));
    let request = MessageReq { client_message_id: "id-1".to_owned(), ..text("hi") };
    let first: MessageResp = world.success((&a, 1), command::CHAT_USER_TALK, "bob", &request).await;
    let before = world.pushes().await.len();
    let again: MessageResp = world.success((&a, 1), command::CHAT_USER_TALK, "bob", &request).await;
    assert_eq!(again, first);
    assert_eq!(world.pushes().await.len(), 2 * before);
    // Even under another destination, only the first receiver gets it.
    let elsewhere: MessageResp =
        world.success((&a, 1), command::CHAT_USER_TALK, "cid", &request).await;
    assert_eq!(elsewhere, first);
    let pushes = world.pushes().await;
    assert!(pushes.iter().all(|(_, _, packet)| packet.header.dest != "cid"));
    // The id is the device's own: another device, or another account, may use it too.
    let phone: MessageResp = world.success((&a, 2), command::CHAT_USER_TALK, "bob", &request).await;
    let cid: MessageResp = world.success((&b, 9), command::CHAT_USER_TALK, "bob", &request).await;
    assert!(phone.message_id > first.message_id && cid.message_id > phone.message_id);
}

#[tokio::test]
async fn a_request_that_a_gateway_repeats_is_stored_once() {
    let (world, a) = (world(), gateway("a"));
    let body = bytes::Bytes::from(text("hi").encode_to_vec());
    let forward = imago_proto::link::Forward {
        request: 77,
        session: 1,
        command: command::CHAT_USER_TALK.to_owned(),
        sequence: 3,
        dest: "bob".to_owned(),
        acked: Vec::new(),
    };
    for _ in 0..2 {
        imago_container::LogicRole::forward(&world.service, &a, forward.clone(), body.clone());
    }
    world.pushes().await;
    assert_eq!(listed(&world, "bob").await.len(), 1);
}

#[tokio::test]
async fn fields_over_their_limits_are_refused_by_name() {
    let world = world();
    let talk = |body: &str, extra: &str, id: &str| MessageReq {
        extra: extra.to_owned(),
        client_message_id: id.to_owned(),
        ..text(body)
    };
    // Characters, not bytes.
    let (ok, a) = (talk(&"é".repeat(5000), &"é".repeat(500), &"é".repeat(64)), gateway("a"));
    let _: MessageResp =
        world.success((&a, 1), command::CHAT_USER_TALK, &"é".repeat(60), &ok).await;
    let long = "x".repeat(61);
    let cases = [
        ("body", "bob", talk(&"é".repeat(5001), "", "")),
        ("extra", "bob", talk("", &"x".repeat(501), "")),
        ("client_message_id", "bob", talk("", "", &"x".repeat(65))),
        ("dest", long.as_str(), talk("hi", "", "")),
    ];
    for (field, dest, body) in cases {
        let (status, why) = refused(&world, command::CHAT_USER_TALK, dest, &body).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert!(why.starts_with(field), "{why}");
    }
    let (status, why) = refused(&world, command::CHAT_USER_TALK, "", &text("hi")).await;
    assert_eq!((status, why.as_str()), (Status::NoDestination, "dest is empty"));
}

#[tokio::test]
async fn bodies_that_do_not_decode_and_unknown_commands_are_refused_in_words() {
    let (world, a) = (world(), gateway("a"));
    for command in [command::CHAT_USER_TALK, command::CHAT_TALK_ACK, command::LOGIN_SIGNIN] {
        let request = world.forward((&a, 1), command, "bob", vec![0xff, 0xff].into());
        let answer = world.answer(request).await;
        assert_eq!(answer.header.status, Status::InvalidPacketBody.code());
        let why = ErrorResp::decode(answer.body).unwrap().message;
        assert!(why.contains("does not decode"), "{why}");
    }
    for unknown in ["", "chat.user.walk", "chat.group.walk", "my.own"] {
        let (status, why) = refused(&world, unknown, "bob", &text("hi")).await;
        assert_eq!((status, why.as_str()), (Status::NotImplemented, "unknown command"));
    }
}

#[tokio::test]
async fn a_client_syncs_page_by_page_and_acknowledges() {
    let (world, b) = (world(), gateway("b"));
    let mut ids = Vec::new();
    for body in ["one", "two", "three"] {
        let sent: MessageResp =
            world.success((&b, 9), command::CHAT_USER_TALK, "ann", &text(body)).await;
        ids.push(sent.message_id);
    }
    // A device that was away: nothing was pushed to it.
    world.link(&gateway("c"), &[session(1, "ann", "pad")]);
    let a = gateway("c");
    let index = async |message_id: i64| {
        let request = MessageIndexReq { message_id };
        let index: MessageIndexResp =
            world.success((&a, 1), command::CHAT_OFFLINE_INDEX, "", &request).await;
        index.indexes
    };
    let listed =
        async |id| index(id).await.into_iter().map(|entry| entry.message_id).collect::<Vec<_>>();
    let entry = index(0).await.remove(0);
    assert_eq!((entry.account_b.as_str(), entry.direction, entry.group.as_str()), ("cid", 0, ""));
    assert_eq!((entry.message_id, entry.seq), (ids[0], 1));
    assert!(!entry.conversation.is_empty());

    assert_eq!(listed(0).await, ids);
    // Past an id, and acknowledged up to it.
    assert_eq!(listed(ids[0]).await, ids[1..]);
    assert_eq!(listed(0).await, ids[1..]);
    assert_eq!(listed(-1).await, ids);
    assert_eq!(listed(0).await, ids[1..], "-1 acknowledged something");
    assert!(listed(ids[2]).await.is_empty());
    assert!(listed(0).await.is_empty());
    assert_eq!(listed(-5).await, ids);

    // Contents in the order asked, an entry for each.
    let message_ids = vec![ids[2], 5, ids[0]];
    let contents: MessageContentResp = world
        .success((&a, 1), command::CHAT_OFFLINE_CONTENT, "", &MessageContentReq { message_ids })
        .await;
    let bodies = contents.contents.iter().map(|entry| (entry.message_id, entry.body.as_str()));
    let expected = [(ids[2], "three"), (5, ""), (ids[0], "one")];
    assert_eq!(bodies.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn acks_move_by_id_and_by_sequence() {
    let (world, a, b) = (world(), gateway("a"), gateway("b"));
    let mut sent = Vec::new();
    for number in 0..4 {
        let talk = text(&number.to_string());
        let answer: MessageResp =
            world.success((&b, 9), command::CHAT_USER_TALK, "ann", &talk).await;
        sent.push(answer);
    }
    let left = async || listed(&world, "ann").await.len();
    let ack = async |ack: MessageAckReq| {
        let () = world.success((&a, 1), command::CHAT_TALK_ACK, "", &ack).await;
    };
    ack(MessageAckReq { message_id: sent[0].message_id, cursors: Vec::new() }).await;
    assert_eq!(left().await, 3);
    ack(MessageAckReq { message_id: -3, cursors: Vec::new() }).await;
    assert_eq!(left().await, 3);
    let cursor = Cursor { conversation: sent[0].conversation.clone(), seq: 3 };
    ack(MessageAckReq { message_id: 0, cursors: vec![cursor.clone()] }).await;
    assert_eq!(left().await, 1);
    let many = MessageAckReq { message_id: 0, cursors: vec![cursor; 1001] };
    let (status, _) = refused(&world, command::CHAT_TALK_ACK, "", &many).await;
    assert_eq!(status, Status::InvalidPacketBody);
}

#[tokio::test]
async fn one_to_two_hundred_contents_may_be_asked_for_as_far_as_they_fit_into_a_frame() {
    let (world, a) = (world(), gateway("a"));
    for count in [0, 201] {
        let request = MessageContentReq { message_ids: vec![1; count] };
        let (status, why) = refused(&world, command::CHAT_OFFLINE_CONTENT, "", &request).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert!(why.contains("expected 1 to 200"), "{why}");
    }
    let large = text(&"\u{1F40C}".repeat(5000));
    let sent: MessageResp = world.success((&a, 1), command::CHAT_USER_TALK, "bob", &large).await;
    let asking = |count| MessageContentReq { message_ids: vec![sent.message_id; count] };
    let (status, why) = refused(&world, command::CHAT_OFFLINE_CONTENT, "", &asking(200)).await;
    assert_eq!(status, Status::InvalidPacketBody);
    assert!(why.contains("too large"), "{why}");
    let some: MessageContentResp =
        world.success((&a, 1), command::CHAT_OFFLINE_CONTENT, "", &asking(40)).await;
    assert_eq!(some.contents.len(), 40);
}

#[tokio::test]
async fn a_failure_of_the_store_is_told_to_the_sender_alone() {
    let folder = tempfile::tempdir().unwrap();
    let world =
        World::on(Arc::<Broken>::default(), folder, handlers::router(), WorkLimits::default());
    world.link(&gateway("a"), &[session(1, "ann", ""), session(2, "bob", "")]);
    let (status, why) = refused(&world, command::CHAT_USER_TALK, "bob", &text("hi")).await;
    assert_eq!(status, Status::SystemException);
    assert!(!why.contains("secret"), "internals leak: {why}");
    assert!(world.pushes().await.is_empty());
    // A list that decodes, and is empty.
    let a = gateway("a");
    let index = MessageIndexReq { message_id: 0 };
    let answer = world.call((&a, 1), command::CHAT_OFFLINE_INDEX, "", &index).await;
    assert_eq!(answer.header.status, Status::SystemException.code());
    assert!(MessageIndexResp::decode(answer.body).unwrap().indexes.is_empty());
}
