//! What a client has not got yet, and how it says what it has.

use std::collections::HashMap;

use imago_proto::{
    Status, command,
    msg::{Cursor, MessagePush, SyncReq},
};

use super::scene::{ANN, ANN_PHONE, BOB, CID, DAN, OTHER_ANN, OTHER_BOB, Scene, bodies, cursor};

/// Asks until there is no more, as a client does: past what it has. Gives the pages.
async fn pages(scene: &Scene, limit: u32) -> Vec<Vec<MessagePush>> {
    let mut have: HashMap<String, u64> = HashMap::new();
    let mut pages = Vec::new();
    loop {
        let cursors: Vec<Cursor> = have.iter().map(|(id, seq)| cursor(id, *seq)).collect();
        let page = scene.sync(ANN, &cursors, limit).await;
        assert!(!page.more || !page.messages.is_empty(), "a page does not advance");
        for message in &page.messages {
            let last = have.insert(message.conversation.clone(), message.seq).unwrap_or(0);
            assert_eq!(message.seq, last + 1, "a hole in {}", message.conversation);
        }
        pages.push(page.messages);
        if !page.more {
            return pages;
        }
    }
}

fn sizes(pages: &[Vec<MessagePush>]) -> Vec<usize> {
    pages.iter().map(Vec::len).collect()
}

#[tokio::test]
async fn nothing_is_a_success_too() {
    let scene = Scene::new();
    let found = scene.sync(DAN, &[], 0).await;
    assert!(found.messages.is_empty() && !found.more);
}

#[tokio::test]
async fn all_conversations_come_in_one_order_with_what_other_devices_sent() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["ann", "cid"]).await;
    scene.tell(BOB, "ann", "1").await;
    scene.say(CID, &group, "2").await;
    scene.tell(ANN_PHONE, "bob", "3").await;
    scene.say(ANN_PHONE, &group, "4").await;
    scene.tell(ANN_PHONE, "ann", "5").await;
    scene.tell(CID, "ann", "6").await;
    // Not hers.
    scene.tell(CID, "bob", "private").await;
    let found = scene.sync(ANN, &[], 0).await;
    assert_eq!(bodies(&found.messages), ["1", "2", "3", "4", "5", "6"]);
    assert!(!found.more);
    assert!(found.messages.is_sorted_by_key(|message| message.message_id));
    let ends = found
        .messages
        .iter()
        .map(|message| (message.sender.as_str(), message.peer.as_str(), message.group.as_str()));
    let group = group.as_str();
    let expected = [
        ("bob", "", ""),
        ("cid", "", group),
        ("ann", "bob", ""),
        ("ann", "", group),
        ("ann", "", ""),
        ("cid", "", ""),
    ];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
    // Nothing is acknowledged by having been asked for.
    assert_eq!(scene.sync(ANN, &[], 0).await, found);
}

#[tokio::test]
async fn a_named_conversation_starts_at_the_clients_cursor_and_any_other_at_the_stored_one() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["ann"]).await;
    let mut direct = String::new();
    for number in 1..=3 {
        direct = scene.tell(BOB, "ann", &format!("d{number}")).await.conversation;
        scene.say(BOB, &group, &format!("g{number}")).await;
    }
    scene.acknowledge(ANN, 0, &[cursor(&direct, 2), cursor(&group, 1)]).await;
    let got = async |cursors: &[Cursor]| {
        let found = scene.sync(ANN, cursors, 0).await.messages;
        bodies(&found).join(" ")
    };
    assert_eq!(got(&[]).await, "g2 d3 g3");
    assert_eq!(got(&[cursor(&group, 2)]).await, "d3 g3");
    // A device without messages asks from the start, independent of other devices.
    assert_eq!(got(&[cursor(&direct, 0)]).await, "d1 d2 g2 d3 g3");
    assert_eq!(got(&[cursor(&direct, 0), cursor(&group, 0)]).await, "d1 g1 d2 g2 d3 g3");
    assert_eq!(got(&[cursor(&direct, 3), cursor(&group, 3)]).await, "");
    assert_eq!(got(&[cursor(&direct, u64::MAX), cursor(&group, 77)]).await, "");
    // Names of nothing, and of conversations of others, change nothing.
    let foreign = scene.tell(BOB, "cid", "private").await.conversation;
    let strange = ["", "d", "g0", "x1", "d-1", "g99999999999999999999", &foreign];
    let strange = strange.map(|name| cursor(name, 0));
    assert_eq!(got(&strange).await, "g2 d3 g3");
    // Nor does asking move the stored cursors.
    assert_eq!(got(&[]).await, "g2 d3 g3");
}

#[tokio::test]
async fn the_other_app_with_the_same_names_has_conversations_of_its_own() {
    let scene = Scene::new();
    let ours = scene.tell(BOB, "ann", "ours").await;
    let theirs = scene.tell(OTHER_BOB, "ann", "theirs").await;
    for cursors in [&[][..], &[cursor(&ours.conversation, 0), cursor(&theirs.conversation, 0)]] {
        assert_eq!(bodies(&scene.sync(ANN, cursors, 0).await.messages), ["ours"]);
        assert_eq!(bodies(&scene.sync(OTHER_ANN, cursors, 0).await.messages), ["theirs"]);
    }
    // One does not acknowledge for the other.
    let all = [cursor(&ours.conversation, 1), cursor(&theirs.conversation, 1)];
    scene.acknowledge(ANN, i64::MAX, &all).await;
    assert!(scene.sync(ANN, &[], 0).await.messages.is_empty());
    assert_eq!(bodies(&scene.sync(OTHER_ANN, &[], 0).await.messages), ["theirs"]);
}

