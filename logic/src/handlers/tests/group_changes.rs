//! Who is in a group, who may change that, and who hears of it.

use imago_proto::{
    Status, command,
    msg::{
        GroupCreateNotify, GroupCreateReq, GroupCreateResp, GroupGetReq, GroupJoinNotify,
        GroupQuitNotify, MessagePush,
    },
};

use super::scene::{
    ANN, ANN_PHONE, BOB, BOB_PHONE, CID, DAN, Device, OTHER_ANN, OTHER_BOB, Scene, joining,
    quitting, strings,
};

/// Devices of ann, bob and cid, but ann's first.
const ALL_BUT_ANN: [Device; 4] = [ANN_PHONE, BOB, BOB_PHONE, CID];

fn looking_at(group: &str) -> GroupGetReq {
    GroupGetReq { group_id: group.to_owned(), skip: 0 }
}

async fn open_group(scene: &Scene, owner: Device) -> String {
    let new = GroupCreateReq { open: true, ..GroupCreateReq::default() };
    let made: GroupCreateResp = scene.ask(owner, command::CHAT_GROUP_CREATE, "", &new).await;
    scene.pushes().await;
    made.group_id
}

#[tokio::test]
async fn the_creator_of_a_group_owns_it_and_each_other_member_gets_one_push() {
    let scene = Scene::new();
    let new = GroupCreateReq {
        name: "hikers".to_owned(),
        avatar: "https://example.org/boots.png".to_owned(),
        introduction: "up".to_owned(),
        // The request may name another owner, and a member several times.
        owner: "bob".to_owned(),
        members: strings(&["cid", "bob", "cid", "ann", "zoe"]),
        ..GroupCreateReq::default()
    };
    let made: GroupCreateResp = scene.ask(ANN, command::CHAT_GROUP_CREATE, "", &new).await;
    let group = made.group_id.as_str();
    let heard: GroupCreateNotify =
        scene.heard_by(&ALL_BUT_ANN, command::CHAT_GROUP_CREATE, group).await;
    assert_eq!(heard.group_id, group);
    assert_eq!(heard.members, strings(&["ann", "cid", "bob", "zoe"]));

    let detail = scene.detail(CID, group).await;
    assert_eq!((detail.id.as_str(), detail.owner.as_str()), (group, "ann"));
    assert_eq!((&detail.name, &detail.avatar), (&new.name, &new.avatar));
    assert_eq!(detail.introduction, new.introduction);
    let names: Vec<_> = detail.members.iter().map(|member| member.account.as_str()).collect();
    assert_eq!(names, ["ann", "cid", "bob", "zoe"]);
    // Unix seconds.
    assert!((1_700_000_000..10_000_000_000).contains(&detail.created_at));
    assert!(detail.members.iter().all(|member| member.join_time == detail.created_at));
    assert_eq!(scene.members(CID, group).await, ["ann", "cid", "bob", "zoe"]);
}

#[tokio::test]
async fn the_list_of_members_tells_nothing_else_of_the_group() {
    let scene = Scene::new();
    let new = GroupCreateReq { name: "hikers".to_owned(), ..GroupCreateReq::default() };
    let made: GroupCreateResp = scene.ask(ANN, command::CHAT_GROUP_CREATE, "", &new).await;
    let asked = looking_at(&made.group_id);
    let found: imago_proto::msg::GroupGetResp =
        scene.ask(ANN, command::CHAT_GROUP_MEMBERS, "", &asked).await;
    assert_eq!((found.id, found.members.len()), (made.group_id, 1));
    assert_eq!((found.name.as_str(), found.owner.as_str(), found.created_at), ("", "", 0));
}

#[tokio::test]
async fn a_group_of_one_is_a_group() {
    let scene = Scene::new();
    let group = scene.group(ANN, &[]).await;
    assert_eq!(scene.members(ANN, &group).await, ["ann"]);
    assert_ne!(scene.group(ANN, &[]).await, group);
}

