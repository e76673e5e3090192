//! The list of an account's conversations.

use imago_proto::{
    Status, command,
    msg::{Conversation, ConversationsReq, ConversationsResp, GroupCreateReq, GroupCreateResp},
};

use super::scene::{
    ANN, ANN_PHONE, BOB, CID, DAN, Device, OTHER_ANN, OTHER_BOB, Scene, cursor, strings,
};

async fn list(scene: &Scene, who: Device, page: &str, limit: u32) -> ConversationsResp {
    let asked = ConversationsReq { page: page.to_owned(), limit };
    scene.ask(who, command::CHAT_CONVERSATIONS, "", &asked).await
}

async fn all(scene: &Scene, who: Device) -> Vec<Conversation> {
    let found = list(scene, who, "", 0).await;
    assert_eq!(found.next, "");
    found.conversations
}

/// Returns the other sides of conversations.
fn names(found: &[Conversation]) -> Vec<&str> {
    found.iter().map(|one| if one.group.is_empty() { &*one.peer } else { &*one.name }).collect()
}

async fn named_group(scene: &Scene, owner: Device, name: &str, members: &[&str]) -> String {
    let new = GroupCreateReq {
        name: name.to_owned(),
        members: strings(members),
        ..GroupCreateReq::default()
    };
    let made: GroupCreateResp = scene.ask(owner, command::CHAT_GROUP_CREATE, "", &new).await;
    made.group_id
}

#[tokio::test]
async fn each_conversation_tells_with_whom_how_far_and_what_was_last() {
    let scene = Scene::new();
    let group = named_group(&scene, ANN, "hikers", &["bob"]).await;
    for body in ["1", "2", "3"] {
        scene.say(BOB, &group, body).await;
    }
    scene.say(ANN, &group, "4").await;
    let sent = scene.tell(ANN, "cid", "hi").await;
    scene.acknowledge(ANN, 0, &[cursor(&group, 1)]).await;
    let found = all(&scene, ANN).await;
    let [direct, hikers] = &found[..] else { panic!("{found:?}") };

    assert_eq!((&direct.conversation, direct.peer.as_str()), (&sent.conversation, "cid"));
    assert_eq!((direct.group.as_str(), direct.name.as_str()), ("", ""));
    // Her own message is nothing to be read.
    assert_eq!((direct.head, direct.cursor, direct.unread), (1, 0, 0));
    let last = direct.last.clone().unwrap();
    assert_eq!(
        (last.body.as_str(), last.sender.as_str(), last.peer.as_str()),
        ("hi", "ann", "cid")
    );

    assert_eq!((&hikers.conversation, &hikers.group), (&group, &group));
    assert_eq!((hikers.name.as_str(), hikers.peer.as_str()), ("hikers", ""));
    assert_eq!((hikers.head, hikers.cursor, hikers.unread), (4, 1, 2));
    assert_eq!(hikers.last.clone().unwrap().body, "4");
    // Each has cursors of its own.
    let of_bob = all(&scene, BOB).await;
    assert_eq!((of_bob[0].cursor, of_bob[0].unread), (0, 1));
}

#[tokio::test]
async fn the_conversation_of_the_last_event_is_first() {
    let scene = Scene::new();
    assert!(all(&scene, ANN).await.is_empty());
    let one = named_group(&scene, ANN, "one", &["bob"]).await;
    let _two = named_group(&scene, BOB, "two", &["ann"]).await;
    assert_eq!(names(&all(&scene, ANN).await), ["two", "one"]);
    scene.tell(CID, "ann", "hi").await;
    assert_eq!(names(&all(&scene, ANN).await), ["cid", "two", "one"]);
    scene.say(BOB, &one, "hi").await;
    assert_eq!(names(&all(&scene, ANN).await), ["one", "cid", "two"]);
    scene.tell(ANN_PHONE, "ann", "note").await;
    assert_eq!(names(&all(&scene, ANN).await), ["ann", "one", "cid", "two"]);
    // Joining is something that happens, and does not show what was before.
    scene.tell(CID, "dan", "hi").await;
    scene.join(ANN, "dan", &one).await;
    let of_dan = all(&scene, DAN).await;
    assert_eq!(names(&of_dan), ["one", "cid"]);
    assert_eq!((of_dan[0].unread, of_dan[0].last.clone()), (0, None));
}

