//! Messages between accounts: pushed, listed, read, acknowledged.

use std::time::{SystemTime, UNIX_EPOCH};

use imago_proto::command;

use crate::{
    Cluster,
    client::{Legacy, Port},
    hears, ids, index,
    messages::{
        MessageAckReq, MessageContent, MessageContentReq, MessageContentResp, MessageIndex,
        MessagePush, MessageReq, MessageResp,
    },
};

const TALK: &str = command::CHAT_USER_TALK;

pub(crate) async fn contents(client: &mut Legacy, message_ids: Vec<i64>) -> Vec<MessageContent> {
    let asked = MessageContentReq { message_ids };
    client.ask::<MessageContentResp>(command::CHAT_OFFLINE_CONTENT, "", &asked).await.contents
}

fn bodies(contents: &[MessageContent]) -> Vec<&str> {
    contents.iter().map(|content| content.body.as_str()).collect()
}

fn is_recent(unix_nanos: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let wrong: i64 = std::env::var("IMAGO_TEST_CLOCKS").map_or(0, |by| by.parse().unwrap());
    let wrong = wrong.abs() * 1_000_000_000;
    (now - wrong - 60_000_000_000..=now + wrong).contains(&unix_nanos)
}

/// Ann says the same twice to bob, who hears it twice.
async fn pushed(ann: &mut Legacy, bob: &mut Legacy) -> Vec<MessageResp> {
    let (body, extra) = ("same picture".to_owned(), r#"{"width":1}"#.to_owned());
    let talk = MessageReq { kind: 2, body: body.clone(), extra: extra.clone() };
    let mut sent: Vec<MessageResp> = Vec::new();
    for _ in 0..2 {
        sent.push(ann.ask(TALK, "bob", &talk).await);
    }
    assert!(sent[0].message_id > 10_000 && sent[1].message_id > sent[0].message_id, "{sent:?}");
    for MessageResp { message_id, send_time } in sent.clone() {
        assert!(is_recent(send_time), "{send_time}");
        let (body, extra, sender) = (body.clone(), extra.clone(), "ann".to_owned());
        let expected = MessagePush { message_id, kind: 2, body, extra, sender, send_time };
        assert_eq!(bob.push::<MessagePush>(TALK, "bob").await, expected);
    }
    // What one says to oneself is only answered.
    ann.talk(TALK, "ann", "to myself").await;
    bob.talk(TALK, "ann", "thanks").await;
    hears(ann, "ann", "thanks").await;
    sent
}

/// Bob lists, reads and acknowledges the two messages.
async fn fetched(bob: &mut Legacy, sent: &[MessageResp]) {
    let listed = index(bob, 0).await;
    let expected = sent.iter().map(|sent| MessageIndex {
        message_id: sent.message_id,
        direction: 0,
        send_time: sent.send_time,
        account_b: "ann".to_owned(),
        group: String::new(),
    });
    assert_eq!(listed, Vec::from_iter(expected));
    let [first, second] = [sent[0].message_id, sent[1].message_id];
    let read = contents(bob, vec![second, 12_345, first]).await;
    let content = |message_id| {
        let (body, extra) = ("same picture".to_owned(), r#"{"width":1}"#.to_owned());
        MessageContent { message_id, kind: 2, body, extra }
    };
    let missing = MessageContent { message_id: 12_345, ..MessageContent::default() };
    assert_eq!(read, [content(second), missing, content(first)]);

    for (acknowledged, left) in [(0, 2), (-1, 2), (first, 1), (first - 1, 1), (0, 1)] {
        let ack = MessageAckReq { message_id: acknowledged };
        let () = bob.ask(command::CHAT_TALK_ACK, "", &ack).await;
        assert_eq!(ids(bob, 0).await, [first, second][2 - left..], "{acknowledged}");
    }
    assert_eq!(ids(bob, first).await, [second]);
    assert_eq!(ids(bob, second).await, [0; 0]);
    assert_eq!(ids(bob, 0).await, [0; 0]);
    assert_eq!(ids(bob, -1).await, [first, second]);
}

async fn chat(cluster: &Cluster, port: Port) {
    let mut ann = cluster.login(0, port, "ann").await;
    let mut bob = cluster.login(1, port, "bob").await;
    let sent = pushed(&mut ann, &mut bob).await;
    fetched(&mut bob, &sent).await;

    // Nobody has ever seen cid, who comes later.
    let sent = ann.talk(TALK, "cid", "welcome").await;
    let mut cid = cluster.login(1, port, "cid").await;
    assert_eq!(ids(&mut cid, 0).await, [sent.message_id]);
    assert_eq!(bodies(&contents(&mut cid, vec![sent.message_id]).await), ["welcome"]);
    assert_eq!(bodies(&contents(&mut bob, vec![sent.message_id]).await), [""], "it is not his");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_pushed_listed_read_and_acknowledged() {
    let cluster = Cluster::start().await;
    chat(&cluster, Port::WebSocket).await;
    chat(&cluster, Port::Tcp).await;
}

/// Dan, who was away, acknowledges each message when he has looked at it, whatever he has read by then.
async fn one_by_one(cluster: &Cluster, port: Port) {
    let mut ann = cluster.login(0, port, "ann").await;
    let sent = ann.flood("dan", 4).await;
    let mut dan = cluster.login(1, port, "dan").await;
    assert_eq!(ids(&mut dan, 0).await, sent);
    assert_eq!(bodies(&contents(&mut dan, sent.clone()).await), ["0", "1", "2", "3"]);
    let () = dan.ask(command::CHAT_TALK_ACK, "", &MessageAckReq { message_id: sent[0] }).await;
    assert_eq!(ids(&mut dan, 0).await, sent[1..]);
    assert_eq!(ids(&mut dan, sent[1]).await, sent[2..]);
    // An id of an earlier session, and one of no message.
    let mut again = cluster.login(0, port, "dan").await;
    for message_id in [sent[2], sent[3] + 1] {
        let () = again.ask(command::CHAT_TALK_ACK, "", &MessageAckReq { message_id }).await;
        assert_eq!(ids(&mut again, message_id).await, sent[2..]);
    }
    // They are listed by now.
    assert_eq!(ids(&mut again, sent[2]).await, sent[3..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_is_acknowledged_one_by_one() {
    let cluster = Cluster::start().await;
    one_by_one(&cluster, Port::WebSocket).await;
    one_by_one(&cluster, Port::Tcp).await;
}

async fn pages(cluster: &Cluster, port: Port) {
    const COUNT: u32 = 2050;
    let mut ann = cluster.login(0, port, "ann").await;
    let sent = ann.flood("dora", COUNT).await;
    let mut dora = cluster.login(1, port, "dora").await;
    let (mut listed, mut pages, mut from) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = ids(&mut dora, from).await;
        let Some(last) = page.last() else { break };
        from = *last;
        pages.push(page.len());
        listed.extend(page);
    }
    assert_eq!((listed, pages), (sent.clone(), vec![2000, 50]));
    let mut number = 0;
    for some in sent.chunks(200) {
        for content in contents(&mut dora, some.to_vec()).await {
            assert_eq!(content.body, number.to_string());
            number += 1;
        }
    }
    assert_eq!(number, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_between_is_fetched_page_by_page() {
    let cluster = Cluster::start().await;
    pages(&cluster, Port::WebSocket).await;
    pages(&cluster, Port::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_two_apps_never_meet() {
    let cluster = Cluster::start().await;
    let login = async |gateway: usize, account, app| {
        let token = cluster.world.token_for(account, app, "");
        Legacy::login(&cluster.gateways[gateway], Port::WebSocket, &token, account).await
    };
    let mut ann = login(0, "ann", "here").await;
    let mut bob = login(1, "bob", "here").await;
    // The same names, which kick nobody.
    let mut other_ann = login(1, "ann", "there").await;
    let mut other_bob = login(0, "bob", "there").await;
    let sent = ann.talk(TALK, "bob", "here").await;
    let other = other_ann.talk(TALK, "bob", "there").await;
    hears(&mut bob, "bob", "here").await;
    hears(&mut other_bob, "bob", "there").await;
    for (bob, own, strange) in [(&mut bob, &sent, &other), (&mut other_bob, &other, &sent)] {
        assert_eq!(ids(bob, -1).await, [own.message_id]);
        let read = contents(bob, vec![strange.message_id]).await;
        assert_eq!(bodies(&read), [""]);
    }
    // What it was never given is not a client's to acknowledge.
    let acks = async |bob: &mut Legacy, message_id| {
        let () = bob.ask(command::CHAT_TALK_ACK, "", &MessageAckReq { message_id }).await;
    };
    acks(&mut bob, other.message_id).await;
    assert_eq!(ids(&mut bob, 0).await, [sent.message_id]);
    acks(&mut bob, sent.message_id).await;
    assert_eq!(ids(&mut bob, 0).await, [0; 0]);
    assert_eq!(ids(&mut other_bob, 0).await, [other.message_id]);
}