#[tokio::test]
async fn a_member_adds_an_account_and_each_device_gets_one_push() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    scene.join(BOB, "cid", &group).await;
    let heard: GroupJoinNotify =
        scene.heard_by(&[ANN, ANN_PHONE, BOB_PHONE, CID], command::CHAT_GROUP_JOIN, &group).await;
    assert_eq!((heard.group_id.as_str(), heard.account.as_str()), (group.as_str(), "cid"));
    assert_eq!(scene.members(CID, &group).await, ["ann", "bob", "cid"]);
    // Once more is a success that changes nothing.
    scene.join(ANN, "cid", &group).await;
    assert_eq!(scene.members(CID, &group).await, ["ann", "bob", "cid"]);
}

#[tokio::test]
async fn an_account_outside_a_group_adds_no_member_to_it() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    for account in ["dan", "cid", "ann"] {
        let asked = joining(account, &group);
        let (status, why) = scene.refused(DAN, command::CHAT_GROUP_JOIN, "", &asked).await;
        assert_eq!((status, why.as_str()), (Status::Unauthorized, "not a member of the group"));
    }
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
}

#[tokio::test]
async fn any_account_joins_an_open_group_but_adds_no_other() {
    let scene = Scene::new();
    let group = open_group(&scene, ANN).await;
    let asked = joining("cid", &group);
    let (status, _) = scene.refused(DAN, command::CHAT_GROUP_JOIN, "", &asked).await;
    assert_eq!(status, Status::Unauthorized);
    // Who is not in it yet may see who is.
    assert_eq!(scene.members(DAN, &group).await, ["ann"]);
    scene.join(DAN, "dan", &group).await;
    let _: GroupJoinNotify =
        scene.heard_by(&[ANN, ANN_PHONE], command::CHAT_GROUP_JOIN, &group).await;
    scene.join(DAN, "cid", &group).await;
    assert_eq!(scene.members(DAN, &group).await, ["ann", "dan", "cid"]);
}

#[tokio::test]
async fn a_member_that_leaves_is_gone_and_each_session_gets_one_push() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob", "cid"]).await;
    scene.quit(BOB, "bob", &group).await;
    let heard: GroupQuitNotify =
        scene.heard_by(&[ANN, ANN_PHONE, BOB_PHONE, CID], command::CHAT_GROUP_QUIT, &group).await;
    assert_eq!((heard.group_id.as_str(), heard.account.as_str()), (group.as_str(), "bob"));
    assert_eq!(scene.members(CID, &group).await, ["ann", "cid"]);
    for command in [command::CHAT_GROUP_MEMBERS, command::CHAT_GROUP_DETAIL] {
        let (status, _) = scene.refused(BOB, command, "", &looking_at(&group)).await;
        assert_eq!(status, Status::Unauthorized);
    }
    let asked = joining("bob", &group);
    let (status, _) = scene.refused(BOB, command::CHAT_GROUP_JOIN, "", &asked).await;
    assert_eq!(status, Status::Unauthorized);
    // A member that comes back is last in the order of joining.
    scene.join(CID, "bob", &group).await;
    assert_eq!(scene.members(BOB, &group).await, ["ann", "cid", "bob"]);
}

#[tokio::test]
async fn only_the_owner_removes_another_member_which_gets_a_push_too() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob", "cid"]).await;
    for (who, account) in [(BOB, "cid"), (BOB, "ann"), (DAN, "bob")] {
        let asked = quitting(account, &group);
        let (status, why) = scene.refused(who, command::CHAT_GROUP_QUIT, "", &asked).await;
        assert_eq!((status, why.as_str()), (Status::Unauthorized, "not the owner of the group"));
    }
    scene.quit(ANN, "cid", &group).await;
    let heard: GroupQuitNotify =
        scene.heard_by(&ALL_BUT_ANN, command::CHAT_GROUP_QUIT, &group).await;
    assert_eq!(heard.account, "cid");
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
}

#[tokio::test]
async fn an_owner_who_has_left_still_removes_others_but_sees_nothing() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob", "cid"]).await;
    scene.quit(ANN, "ann", &group).await;
    let (status, _) = scene.refused(ANN, command::CHAT_GROUP_DETAIL, "", &looking_at(&group)).await;
    assert_eq!(status, Status::Unauthorized);
    scene.pushes().await;
    scene.quit(ANN, "cid", &group).await;
    let _: GroupQuitNotify =
        scene.heard_by(&[BOB, BOB_PHONE, CID], command::CHAT_GROUP_QUIT, &group).await;
    assert_eq!(scene.detail(BOB, &group).await.owner, "ann");
}