#[tokio::test]
async fn pages_by_count_give_everything_once_and_end() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["ann"]).await;
    for number in 0..4 {
        scene.tell(BOB, "ann", &format!("d{number}")).await;
        scene.say(BOB, &group, &format!("g{number}")).await;
    }
    assert_eq!(sizes(&pages(&scene, 3).await), [3, 3, 2]);
    // The last page may be full: it says so.
    assert_eq!(sizes(&pages(&scene, 4).await), [4, 4]);
    assert_eq!(sizes(&pages(&scene, 8).await), [8]);
    let one_by_one = pages(&scene, 1).await;
    let all: Vec<_> = one_by_one.concat().into_iter().map(|message| message.message_id).collect();
    assert!(all.len() == 8 && all.is_sorted());
}

#[tokio::test]
async fn pages_by_bytes_hold_one_message_at_least_and_fit_into_a_frame() {
    let scene = Scene::new();
    // 20,000 bytes each: about 52 in a frame.
    let large = "\u{1F40C}".repeat(5000);
    for _ in 0..120 {
        scene.tell(BOB, "ann", &large).await;
    }
    let pages = pages(&scene, 500).await;
    let sizes = sizes(&pages);
    assert_eq!(sizes.iter().sum::<usize>(), 120);
    assert!(sizes.len() == 3 && sizes[0] == sizes[1] && sizes[0] > 40, "{sizes:?}");
}

#[tokio::test]
async fn a_hundred_come_unless_the_client_wants_other_numbers_up_to_five_hundred() {
    let scene = Scene::new();
    for _ in 0..501 {
        scene.tell(BOB, "ann", "").await;
    }
    for (limit, count) in [(0, 100), (1, 1), (100, 100), (500, 500)] {
        let found = scene.sync(ANN, &[], limit).await;
        assert_eq!((found.messages.len(), found.more), (count, true), "limit {limit}");
    }
    for limit in [501, u32::MAX] {
        let asked = SyncReq { limit, ..SyncReq::default() };
        let (status, why) = scene.refused(ANN, command::CHAT_SYNC, "", &asked).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert_eq!(why, format!("limit: expected at most 500, got {limit}"));
    }
}

#[tokio::test]
async fn a_thousand_cursors_are_taken_and_one_more_is_not() {
    let scene = Scene::new();
    let sent = scene.tell(BOB, "ann", "hi").await;
    let mut cursors = vec![cursor("d9999", 1); 999];
    cursors.push(cursor(&sent.conversation, 1));
    assert!(scene.sync(ANN, &cursors, 0).await.messages.is_empty());
    scene.acknowledge(ANN, 0, &cursors).await;
    assert!(scene.sync(ANN, &[], 0).await.messages.is_empty());
    cursors.push(cursor("d9999", 1));
    let asked = SyncReq { cursors, limit: 0 };
    let refused = scene.refused(ANN, command::CHAT_SYNC, "", &asked).await;
    let why = "cursors: expected at most 1000, got 1001";
    assert_eq!(refused, (Status::InvalidPacketBody, why.to_owned()));
}

#[tokio::test]
async fn an_older_message_of_another_conversation_comes_though_a_newer_one_is_acknowledged() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["ann", "cid"]).await;
    scene.tell(CID, "ann", "older").await;
    scene.say(CID, &group, "older too").await;
    let newer = scene.tell(BOB, "ann", "newer").await;
    scene.acknowledge(ANN, 0, &[cursor(&newer.conversation, newer.seq)]).await;
    assert_eq!(bodies(&scene.sync(ANN, &[], 0).await.messages), ["older", "older too"]);
    let has_newer = [cursor(&newer.conversation, newer.seq)];
    assert_eq!(bodies(&scene.sync(ANN, &has_newer, 0).await.messages), ["older", "older too"]);
}

#[tokio::test]
async fn cursors_move_forward_only_and_not_past_the_newest_message() {
    let scene = Scene::new();
    let group = scene.group(BOB, &["ann"]).await;
    for number in 1..=3 {
        scene.say(BOB, &group, &number.to_string()).await;
    }
    let ack = async |seq| {
        scene.acknowledge(ANN, 0, &[cursor(&group, seq)]).await;
        scene.sync(ANN, &[], 0).await.messages.len()
    };
    assert_eq!(ack(2).await, 1);
    assert_eq!(ack(1).await, 1);
    assert_eq!(ack(0).await, 1);
    assert_eq!(ack(u64::MAX).await, 0);
    scene.say(BOB, &group, "next").await;
    let no_name = cursor(&group.replacen('g', "d", 1), 4);
    scene.acknowledge(ANN, 0, &[no_name]).await;
    assert_eq!(bodies(&scene.sync(ANN, &[], 0).await.messages), ["next"]);
    // Only she has acknowledged messages, and a stranger cannot.
    scene.acknowledge(DAN, i64::MAX, &[cursor(&group, 4)]).await;
    assert_eq!(scene.sync(BOB, &[], 0).await.messages.len(), 4);
    assert!(scene.sync(DAN, &[cursor(&group, 0)], 0).await.messages.is_empty());
}
