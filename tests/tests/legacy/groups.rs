//! Groups: made, joined, talked in, looked at and left.

use imago_proto::command;

use crate::{
    Cluster,
    client::{Legacy, Port},
    hears, index,
    messages::{
        GroupChangeNotify, GroupChangeReq, GroupCreateNotify, GroupCreateReq, GroupCreateResp,
        GroupGetReq, GroupGetResp, MessageIndex, MessagePush, MessageReq,
    },
    talk::contents,
};

const JOIN: &str = command::CHAT_GROUP_JOIN;
const QUIT: &str = command::CHAT_GROUP_QUIT;
const TALK: &str = command::CHAT_GROUP_TALK;

fn change(account: &str, group_id: &str) -> GroupChangeReq {
    GroupChangeReq { account: account.to_owned(), group_id: group_id.to_owned() }
}

async fn is_told(client: &mut Legacy, command: &str, group: &str, account: &str) {
    let notify: GroupChangeNotify = client.push(command, group).await;
    assert_eq!((notify.group_id.as_str(), notify.account.as_str()), (group, account));
}

/// Ann makes a group of herself, bob, and cid, who is away.
async fn made(ann: &mut Legacy, bob: &mut Legacy) -> String {
    let request = GroupCreateReq {
        name: "team".to_owned(),
        avatar: "a.png".to_owned(),
        introduction: "we talk".to_owned(),
        owner: "mallory".to_owned(),
        members: ["bob", "cid", "bob", "ann"].map(str::to_owned).to_vec(),
    };
    let made: GroupCreateResp = ann.ask(command::CHAT_GROUP_CREATE, "", &request).await;
    let notify: GroupCreateNotify = bob.push(command::CHAT_GROUP_CREATE, &made.group_id).await;
    let mut members = notify.members;
    members.sort();
    assert_eq!((&notify.group_id, members), (&made.group_id, names(&["ann", "bob", "cid"])));
    made.group_id
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn members(client: &mut Legacy, group: &str) -> Vec<String> {
    let asked = GroupGetReq { group_id: group.to_owned() };
    let found: GroupGetResp = client.ask(command::CHAT_GROUP_MEMBERS, "", &asked).await;
    found.members.into_iter().map(|member| member.account).collect()
}

async fn describes(client: &mut Legacy, group: &str) {
    let asked = GroupGetReq { group_id: group.to_owned() };
    let found: GroupGetResp = client.ask(command::CHAT_GROUP_DETAIL, "", &asked).await;
    let texts = [&found.id, &found.name, &found.avatar, &found.introduction, &found.owner];
    assert_eq!(texts, [group, "team", "a.png", "we talk", "ann"]);
    assert!(found.created_at > 1_700_000_000 && found.created_at < 100_000_000_000);
    let times: Vec<i64> = found.members.iter().map(|member| member.join_time).collect();
    assert!(times.is_sorted() && times[0] >= found.created_at, "{found:?}");
    let mut found: Vec<String> = found.members.into_iter().map(|member| member.account).collect();
    assert_eq!(found, members(client, group).await);
    assert_eq!(found.pop().as_deref(), Some("eve"), "the last to join");
    found.sort();
    assert_eq!(found, names(&["ann", "bob", "cid"]));
}

/// Bob takes eve in, twice: everybody who is there hears of it, but the caller.
async fn joined(ann: &mut Legacy, bob: &mut Legacy, eve: &mut Legacy, group: &str) {
    eve.refused(105, JOIN, "", &change("eve", group)).await;
    for _ in 0..2 {
        let () = bob.ask(JOIN, "", &change("eve", group)).await;
        is_told(ann, JOIN, group, "eve").await;
        is_told(eve, JOIN, group, "eve").await;
    }
}

/// Eve talks, on one gateway, and is heard on both.
async fn talked(ann: &mut Legacy, bob: &mut Legacy, eve: &mut Legacy, group: &str) -> i64 {
    let sent = eve.talk(TALK, group, "hello all").await;
    let expected = MessagePush {
        message_id: sent.message_id,
        kind: 1,
        body: "hello all".to_owned(),
        extra: String::new(),
        sender: "eve".to_owned(),
        send_time: sent.send_time,
    };
    for other in [&mut *ann, &mut *bob] {
        assert_eq!(other.push::<MessagePush>(TALK, group).await, expected);
    }
    let answer = ann.talk(TALK, group, "hello eve").await;
    for other in [bob, eve] {
        let push: MessagePush = other.push(TALK, group).await;
        assert_eq!((push.message_id, push.sender.as_str()), (answer.message_id, "ann"));
    }
    sent.message_id
}

/// Cid, who was away, finds what was said.
async fn fetched(cid: &mut Legacy, group: &str, first: i64) {
    let listed = index(cid, 0).await;
    let told = |entry: &MessageIndex| (entry.account_b.clone(), entry.group.clone());
    let expected = ["eve", "ann"].map(|sender| (sender.to_owned(), group.to_owned()));
    assert_eq!(Vec::from_iter(listed.iter().map(told)), expected);
    assert_eq!(listed[0].message_id, first);
    let read = contents(cid, listed.iter().map(|entry| entry.message_id).collect()).await;
    assert_eq!([&read[0].body, &read[1].body], ["hello all", "hello eve"]);
    assert_eq!(index(cid, first).await, listed[1..]);
}

/// Eve leaves; who has left hears and says nothing more there.
async fn left(ann: &mut Legacy, bob: &mut Legacy, eve: &mut Legacy, group: &str) {
    let () = eve.ask(QUIT, "", &change("eve", group)).await;
    is_told(ann, QUIT, group, "eve").await;
    is_told(bob, QUIT, group, "eve").await;
    // Nobody hears of a quit that changes nothing.
    let () = eve.ask(QUIT, "", &change("eve", group)).await;
    let hello = MessageReq { kind: 1, body: "hello".into(), extra: String::new() };
    eve.refused(105, TALK, group, &hello).await;
    let asked = GroupGetReq { group_id: group.to_owned() };
    eve.refused(105, command::CHAT_GROUP_DETAIL, "", &asked).await;
    eve.refused(105, command::CHAT_GROUP_MEMBERS, "", &asked).await;

    bob.talk(TALK, group, "she is gone").await;
    let push: MessagePush = ann.push(TALK, group).await;
    assert_eq!(push.body, "she is gone");
    bob.talk(command::CHAT_USER_TALK, "eve", "you are gone").await;
    hears(eve, "eve", "you are gone").await;
}

async fn a_group(cluster: &Cluster, port: Port) {
    let mut ann = cluster.login(0, port, "ann").await;
    let mut bob = cluster.login(1, port, "bob").await;
    let mut eve = cluster.login(0, port, "eve").await;
    let group = made(&mut ann, &mut bob).await;
    joined(&mut ann, &mut bob, &mut eve, &group).await;
    describes(&mut ann, &group).await;
    let first = talked(&mut ann, &mut bob, &mut eve, &group).await;
    let mut cid = cluster.login(1, port, "cid").await;
    fetched(&mut cid, &group, first).await;
    left(&mut ann, &mut bob, &mut eve, &group).await;

    // To another app it is no group.
    let token = cluster.world.token_for("ann", "elsewhere", "");
    let mut other = Legacy::login(&cluster.gateways[0], port, &token, "ann").await;
    let asked = GroupGetReq { group_id: group };
    other.refused(101, command::CHAT_GROUP_DETAIL, "", &asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_made_joined_talked_in_and_left() {
    let cluster = Cluster::start().await;
    a_group(&cluster, Port::WebSocket).await;
    a_group(&cluster, Port::Tcp).await;
}