#[tokio::test]
async fn a_quit_of_an_account_outside_the_group_succeeds_without_a_push() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    scene.quit(DAN, "dan", &group).await;
    scene.quit(ANN, "unknown", &group).await;
    assert!(scene.pushes().await.is_empty(), "a stranger talks to the members");
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
    // Nor does who was removed go on being heard.
    scene.quit(ANN, "bob", &group).await;
    scene.pushes().await;
    scene.quit(BOB, "bob", &group).await;
    assert!(scene.pushes().await.is_empty());
}

#[tokio::test]
async fn a_group_of_another_app_is_not_there() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    let (join, quit) = (joining("ann", &group), quitting("ann", &group));
    for result in [
        scene.refused(OTHER_ANN, command::CHAT_GROUP_JOIN, "", &join).await,
        scene.refused(OTHER_ANN, command::CHAT_GROUP_QUIT, "", &quit).await,
        scene.refused(OTHER_ANN, command::CHAT_GROUP_DETAIL, "", &looking_at(&group)).await,
        scene.refused(OTHER_ANN, command::CHAT_GROUP_MEMBERS, "", &looking_at(&group)).await,
        scene.refused(OTHER_ANN, command::CHAT_GROUP_TALK, &group, &super::text("hi")).await,
    ] {
        assert_eq!(result, (Status::InvalidPacketBody, "no such group".to_owned()));
    }
    assert_eq!(scene.members(ANN, &group).await, ["ann", "bob"]);
}

#[tokio::test]
async fn groups_of_two_apps_with_the_same_names_in_them_never_meet() {
    let scene = Scene::new();
    let ours = scene.group(ANN, &["bob"]).await;
    let theirs = scene.group(OTHER_ANN, &["bob"]).await;
    assert_ne!(ours, theirs);
    scene.say(OTHER_ANN, &theirs, "theirs").await;
    let heard: MessagePush = scene.heard_by(&[OTHER_BOB], command::CHAT_GROUP_TALK, &theirs).await;
    assert_eq!(heard.body, "theirs");
    assert!(scene.sync(BOB, &[], 0).await.messages.is_empty());
    scene.quit(OTHER_ANN, "bob", &theirs).await;
    let _: GroupQuitNotify = scene.heard_by(&[OTHER_BOB], command::CHAT_GROUP_QUIT, &theirs).await;
    assert_eq!(scene.members(ANN, &ours).await, ["ann", "bob"]);
}

#[tokio::test]
async fn names_that_no_group_has_are_refused() {
    let scene = Scene::new();
    let group = scene.group(ANN, &[]).await;
    let direct = scene.tell(ANN, "bob", "hi").await.conversation;
    let zeros = group.replacen('g', "g0", 1);
    for strange in ["x", "g", "g0", "g-1", "g999999999999999999999", &direct, &zeros, "' OR 1=1 --"]
    {
        for (command, dest) in [(command::CHAT_GROUP_DETAIL, ""), (command::CHAT_GROUP_MEMBERS, "")]
        {
            let (status, _) = scene.refused(ANN, command, dest, &looking_at(strange)).await;
            assert_eq!(status, Status::InvalidPacketBody, "{strange}");
        }
        let talk = super::text("hi");
        let (status, why) = scene.refused(ANN, command::CHAT_GROUP_TALK, strange, &talk).await;
        assert_eq!((status, why.as_str()), (Status::InvalidPacketBody, "no such group"));
    }
}

#[tokio::test]
async fn a_closed_group_shows_itself_to_its_members_only() {
    let scene = Scene::new();
    let group = scene.group(ANN, &["bob"]).await;
    for command in [command::CHAT_GROUP_DETAIL, command::CHAT_GROUP_MEMBERS] {
        let (status, why) = scene.refused(DAN, command, "", &looking_at(&group)).await;
        assert_eq!((status, why.as_str()), (Status::Unauthorized, "not a member of the group"));
    }
}
