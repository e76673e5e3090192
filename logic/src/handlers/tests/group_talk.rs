//! Who gets what is said in a group.

use imago_proto::{
    Status, command,
    msg::{MessageContentReq, MessageContentResp, MessagePush, MessageReq, MessageResp},
};

use super::{
    scene::{ANN, ANN_PHONE, BOB, BOB_PHONE, CID, DAN, OTHER_ANN, Scene, bodies, cursor, keyed},
    text,
};
use crate::{GroupRules, support::Sent};

#[tokio::test]
async fn a_message_to_a_group_goes_to_all_devices_of_all_members_but_the_calling_one() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob", "cid", "zoe"]).await;
    let talk = MessageReq { r#type: 2, extra: "x".to_owned(), ..text("hi") };
    let answer: MessageResp = scene.ask(ANN, command::CHAT_GROUP_TALK, &group, &talk).await;
    assert_eq!((answer.conversation.as_str(), answer.seq), (group.as_str(), 1));
    assert!(answer.message_id >= answer.send_time && answer.send_time > 1_700_000_000_000_000_000);
    let to = [ANN_PHONE, BOB, BOB_PHONE, CID];
    let heard: MessagePush = scene.heard_by(&to, command::CHAT_GROUP_TALK, &group).await;
    let expected = MessagePush {
        message_id: answer.message_id,
        r#type: 2,
        body: "hi".to_owned(),
        extra: "x".to_owned(),
        sender: "ann".to_owned(),
        send_time: answer.send_time,
        conversation: group.clone(),
        seq: 1,
        peer: String::new(),
        group: group.clone(),
    };
    assert_eq!(heard, expected);
    // All members find it at their next sync, even if they were not connected.
    for who in [ANN, BOB, CID] {
        assert_eq!(scene.sync(who, &[], 0).await.messages, std::slice::from_ref(&expected));
    }
}

#[tokio::test]
async fn the_answer_to_a_group_talk_leaves_before_its_pushes() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let before = scene.world.outlet.sent().len();
    scene.say(ANN, &group, "hi").await;
    scene.pushes().await;
    let sent = scene.world.outlet.sent();
    let sent = &sent[before..];
    assert!(matches!(sent[0], Sent::Reply { .. }));
    assert!(sent[1..].iter().all(|sent| matches!(sent, Sent::Push { .. })) && sent.len() > 1);
}

#[tokio::test]
async fn who_is_in_no_group_talks_to_none() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let (status, why) = scene.refused(DAN, command::CHAT_GROUP_TALK, &group, &text("hi")).await;
    assert_eq!((status, why.as_str()), (Status::Unauthorized, "not a member of the group"));
    scene.quit(BOB, "bob", &group).await;
    let (status, _) = scene.refused(BOB, command::CHAT_GROUP_TALK, &group, &text("hi")).await;
    assert_eq!(status, Status::Unauthorized);
    let (status, _) = scene.refused(OTHER_ANN, command::CHAT_GROUP_TALK, &group, &text("hi")).await;
    assert_eq!(status, Status::InvalidPacketBody);
    // Nothing of that was stored: the next one is the first.
    assert_eq!(scene.say(ANN, &group, "first").await.seq, 1);
}

#[tokio::test]
async fn where_it_is_allowed_a_stranger_talks_to_the_members_and_hears_nothing() {
    let scene = Scene::ruled(GroupRules { members_max: 10_000, open_talk: true });
    let group = scene.group(ANN, &["bob"]).await;
    scene.say(DAN, &group, "hi").await;
    let to = [ANN, ANN_PHONE, BOB, BOB_PHONE];
    let heard: MessagePush = scene.heard_by(&to, command::CHAT_GROUP_TALK, &group).await;
    assert_eq!((heard.sender.as_str(), heard.group.as_str()), ("dan", group.as_str()));
    assert!(scene.sync(DAN, &[], 0).await.messages.is_empty());
    // A group of another app is not there, all the same.
    let (status, _) = scene.refused(OTHER_ANN, command::CHAT_GROUP_TALK, &group, &text("hi")).await;
    assert_eq!(status, Status::InvalidPacketBody);
}

#[tokio::test]
async fn who_joins_gets_what_is_said_from_then_on() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let before = scene.say(ANN, &group, "before").await;
    scene.join(ANN, "cid", &group).await;
    scene.pushes().await;
    let after = scene.say(BOB, &group, "after").await;
    let to = [ANN, ANN_PHONE, BOB_PHONE, CID];
    let _: MessagePush = scene.heard_by(&to, command::CHAT_GROUP_TALK, &group).await;
    // Even if it says that it has nothing yet.
    for cursors in [&[][..], &[cursor(&group, 0)]] {
        assert_eq!(bodies(&scene.sync(CID, cursors, 0).await.messages), ["after"]);
    }
    assert_eq!(contents(&scene, &[before.message_id, after.message_id]).await, ["", "after"]);
}

#[tokio::test]
async fn who_leaves_keeps_what_was_said_before_and_gets_nothing_more() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob", "cid"]).await;
    let before = scene.say(ANN, &group, "before").await;
    scene.quit(ANN, "cid", &group).await;
    scene.pushes().await;
    let after = scene.say(BOB, &group, "after").await;
    let to = [ANN, ANN_PHONE, BOB_PHONE];
    let _: MessagePush = scene.heard_by(&to, command::CHAT_GROUP_TALK, &group).await;
    assert_eq!(bodies(&scene.sync(CID, &[], 0).await.messages), ["before"]);
    assert_eq!(contents(&scene, &[before.message_id, after.message_id]).await, ["before", ""]);
    // What it has may be acknowledged, and is not given again.
    scene.acknowledge(CID, 0, &[cursor(&group, 2)]).await;
    assert!(scene.sync(CID, &[], 0).await.messages.is_empty());
    scene.join(ANN, "cid", &group).await;
    scene.say(ANN, &group, "again").await;
    assert_eq!(bodies(&scene.sync(CID, &[], 0).await.messages), ["again"]);
}

/// Returns the contents of these messages as cid reads them.
async fn contents(scene: &Scene, ids: &[i64]) -> Vec<String> {
    let asked = MessageContentReq { message_ids: ids.to_vec() };
    let found: MessageContentResp = scene.ask(CID, command::CHAT_OFFLINE_CONTENT, "", &asked).await;
    found.contents.into_iter().map(|content| content.body).collect()
}

#[tokio::test]
async fn a_repeat_reaches_the_first_members_and_none_that_joined_since() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let talk = keyed("hi", "k");
    let first: MessageResp = scene.ask(ANN, command::CHAT_GROUP_TALK, &group, &talk).await;
    scene.join(ANN, "cid", &group).await;
    scene.quit(BOB, "bob", &group).await;
    scene.join(ANN, "bob", &group).await;
    scene.pushes().await;
    let again: MessageResp = scene.ask(ANN, command::CHAT_GROUP_TALK, &group, &talk).await;
    assert_eq!(again, first);
    let _: MessagePush = scene.heard_by(&[ANN_PHONE], command::CHAT_GROUP_TALK, &group).await;
}

#[tokio::test]
async fn sequences_of_a_group_have_no_gap_with_several_senders() {
    let scene = Scene::new();
    let (one, two) = (scene.group(ANN, &["bob", "cid"]).await, scene.group(ANN, &["bob"]).await);
    for seq in 1..=4 {
        let who = [ANN, BOB, CID, ANN_PHONE][seq as usize - 1];
        assert_eq!(scene.say(who, &one, "hi").await.seq, seq);
        assert_eq!(scene.say(BOB_PHONE, &two, "hi").await.seq, seq);
    }
}
