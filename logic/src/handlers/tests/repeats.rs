//! A request under the same id of the client is carried out once.

use imago_proto::{
    Status, command,
    msg::{
        GroupCreateReq, GroupCreateResp, GroupJoinNotify, GroupJoinReq, GroupQuitReq, MessageResp,
    },
};
use prost::Message;

use super::scene::{
    ANN, ANN_PHONE, BOB, BOB_PHONE, CID, OTHER_ANN, Scene, bodies, joining, keyed, quitting,
    strings,
};
use crate::{GroupRules, support::gateway};

fn join_once(account: &str, group: &str, key: &str) -> GroupJoinReq {
    GroupJoinReq { client_message_id: key.to_owned(), ..joining(account, group) }
}

fn quit_once(account: &str, group: &str, key: &str) -> GroupQuitReq {
    GroupQuitReq { client_message_id: key.to_owned(), ..quitting(account, group) }
}

fn create_once(name: &str, members: &[&str], key: &str) -> GroupCreateReq {
    GroupCreateReq {
        name: name.to_owned(),
        members: strings(members),
        client_message_id: key.to_owned(),
        ..GroupCreateReq::default()
    }
}

#[tokio::test]
async fn a_group_is_made_once_for_each_id_device_account_and_app() {
    let scene = Scene::new();
    let create = async |who, name: &str, members: &[&str]| {
        let new = create_once(name, members, "k");
        let made: GroupCreateResp = scene.ask(who, command::CHAT_GROUP_CREATE, "", &new).await;
        made.group_id
    };
    let first = create(ANN, "first", &["bob"]).await;
    // The repeat may have other contents.
    assert_eq!(create(ANN, "again", &["bob", "cid"]).await, first);
    let detail = scene.detail(ANN, &first).await;
    assert_eq!((detail.name.as_str(), detail.members.len()), ("first", 2));

    let mut all = vec![first];
    for who in [ANN_PHONE, BOB, BOB_PHONE, OTHER_ANN] {
        all.push(create(who, "of another owner", &[]).await);
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "two requests made one group");
}

#[tokio::test]
async fn without_an_id_each_request_of_a_client_is_another_one() {
    let scene = Scene::new();
    assert_ne!(scene.group(ANN, &[]).await, scene.group(ANN, &[]).await);
    let group = scene.group(ANN, &[]).await;
    scene.join(ANN, "bob", &group).await;
    scene.quit(ANN, "bob", &group).await;
    scene.join(ANN, "bob", &group).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
}

#[tokio::test]
async fn a_late_repeat_of_a_join_adds_no_member_and_is_not_pushed() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["cid"]).await;
    let join = join_once("bob", &group, "k");
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    // While bob is a member, a repeat is pushed.
    scene.pushes().await;
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    let to = [ANN_PHONE, BOB, BOB_PHONE, CID];
    let _: GroupJoinNotify = scene.heard_by(&to, command::CHAT_GROUP_JOIN, &group).await;

    scene.quit(BOB, "bob", &group).await;
    scene.pushes().await;
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "cid"]);
    assert!(scene.pushes().await.is_empty(), "they hear of a join that was none");
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join_once("bob", &group, "new")).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "cid", "bob"]);
}

#[tokio::test]
async fn a_late_repeat_of_a_quit_removes_no_member_and_is_not_pushed() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob", "cid"]).await;
    let quit = quit_once("bob", &group, "k");
    let () = scene.ask(BOB, command::CHAT_GROUP_QUIT, "", &quit).await;
    let () = scene.ask(BOB, command::CHAT_GROUP_QUIT, "", &quit).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "cid"]);
    scene.join(ANN, "bob", &group).await;
    scene.pushes().await;
    let () = scene.ask(BOB, command::CHAT_GROUP_QUIT, "", &quit).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "cid", "bob"]);
    assert!(scene.pushes().await.is_empty(), "they hear of a quit that was none");
}

#[tokio::test]
async fn a_late_repeat_of_what_changed_nothing_the_first_time_changes_nothing_either() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let (join, quit) = (join_once("bob", &group, "join"), quit_once("cid", &group, "quit"));
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    let () = scene.ask(ANN, command::CHAT_GROUP_QUIT, "", &quit).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
    scene.quit(BOB, "bob", &group).await;
    scene.join(ANN, "cid", &group).await;
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    let () = scene.ask(ANN, command::CHAT_GROUP_QUIT, "", &quit).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "cid"]);
}

