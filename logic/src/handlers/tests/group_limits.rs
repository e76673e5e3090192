//! How long and how many, at the bound and one over it, in the commands of groups.

use imago_proto::{
    Status, command,
    msg::{GroupCreateReq, GroupCreateResp, GroupGetReq, GroupJoinReq, GroupQuitReq, MessageReq},
};

use super::{
    scene::{ANN, BOB, Scene, joining, strings},
    text,
};
use crate::GroupRules;

/// Returns a text of characters of two bytes.
fn long(characters: usize) -> String {
    "é".repeat(characters)
}

#[tokio::test]
async fn texts_of_a_new_group_may_be_as_long_as_their_limits_in_characters() {
    let scene = Scene::new();
    let longest = GroupCreateReq {
        name: long(50),
        avatar: long(200),
        introduction: long(300),
        members: vec![long(60)],
        client_message_id: long(64),
        ..GroupCreateReq::default()
    };
    let made: GroupCreateResp = scene.ask(ANN, command::CHAT_GROUP_CREATE, "", &longest).await;
    let detail = scene.detail(ANN, &made.group_id).await;
    assert_eq!((detail.name, detail.avatar), (longest.name.clone(), longest.avatar.clone()));
    assert_eq!(detail.introduction, longest.introduction);
    assert_eq!(detail.members[1].account, longest.members[0]);

    let new = GroupCreateReq::default();
    for (field, new) in [
        ("name", GroupCreateReq { name: long(51), ..new.clone() }),
        ("avatar", GroupCreateReq { avatar: long(201), ..new.clone() }),
        ("introduction", GroupCreateReq { introduction: long(301), ..new.clone() }),
        ("client_message_id", GroupCreateReq { client_message_id: long(65), ..new.clone() }),
        ("members", GroupCreateReq { members: vec![long(61)], ..new.clone() }),
        ("members", GroupCreateReq { members: strings(&["bob", ""]), ..new.clone() }),
    ] {
        let (status, why) = scene.refused(ANN, command::CHAT_GROUP_CREATE, "", &new).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert!(why.starts_with(field), "{field}: {why}");
    }
}

#[tokio::test]
async fn who_joins_or_leaves_is_named_within_the_limits() {
    let scene = Scene::new();
    let group = scene.group(ANN, &[]).await;
    let joins = joining(&long(60), &group);
    let joins = GroupJoinReq { client_message_id: long(64), ..joins };
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &joins).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", &long(60)]);

    for (field, account, group, key) in [
        ("account", String::new(), group.clone(), String::new()),
        ("account", long(61), group.clone(), String::new()),
        ("group_id", "bob".to_owned(), String::new(), String::new()),
        ("group_id", "bob".to_owned(), long(31), String::new()),
        ("client_message_id", "bob".to_owned(), group, long(65)),
    ] {
        let join = GroupJoinReq { account, group_id: group, client_message_id: key };
        let GroupJoinReq { account, group_id, client_message_id } = join.clone();
        let quit = GroupQuitReq { account, group_id, client_message_id };
        let joined = scene.refused(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
        let quitted = scene.refused(ANN, command::CHAT_GROUP_QUIT, "", &quit).await;
        for (status, why) in [joined, quitted] {
            assert_eq!(status, Status::InvalidPacketBody);
            assert!(why.starts_with(field), "{field}: {why}");
        }
    }
    assert_eq!(scene.members(ANN, &group_of(&scene).await).await.len(), 2);
}

/// Returns the only group of ann.
async fn group_of(scene: &Scene) -> String {
    let asked = imago_proto::msg::ConversationsReq::default();
    let found: imago_proto::msg::ConversationsResp =
        scene.ask(ANN, command::CHAT_CONVERSATIONS, "", &asked).await;
    found.conversations[0].group.clone()
}

#[tokio::test]
async fn a_group_is_looked_at_by_an_id_within_the_limit() {
    let scene = Scene::new();
    for (group_id, why) in [
        (String::new(), "group_id: expected 1 to 30 characters, got none"),
        (long(30), "no such group"),
        (long(31), "group_id: expected at most 30 characters, got 31"),
    ] {
        for command in [command::CHAT_GROUP_DETAIL, command::CHAT_GROUP_MEMBERS] {
            let asked = GroupGetReq { group_id: group_id.clone(), skip: 0 };
            let refused = scene.refused(ANN, command, "", &asked).await;
            assert_eq!(refused, (Status::InvalidPacketBody, why.to_owned()));
        }
    }
}

#[tokio::test]
async fn a_message_to_a_group_may_be_as_long_as_one_to_an_account() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let body = "\u{1F40C}".repeat(5000);
    let longest = MessageReq { extra: long(500), client_message_id: long(64), ..text(&body) };
    let _: imago_proto::msg::MessageResp =
        scene.ask(ANN, command::CHAT_GROUP_TALK, &group, &longest).await;
    let got = scene.sync(BOB, &[], 0).await.messages.remove(0);
    assert_eq!((got.body, got.extra), (body, longest.extra));

    let unknown = long(31);
    for (field, dest, talk) in [
        ("body", group.as_str(), text(&long(5001))),
        ("extra", &group, MessageReq { extra: long(501), ..text("") }),
        ("client_message_id", &group, MessageReq { client_message_id: long(65), ..text("") }),
        ("dest", &unknown, text("hi")),
    ] {
        let (status, why) = scene.refused(ANN, command::CHAT_GROUP_TALK, dest, &talk).await;
        assert_eq!(status, Status::InvalidPacketBody);
        assert!(why.starts_with(field), "{field}: {why}");
    }
    let (status, why) = scene.refused(ANN, command::CHAT_GROUP_TALK, "", &text("hi")).await;
    assert_eq!((status, why.as_str()), (Status::NoDestination, "dest is empty"));
}

#[tokio::test]
async fn a_group_takes_as_many_members_as_it_may_have_and_not_one_more() {
    let scene = Scene::ruled(GroupRules { members_max: 3, open_talk: false });
    let new = |members: &[&str]| GroupCreateReq {
        members: strings(members),
        ..GroupCreateReq::default()
    };
    for (members, why) in [
        // With ann they are four.
        (&["bob", "cid", "dan"][..], "the group is full"),
        (&["bob", "cid", "dan", "eve"], "members: expected at most 3, got 4"),
    ] {
        let asked = new(members);
        let refused = scene.refused(ANN, command::CHAT_GROUP_CREATE, "", &asked).await;
        assert_eq!(refused, (Status::InvalidPacketBody, why.to_owned()));
    }
    // Ann named among them is still one.
    let full = scene.group(ANN, &["bob", "cid", "ann"]).await;
    let asked = joining("dan", &full);
    let refused = scene.refused(ANN, command::CHAT_GROUP_JOIN, "", &asked).await;
    assert_eq!(refused, (Status::InvalidPacketBody, "the group is full".to_owned()));
    // Who is in it may join again, and who leaves makes room.
    scene.join(ANN, "bob", &full).await;
    scene.quit(BOB, "bob", &full).await;
    scene.join(ANN, "dan", &full).await;
    assert_eq!(scene.members(ANN, &full).await, ["ann", "cid", "dan"]);
}
