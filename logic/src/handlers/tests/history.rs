//! Parts of one conversation, back and forth.

use imago_proto::{
    Status, command,
    msg::{HistoryReq, HistoryResp, MessagePush},
};

use super::scene::{ANN, ANN_PHONE, BOB, CID, DAN, Device, OTHER_ANN, Scene, bodies};

fn of_group(group: &str) -> HistoryReq {
    HistoryReq { group: group.to_owned(), ..HistoryReq::default() }
}

fn with(peer: &str) -> HistoryReq {
    HistoryReq { peer: peer.to_owned(), ..HistoryReq::default() }
}

fn of(conversation: &str) -> HistoryReq {
    HistoryReq { conversation: conversation.to_owned(), ..HistoryReq::default() }
}

async fn read(scene: &Scene, who: Device, asked: &HistoryReq) -> HistoryResp {
    scene.ask(who, command::CHAT_HISTORY, "", asked).await
}

/// Returns the texts of an answer, and whether more follow.
fn said(found: &HistoryResp) -> (String, bool) {
    (bodies(&found.messages).join(" "), found.more)
}

/// Creates a group of ann and bob with the numbers from 1 on as messages.
async fn counted(scene: &Scene, up_to: usize) -> String {
    let group = scene.group(ANN, &["bob"]).await;
    for number in 1..=up_to {
        scene.say(BOB, &group, &number.to_string()).await;
    }
    group
}

#[tokio::test]
async fn a_conversation_is_found_by_its_id_by_the_other_side_and_by_the_group() {
    let scene = Scene::new();
    let group = counted(&scene, 2).await;
    let sent = scene.tell(ANN, "bob", "hi").await;
    scene.tell(BOB, "ann", "hi yourself").await;
    let (direct, in_group) =
        (read(&scene, ANN, &with("bob")).await, read(&scene, ANN, &of_group(&group)).await);
    assert_eq!(said(&direct), ("hi hi yourself".to_owned(), false));
    assert_eq!(said(&in_group), ("1 2".to_owned(), false));
    assert_eq!(read(&scene, ANN, &of(&sent.conversation)).await, direct);
    assert_eq!(read(&scene, ANN, &of(&group)).await, in_group);
    let expected = MessagePush {
        message_id: sent.message_id,
        r#type: 1,
        body: "hi".to_owned(),
        sender: "ann".to_owned(),
        send_time: sent.send_time,
        conversation: sent.conversation,
        seq: 1,
        peer: "bob".to_owned(),
        ..MessagePush::default()
    };
    assert_eq!(direct.messages[0], expected);
    // Bob knows it by its sender, and the two sides see the same otherwise.
    let of_bob = read(&scene, BOB, &with("ann")).await;
    assert_eq!(of_bob.messages[0], MessagePush { peer: String::new(), ..expected });
    assert_eq!(of_bob.messages[1].peer, "ann");
    assert_eq!((&in_group.messages[0].group, &in_group.messages[0].peer), (&group, &String::new()));
}

#[tokio::test]
async fn messages_of_an_account_to_itself_are_found_by_its_own_name() {
    let scene = Scene::new();
    scene.tell(ANN, "ann", "note").await;
    assert_eq!(said(&read(&scene, ANN_PHONE, &with("ann")).await), ("note".to_owned(), false));
}

#[tokio::test]
async fn parts_are_read_from_the_end_back_and_from_anywhere_forth() {
    let scene = Scene::new();
    let group = counted(&scene, 7).await;
    let part = async |before, after, limit| {
        let asked = HistoryReq { before, after, limit, ..of_group(&group) };
        let (said, more) = said(&read(&scene, ANN, &asked).await);
        format!("{said}{}", if more { " +" } else { "" })
    };
    // The newest, then those before.
    assert_eq!(part(0, 0, 3).await, "5 6 7 +");
    assert_eq!(part(5, 0, 3).await, "2 3 4 +");
    assert_eq!(part(2, 0, 3).await, "1");
    assert_eq!(part(1, 0, 3).await, "");
    // Full, and nothing before it.
    assert_eq!(part(4, 0, 3).await, "1 2 3");
    // The oldest after.
    assert_eq!(part(0, 1, 3).await, "2 3 4 +");
    assert_eq!(part(0, 4, 3).await, "5 6 7");
    assert_eq!(part(0, 6, 3).await, "7");
    assert_eq!(part(0, 7, 3).await, "");
    // Far off.
    assert_eq!(part(u64::MAX, 0, 2).await, "6 7 +");
    assert_eq!(part(0, u64::MAX, 2).await, "");
}

#[tokio::test]
async fn fifty_entries_are_the_default_and_two_hundred_the_limit() {
    let scene = Scene::new();
    let group = counted(&scene, 201).await;
    for (limit, count) in [(0, 50), (1, 1), (200, 200)] {
        for after in [0, 1] {
            let asked = HistoryReq { limit, after, ..of_group(&group) };
            let found = read(&scene, ANN, &asked).await;
            assert_eq!(found.messages.len(), count);
            assert_eq!(found.more, count + after as usize <= 200, "limit {limit}, after {after}");
        }
    }
    let asked = HistoryReq { limit: 201, ..of_group(&group) };
    let refused = scene.refused(ANN, command::CHAT_HISTORY, "", &asked).await;
    let why = "limit: expected at most 200, got 201";
    assert_eq!(refused, (Status::InvalidPacketBody, why.to_owned()));
}