#[tokio::test]
async fn the_same_id_of_another_account_or_device_is_another_request() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let join = join_once("cid", &group, "k");
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    for who in [ANN_PHONE, BOB, BOB_PHONE] {
        scene.quit(CID, "cid", &group).await;
        assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
        let () = scene.ask(who, command::CHAT_GROUP_JOIN, "", &join).await;
        assert_eq!(scene.members(ANN, &group).await, ["ann", "bob", "cid"], "{who:?}");
    }
    let quit = quit_once("cid", &group, "quit");
    let () = scene.ask(CID, command::CHAT_GROUP_QUIT, "", &quit).await;
    scene.join(ANN, "cid", &group).await;
    let () = scene.ask(ANN, command::CHAT_GROUP_QUIT, "", &quit).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_time_though_the_caller_may_no_longer() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let (join, talk) = (join_once("cid", &group, "join"), keyed("hi", "talk"));
    let () = scene.ask(BOB, command::CHAT_GROUP_JOIN, "", &join).await;
    let first: MessageResp = scene.ask(BOB, command::CHAT_GROUP_TALK, &group, &talk).await;
    scene.quit(BOB, "bob", &group).await;
    let again: MessageResp = scene.ask(BOB, command::CHAT_GROUP_TALK, &group, &talk).await;
    assert_eq!(again, first);
    let () = scene.ask(BOB, command::CHAT_GROUP_JOIN, "", &join).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "cid"]);
    // A new request is not.
    let new = join_once("dan", &group, "new");
    let (status, _) = scene.refused(BOB, command::CHAT_GROUP_JOIN, "", &new).await;
    assert_eq!(status, Status::Unauthorized);
}

#[tokio::test]
async fn a_repeat_of_a_join_is_a_success_even_where_the_group_is_full_by_now() {
    let scene = Scene::ruled(GroupRules { members_max: 2, open_talk: false });
    let group = scene.group(ANN, &[]).await;
    let join = join_once("bob", &group, "k");
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    scene.quit(BOB, "bob", &group).await;
    scene.join(ANN, "cid", &group).await;
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "cid"]);
}

#[tokio::test]
async fn a_refused_request_leaves_its_id_free() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let (join, quit) = (join_once("cid", &group, "j"), quit_once("bob", &group, "q"));
    let talk = keyed("hi", "t");
    scene.refused(CID, command::CHAT_GROUP_JOIN, "", &join).await;
    scene.refused(CID, command::CHAT_GROUP_QUIT, "", &quit).await;
    scene.refused(CID, command::CHAT_GROUP_TALK, &group, &talk).await;
    scene.join(ANN, "cid", &group).await;
    let sent: MessageResp = scene.ask(CID, command::CHAT_GROUP_TALK, &group, &talk).await;
    assert_eq!(sent.seq, 1);
}

#[tokio::test]
async fn a_message_to_a_group_is_stored_once_for_each_id_and_sender() {
    let scene = Scene::new();
    let (group, elsewhere) = (scene.group(ANN, &["bob"]).await, scene.group(ANN, &["bob"]).await);
    let say = async |who, dest: &str, body: &str| -> MessageResp {
        scene.ask(who, command::CHAT_GROUP_TALK, dest, &keyed(body, "k")).await
    };
    let first = say(ANN, &group, "first").await;
    assert_eq!(say(ANN, &group, "again").await, first);
    // Under another destination too, group or account, the receivers are the first ones.
    scene.pushes().await;
    assert_eq!(say(ANN, &elsewhere, "elsewhere").await, first);
    let told: MessageResp = scene.ask(ANN, command::CHAT_USER_TALK, "cid", &keyed("x", "k")).await;
    assert_eq!(told, first);
    let pushes = scene.pushes().await;
    assert!(pushes.iter().all(|(_, _, packet)| packet.header.dest == group), "{pushes:?}");
    assert_eq!(say(BOB, &group, "of bob").await.seq, 2);
    assert_eq!(say(ANN_PHONE, &group, "of the phone").await.seq, 3);
    let all = scene.sync(BOB, &[], 0).await.messages;
    assert_eq!(bodies(&all), ["first", "of bob", "of the phone"]);
}

#[tokio::test]
async fn what_a_gateway_sends_twice_is_carried_out_once_without_any_id_of_the_client() {
    let scene = Scene::new();
    let forward = |command: &str, dest: &str, body: Vec<u8>, request| {
        let forward = imago_proto::link::Forward {
            request,
            session: ANN.1,
            command: command.to_owned(),
            sequence: 3,
            dest: dest.to_owned(),
            acked: Vec::new(),
        };
        let to = &scene.world.service;
        imago_container::LogicRole::forward(to, &gateway("a"), forward, body.into());
    };
    let new = GroupCreateReq { members: strings(&["bob"]), ..GroupCreateReq::default() };
    for _ in 0..2 {
        forward(command::CHAT_GROUP_CREATE, "", new.encode_to_vec(), 9001);
    }
    let answers = [scene.world.answer(9001).await];
    let group = GroupCreateResp::decode(answers[0].body.clone()).unwrap().group_id;
    for _ in 0..2 {
        forward(command::CHAT_GROUP_TALK, &group, super::text("hi").encode_to_vec(), 9002);
    }
    scene.pushes().await;
    assert_eq!(bodies(&scene.sync(BOB, &[], 0).await.messages), ["hi"]);
    let asked = imago_proto::msg::ConversationsReq::default();
    let found: imago_proto::msg::ConversationsResp =
        scene.ask(BOB, command::CHAT_CONVERSATIONS, "", &asked).await;
    assert_eq!(found.conversations.len(), 1, "two groups were made");
}

#[tokio::test]
async fn a_quit_under_the_id_of_a_join_is_another_request() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let () = scene.ask(ANN, command::CHAT_GROUP_JOIN, "", &join_once("cid", &group, "k")).await;
    let () = scene.ask(ANN, command::CHAT_GROUP_QUIT, "", &quit_once("cid", &group, "k")).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
}
