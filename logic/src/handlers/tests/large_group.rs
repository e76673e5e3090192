//! The largest group that may be.

use imago_proto::{
    Status, command, link,
    msg::{
        GroupCreateNotify, GroupCreateReq, GroupCreateResp, GroupGetReq, GroupGetResp,
        GroupJoinNotify, GroupQuitNotify, MessagePush,
    },
};

use super::scene::{ANN, ANN_PHONE, BOB, BOB_PHONE, CID, DAN, Pushed, Scene, joining};
use crate::support::{gateway, session};

const MOST: usize = 10_000;

/// Returns a name of the longest length.
fn name(number: usize) -> String {
    format!("{number:0>60}")
}

/// Lets a device of each of these be on a third gateway, and on a fourth.
fn connect(scene: &Scene, names: &[String]) {
    let sessions: Vec<link::Session> =
        names.iter().zip(100..).map(|(name, number)| session(number, name, "")).collect();
    let (one, other) = sessions.split_at(sessions.len() / 2);
    scene.world.link(&gateway("c"), one);
    scene.world.link(&gateway("d"), other);
}

/// Returns the number of receiving devices by gateway, which each get one frame.
fn counts(pushes: &[Pushed]) -> Vec<(&str, usize)> {
    pushes.iter().map(|(to, sessions, _)| (to.as_str(), sessions.len())).collect()
}

#[tokio::test]
async fn ten_thousand_talk_come_go_and_are_listed() {
    let scene = Scene::new();
    let names: Vec<String> = (2..MOST).map(name).collect();
    connect(&scene, &names);
    let members: Vec<String> =
        names.iter().cloned().chain(["ann".to_owned(), "bob".to_owned()]).collect();
    assert_eq!(members.len(), MOST);
    let new = GroupCreateReq { members, ..GroupCreateReq::default() };
    let made: GroupCreateResp = scene.ask(ANN, command::CHAT_GROUP_CREATE, "", &new).await;
    let group = made.group_id;
    let half = names.len() / 2;
    let pushes = scene.pushes().await;
    assert_eq!(counts(&pushes), [("a", 2), ("b", 1), ("c", half), ("d", half)]);
    let heard: GroupCreateNotify = decoded(&pushes);
    assert_eq!(heard.members.len(), MOST);

    scene.say(BOB, &group, "hi").await;
    let pushes = scene.pushes().await;
    assert_eq!(counts(&pushes), [("a", 2), ("b", 1), ("c", half), ("d", half)]);
    let heard: MessagePush = decoded(&pushes);
    assert_eq!(heard.body, "hi");

    // Full; who leaves makes room.
    let one_more = joining("cid", &group);
    let (status, why) = scene.refused(BOB, command::CHAT_GROUP_JOIN, "", &one_more).await;
    assert_eq!((status, why.as_str()), (Status::InvalidPacketBody, "the group is full"));
    scene.quit(BOB, "bob", &group).await;
    let pushes = scene.pushes().await;
    assert_eq!(counts(&pushes), [("a", 2), ("b", 1), ("c", half), ("d", half)]);
    let _: GroupQuitNotify = decoded(&pushes);
    scene.join(ANN, "cid", &group).await;
    let pushes = scene.pushes().await;
    assert_eq!(counts(&pushes), [("a", 1), ("b", 1), ("c", half), ("d", half)]);
    let _: GroupJoinNotify = decoded(&pushes);

    let listed = scene.members(CID, &group).await;
    assert_eq!((listed.len(), listed[0].as_str(), listed[MOST - 1].as_str()), (MOST, "ann", "cid"));
    assert_eq!(scene.detail(ANN_PHONE, &group).await.members.len(), MOST);
    scene.say(CID, &group, "new here").await;
    assert_eq!(counts(&scene.pushes().await), [("a", 2), ("c", half), ("d", half)]);
    assert_eq!(scene.sync(BOB_PHONE, &[], 0).await.messages.len(), 1);
}

/// Names of four bytes a letter: no frame holds ten thousand of them.
#[tokio::test]
async fn a_list_of_members_that_fits_into_no_frame_comes_in_parts() {
    let scene = Scene::new();
    let name = |number: usize| format!("{number:04}{}", "\u{1F41D}".repeat(56));
    let new = |from: usize, to: usize| GroupCreateReq {
        members: (from..to).map(name).collect(),
        ..GroupCreateReq::default()
    };
    let made: GroupCreateResp = scene.ask(ANN, command::CHAT_GROUP_CREATE, "", &new(0, 6000)).await;
    let heard: GroupCreateNotify = decoded(&scene.pushes().await);
    assert!(heard.members.is_empty(), "a list that fits into no frame is left out");
    for command in [command::CHAT_GROUP_DETAIL, command::CHAT_GROUP_MEMBERS] {
        let mut members = Vec::new();
        let mut pages = 0;
        loop {
            let skip = members.len() as u32;
            let asked = GroupGetReq { group_id: made.group_id.clone(), skip };
            let page: GroupGetResp = scene.ask(ANN, command, "", &asked).await;
            pages += 1;
            members.extend(page.members.into_iter().map(|member| member.account));
            if !page.more {
                break;
            }
        }
        assert!(pages > 1);
        let expected = std::iter::once("ann".to_owned()).chain((0..6000).map(name));
        assert_eq!(members, Vec::from_iter(expected));
    }
}

/// Returns the body that all these pushes have.
fn decoded<Body: prost::Message + Default>(pushes: &[Pushed]) -> Body {
    assert!(pushes.iter().all(|(_, _, packet)| packet == &pushes[0].2));
    Body::decode(pushes[0].2.body.clone()).unwrap()
}

#[tokio::test]
async fn one_more_than_ten_thousand_make_no_group() {
    let scene = Scene::new();
    let new = |count: usize| GroupCreateReq {
        members: (0..count).map(name).collect(),
        ..GroupCreateReq::default()
    };
    for (count, why) in
        [(MOST, "the group is full"), (MOST + 1, "members: expected at most 10000, got 10001")]
    {
        let refused = scene.refused(DAN, command::CHAT_GROUP_CREATE, "", &new(count)).await;
        assert_eq!(refused, (Status::InvalidPacketBody, why.to_owned()));
    }
    let made: GroupCreateResp =
        scene.ask(DAN, command::CHAT_GROUP_CREATE, "", &new(MOST - 1)).await;
    assert_eq!(scene.members(DAN, &made.group_id).await.len(), MOST);
}