#[tokio::test]
async fn what_fits_into_a_frame_is_next_to_where_the_reader_is_and_the_rest_is_more() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let large = "\u{1F40C}".repeat(5000);
    for _ in 0..60 {
        scene.say(BOB, &group, &large).await;
    }
    let seqs = async |before, after| {
        let asked = HistoryReq { before, after, limit: 200, ..of_group(&group) };
        let found = read(&scene, ANN, &asked).await;
        let seqs: Vec<u64> = found.messages.iter().map(|message| message.seq).collect();
        (seqs, found.more)
    };
    let (newest, more) = seqs(0, 0).await;
    assert!(more && newest.len() > 40 && newest.len() < 60, "{newest:?}");
    let first = newest[0];
    assert_eq!(newest, (first..=60).collect::<Vec<_>>());
    assert_eq!(seqs(first, 0).await, ((1..first).collect(), false));
    let (oldest, more) = seqs(0, 1).await;
    assert!(more);
    assert_eq!(oldest, (2..oldest.len() as u64 + 2).collect::<Vec<_>>());
}

#[tokio::test]
async fn exactly_one_place_and_at_most_one_end_have_to_be_named() {
    let scene = Scene::new();
    let group = counted(&scene, 1).await;
    let places = [
        HistoryReq::default(),
        HistoryReq { peer: "bob".to_owned(), ..of_group(&group) },
        HistoryReq { peer: "bob".to_owned(), ..of(&group) },
        HistoryReq { group: group.clone(), ..of(&group) },
        HistoryReq { group: group.clone(), peer: "bob".to_owned(), ..of(&group) },
    ];
    for asked in places {
        let refused = scene.refused(ANN, command::CHAT_HISTORY, "", &asked).await;
        let why = "conversation, peer, group: expected exactly one of them";
        assert_eq!(refused, (Status::InvalidPacketBody, why.to_owned()));
    }
    let both = HistoryReq { before: 3, after: 1, ..of_group(&group) };
    let (status, why) = scene.refused(ANN, command::CHAT_HISTORY, "", &both).await;
    assert_eq!(status, Status::InvalidPacketBody);
    assert!(why.starts_with("before, after"), "{why}");
}

#[tokio::test]
async fn names_of_places_have_limits_in_characters() {
    let scene = Scene::new();
    let long = |characters| "é".repeat(characters);
    scene.tell(ANN, &long(60), "hi").await;
    assert_eq!(read(&scene, ANN, &with(&long(60))).await.messages.len(), 1);
    for (field, asked) in
        [("peer", with(&long(61))), ("group", of_group(&long(31))), ("conversation", of(&long(31)))]
    {
        let (status, why) = scene.refused(ANN, command::CHAT_HISTORY, "", &asked).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert!(why.starts_with(field), "{field}: {why}");
    }
    for asked in [of_group(&long(30)), of(&long(30))] {
        let (status, _) = scene.refused(ANN, command::CHAT_HISTORY, "", &asked).await;
        assert_eq!(status, Status::Unauthorized);
    }
}

#[tokio::test]
async fn conversations_of_others_look_like_none_at_all() {
    let scene = Scene::new();
    let group = counted(&scene, 1).await;
    let direct = scene.tell(ANN, "bob", "private").await.conversation;
    let none = (Status::Unauthorized, "no such conversation of yours".to_owned());
    let asked = [of_group(&group), of(&group), of(&direct), of("g99"), of_group("x")];
    for asked in asked {
        for who in [DAN, OTHER_ANN] {
            assert_eq!(scene.refused(who, command::CHAT_HISTORY, "", &asked).await, none);
        }
    }
    // The history with an account without messages is empty, and no error.
    for who in [DAN, OTHER_ANN] {
        assert_eq!(said(&read(&scene, who, &with("bob")).await), (String::new(), false));
    }
    // Nor has a conversation a second name.
    let (g, d) = (group.replacen('g', "d", 1), direct.replacen('d', "g", 1));
    for asked in [of(&g), of(&d), of_group(&d), of_group(&direct)] {
        assert_eq!(scene.refused(ANN, command::CHAT_HISTORY, "", &asked).await, none, "{asked:?}");
    }
}

#[tokio::test]
async fn a_member_reads_what_was_said_between_coming_and_going() {
    let scene = Scene::new();
    let group = counted(&scene, 2).await;
    scene.join(ANN, "cid", &group).await;
    // In it, and nothing to read yet.
    assert_eq!(said(&read(&scene, CID, &of_group(&group)).await), (String::new(), false));
    scene.say(BOB, &group, "3").await;
    scene.say(BOB, &group, "4").await;
    scene.quit(CID, "cid", &group).await;
    scene.say(BOB, &group, "5").await;
    let part = async |before, after| {
        let asked = HistoryReq { before, after, ..of_group(&group) };
        said(&read(&scene, CID, &asked).await)
    };
    assert_eq!(part(0, 0).await, ("3 4".to_owned(), false));
    assert_eq!(part(9, 0).await, ("3 4".to_owned(), false));
    assert_eq!(part(3, 0).await, (String::new(), false));
    assert_eq!(part(0, 1).await, ("3 4".to_owned(), false));
    assert_eq!(part(0, 4).await, (String::new(), false));
}