#[tokio::test]
async fn a_group_that_was_left_shows_what_was_last_before() {
    let scene = Scene::new();
    let group = named_group(&scene, ANN, "hikers", &["bob"]).await;
    scene.say(ANN, &group, "before").await;
    scene.quit(BOB, "bob", &group).await;
    scene.say(ANN, &group, "after").await;
    let found = all(&scene, BOB).await;
    assert_eq!((found[0].head, found[0].unread), (1, 1));
    assert_eq!(found[0].last.clone().unwrap().body, "before");
}

#[tokio::test]
async fn pages_follow_each_other_without_holes_and_without_doubles() {
    let scene = Scene::new();
    for number in 0..7 {
        scene.tell(ANN, &format!("peer{number}"), "hi").await;
    }
    let everything = names(&all(&scene, ANN).await).join(" ");
    for limit in 1..=8 {
        let (mut page, mut seen, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let found = list(&scene, ANN, &page, limit).await;
            assert!(found.conversations.len() <= limit as usize);
            seen.extend(names(&found.conversations).into_iter().map(str::to_owned));
            (page, pages) = (found.next, pages + 1);
            if page.is_empty() {
                break;
            }
        }
        assert_eq!(seen.join(" "), everything, "limit {limit}");
        assert_eq!(pages, 7_u32.div_ceil(limit), "limit {limit}");
    }
}

#[tokio::test]
async fn what_happens_between_two_pages_hides_nothing_that_stayed_where_it_was() {
    let scene = Scene::new();
    for peer in ["a", "b", "c", "d"] {
        scene.tell(ANN, peer, "hi").await;
    }
    let first = list(&scene, ANN, "", 2).await;
    assert_eq!(names(&first.conversations), ["d", "c"]);
    scene.tell(ANN, "c", "again").await;
    scene.tell(ANN, "new", "hi").await;
    let second = list(&scene, ANN, &first.next, 2).await;
    assert_eq!(names(&second.conversations), ["b", "a"]);
    assert_eq!(second.next, "");
}

#[tokio::test]
async fn fifty_entries_are_the_default_and_two_hundred_the_limit() {
    let scene = Scene::new();
    for number in 0..201 {
        scene.tell(ANN, &format!("peer{number}"), "hi").await;
    }
    for (limit, count) in [(0, 50), (1, 1), (200, 200)] {
        let found = list(&scene, ANN, "", limit).await;
        assert_eq!(found.conversations.len(), count);
        assert_ne!(found.next, "");
    }
    let asked = ConversationsReq { limit: 201, ..ConversationsReq::default() };
    let refused = scene.refused(ANN, command::CHAT_CONVERSATIONS, "", &asked).await;
    let why = "limit: expected at most 200, got 201";
    assert_eq!(refused, (Status::InvalidPacketBody, why.to_owned()));
}

#[tokio::test]
async fn pages_by_bytes_fit_into_a_frame_and_lead_to_all() {
    let scene = Scene::new();
    let large = "\u{1F40C}".repeat(5000);
    for number in 0..60 {
        scene.tell(ANN, &format!("peer{number}"), &large).await;
    }
    let first = list(&scene, ANN, "", 200).await;
    assert!((40..60).contains(&first.conversations.len()));
    let second = list(&scene, ANN, &first.next, 200).await;
    assert_eq!(first.conversations.len() + second.conversations.len(), 60);
    assert_eq!(second.next, "");
}

#[tokio::test]
async fn a_page_is_what_an_answer_gave() {
    let scene = Scene::new();
    for page in ["x", "1", "1.", ".1", "1.2.3", "1.x", "99999999999999999999.1"] {
        let asked = ConversationsReq { page: page.to_owned(), limit: 0 };
        let (status, why) = scene.refused(ANN, command::CHAT_CONVERSATIONS, "", &asked).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert!(why.starts_with("page"), "{why}");
    }
}

#[tokio::test]
async fn the_other_app_lists_its_own() {
    let scene = Scene::new();
    scene.tell(ANN, "bob", "ours").await;
    let theirs = scene.tell(OTHER_BOB, "ann", "theirs").await;
    let found = all(&scene, OTHER_ANN).await;
    assert_eq!((found.len(), &found[0].conversation), (1, &theirs.conversation));
    assert_eq!(all(&scene, ANN).await[0].last.clone().unwrap().body, "ours");
}

#[tokio::test]
async fn more_than_a_thousand_unread_count_as_a_thousand() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    for count in 1..=1001 {
        scene.say(ANN, &group, "").await;
        if count >= 999 {
            assert_eq!(all(&scene, BOB).await[0].unread, count.min(1000));
        }
    }
}
