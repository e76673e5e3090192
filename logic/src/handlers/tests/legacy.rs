//! A client that knows only the fields below 100 and the commands of old.

use imago_proto::{
    command,
    msg::{
        MessageAckReq, MessageContentReq, MessageContentResp, MessageIndex, MessageIndexReq,
        MessageIndexResp,
    },
};

use super::scene::{ANN, ANN_PHONE, BOB, CID, OTHER_ANN, Scene};
use crate::support::{gateway, session};

async fn index(scene: &Scene, message_id: i64) -> Vec<MessageIndex> {
    let asked = MessageIndexReq { message_id };
    let found: MessageIndexResp = scene.ask(ANN, command::CHAT_OFFLINE_INDEX, "", &asked).await;
    found.indexes
}

async fn ids(scene: &Scene, message_id: i64) -> Vec<i64> {
    index(scene, message_id).await.into_iter().map(|entry| entry.message_id).collect()
}

async fn read(scene: &Scene, message_ids: Vec<i64>) -> Vec<String> {
    let asked = MessageContentReq { message_ids };
    let found: MessageContentResp = scene.ask(ANN, command::CHAT_OFFLINE_CONTENT, "", &asked).await;
    found.contents.into_iter().map(|entry| entry.body).collect()
}

/// Messages to ann, alternately by an account and by a group, with their ids. Between them her own.
async fn busy(scene: &Scene) -> (String, Vec<i64>) {
    let group = scene.group(BOB, &["ann", "cid"]).await;
    let mut sent = Vec::new();
    for number in 0..3 {
        sent.push(scene.tell(CID, "ann", &format!("d{number}")).await.message_id);
        scene.say(ANN_PHONE, &group, "of ann").await;
        sent.push(scene.say(CID, &group, &format!("g{number}")).await.message_id);
    }
    (group, sent)
}

#[tokio::test]
async fn the_index_lists_messages_of_groups_and_of_accounts_in_one_order() {
    let scene = Scene::new();
    let (group, sent) = busy(&scene).await;
    let found = index(&scene, 0).await;
    assert_eq!(found.iter().map(|entry| entry.message_id).collect::<Vec<_>>(), sent);
    for (number, entry) in found.iter().enumerate() {
        assert_eq!((entry.account_b.as_str(), entry.direction), ("cid", 0));
        assert_eq!(entry.group, if number % 2 == 0 { "" } else { &group });
        assert!(entry.send_time > 1_700_000_000_000_000_000 && entry.send_time <= entry.message_id);
    }
    assert_eq!(read(&scene, sent).await, ["d0", "g0", "d1", "g1", "d2", "g2"]);
}

#[tokio::test]
async fn an_ack_by_id_is_cumulative_over_groups_and_accounts_and_never_goes_back() {
    let scene = Scene::new();
    let (_, sent) = busy(&scene).await;
    let ack = async |message_id| {
        let ack = MessageAckReq { message_id, cursors: Vec::new() };
        let () = scene.ask(ANN, command::CHAT_TALK_ACK, "", &ack).await;
        ids(&scene, 0).await
    };
    assert_eq!(ack(sent[2]).await, sent[3..]);
    assert_eq!(ack(sent[0]).await, sent[3..]);
    assert_eq!(ack(0).await, sent[3..]);
    assert_eq!(ack(-1).await, sent[3..]);
    assert_eq!(ack(sent[3]).await, sent[4..]);
    // It is the same for a client that knows cursors.
    let left: Vec<_> = scene.sync(ANN, &[], 0).await.messages;
    assert!(left.iter().filter(|message| message.sender != "ann").count() == 2, "{left:?}");
}

#[tokio::test]
async fn the_index_past_an_id_acknowledges_it_and_ends_empty() {
    let scene = Scene::new();
    let (_, sent) = busy(&scene).await;
    assert_eq!(ids(&scene, sent[1]).await, sent[2..]);
    assert_eq!(ids(&scene, 0).await, sent[2..]);
    assert_eq!(ids(&scene, -1).await, sent);
    assert_eq!(ids(&scene, 0).await, sent[2..], "-1 acknowledged something");
    assert!(ids(&scene, sent[5]).await.is_empty());
    assert!(ids(&scene, 0).await.is_empty());
    assert_eq!(ids(&scene, -1).await, sent);
}

#[tokio::test]
async fn the_index_of_a_member_begins_and_ends_with_the_membership() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["cid"]).await;
    let before = scene.say(CID, &group, "before").await.message_id;
    scene.join(BOB, "ann", &group).await;
    let during = scene.say(CID, &group, "during").await.message_id;
    scene.quit(ANN, "ann", &group).await;
    let after = scene.say(CID, &group, "after").await.message_id;
    for page in [0, -1, 1, before - 1] {
        assert_eq!(ids(&scene, page).await, [during], "page {page}");
    }
    assert_eq!(read(&scene, vec![after, during, before]).await, ["", "during", ""]);
    assert!(ids(&scene, during).await.is_empty());
}

#[tokio::test]
async fn contents_of_a_group_are_for_its_members_and_its_app() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["cid"]).await;
    let foreign = scene.say(CID, &group, "private").await.message_id;
    assert_eq!(read(&scene, vec![foreign]).await, [""]);
    let theirs = scene.group(OTHER_ANN, &["bob"]).await;
    let theirs = scene.say(OTHER_ANN, &theirs, "theirs").await.message_id;
    assert_eq!(read(&scene, vec![theirs, foreign]).await, ["", ""]);
}

#[tokio::test]
async fn pages_of_two_thousand_go_over_groups_and_accounts() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["ann"]).await;
    let mut sent = Vec::new();
    for _ in 0..1001 {
        sent.push(scene.say(BOB, &group, "").await.message_id);
        sent.push(scene.tell(BOB, "ann", "").await.message_id);
    }
    // A device that was away: what was pushed was not pushed to it.
    scene.world.link(&gateway("c"), &[session(1, "ann", "pad")]);
    let ids = async |message_id| {
        let asked = MessageIndexReq { message_id };
        let found: MessageIndexResp =
            scene.ask(("c", 1), command::CHAT_OFFLINE_INDEX, "", &asked).await;
        found.indexes.into_iter().map(|entry| entry.message_id).collect::<Vec<_>>()
    };
    let first = ids(0).await;
    assert_eq!(first, sent[..2000]);
    assert_eq!(ids(first[1999]).await, sent[2000..]);
    assert!(ids(sent[2001]).await.is_empty());
}
