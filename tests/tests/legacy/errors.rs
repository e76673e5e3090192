//! Refusals, each with the status that old clients know.

use imago_proto::command;
use imago_tests::World;

use crate::{
    Cluster,
    client::{Legacy, Port},
    hears, ids,
    messages::{
        GroupChangeReq, GroupCreateReq, GroupGetReq, LoginReq, MessageAckReq, MessageContentReq,
        MessageIndexResp, MessageReq, MessageResp,
    },
};

const TALK: &str = command::CHAT_USER_TALK;
const GROUP_TALK: &str = command::CHAT_GROUP_TALK;

fn said(body: &str, extra: &str) -> MessageReq {
    MessageReq { kind: 1, body: body.to_owned(), extra: extra.to_owned() }
}

/// Protobuf whose first two fields are texts that are not UTF-8: neither texts nor messages nor
/// numbers can be read out of them.
#[derive(Clone, PartialEq, prost::Message)]
struct Nonsense {
    #[prost(bytes = "vec", tag = "1")]
    first: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    second: Vec<u8>,
}

async fn bodies_are_checked(ann: &mut Legacy) {
    let (first, second) = (vec![0xff; 3], vec![0xff; 3]);
    let nonsense = Nonsense { first, second };
    for command in [
        TALK,
        GROUP_TALK,
        command::CHAT_TALK_ACK,
        command::CHAT_GROUP_CREATE,
        command::CHAT_GROUP_JOIN,
        command::CHAT_GROUP_QUIT,
        command::CHAT_GROUP_DETAIL,
        command::CHAT_GROUP_MEMBERS,
        command::CHAT_OFFLINE_CONTENT,
    ] {
        ann.refused(101, command, "bob", &nonsense).await;
    }
    // Old clients read a list there, whatever the status is.
    let index = command::CHAT_OFFLINE_INDEX;
    let empty: MessageIndexResp = ann.refused_with(101, index, &nonsense).await;
    assert_eq!(empty.indexes, []);

    let read = command::CHAT_OFFLINE_CONTENT;
    for count in [0, 201] {
        let asked = MessageContentReq { message_ids: vec![12_345; count] };
        ann.refused(101, read, "", &asked).await;
    }
}

async fn limits_are_kept(ann: &mut Legacy) {
    let long = |characters| "ü".repeat(characters);
    ann.refused(101, TALK, "bob", &said(&long(5001), "")).await;
    ann.refused(101, TALK, "bob", &said("", &long(501))).await;
    ann.refused(101, TALK, &long(61), &said("", "")).await;
    ann.refused(101, GROUP_TALK, &long(31), &said("", "")).await;
    let group = GroupCreateReq { name: "n".to_owned(), ..GroupCreateReq::default() };
    for strange in [
        GroupCreateReq { name: long(51), ..group.clone() },
        GroupCreateReq { avatar: long(201), ..group.clone() },
        GroupCreateReq { introduction: long(301), ..group.clone() },
        GroupCreateReq { members: vec![long(61)], ..group.clone() },
    ] {
        ann.refused(101, command::CHAT_GROUP_CREATE, "", &strange).await;
    }
    let _: MessageResp = ann.ask(TALK, &long(60), &said(&long(5000), &long(500))).await;
}

async fn places_have_to_exist(ann: &mut Legacy) {
    ann.refused(100, TALK, "", &said("hello?", "")).await;
    ann.refused(100, GROUP_TALK, "", &said("hello?", "")).await;
    for group in ["g999", "nowhere"] {
        ann.refused(101, GROUP_TALK, group, &said("hello?", "")).await;
        let asked = GroupGetReq { group_id: group.to_owned() };
        ann.refused(101, command::CHAT_GROUP_DETAIL, "", &asked).await;
        for account in ["bob", ""] {
            let (account, group_id) = (account.to_owned(), group.to_owned());
            let change = GroupChangeReq { account, group_id };
            ann.refused(101, command::CHAT_GROUP_JOIN, "", &change).await;
            ann.refused(101, command::CHAT_GROUP_QUIT, "", &change).await;
        }
    }
    for command in ["chat.user.sing", "chat.nothing", "nothing", ""] {
        ann.refused(301, command, "bob", &said("hello?", "")).await;
    }
}

async fn refuses(cluster: &Cluster, port: Port) {
    let mut ann = cluster.login(0, port, "ann").await;
    let mut bob = cluster.login(1, port, "bob").await;
    bodies_are_checked(&mut ann).await;
    limits_are_kept(&mut ann).await;
    places_have_to_exist(&mut ann).await;
    let token = cluster.world.token_for("ann", &format!("{port:?}"), "");
    ann.refused(103, command::LOGIN_SIGNIN, "", &LoginReq { token, ..LoginReq::default() }).await;
    // After all that she is as welcome as before, and nothing of it came to bob.
    ann.talk(TALK, "bob", "hello").await;
    hears(&mut bob, "bob", "hello").await;
    assert_eq!(ids(&mut bob, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_statuses_of_old() {
    let cluster = Cluster::start().await;
    refuses(&cluster, Port::WebSocket).await;
    refuses(&cluster, Port::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_hears_why() {
    let world = World::gossip().await;
    let mut logic = world.logic("logic-1", &[]).await;
    // It keeps its doors open for all of the test.
    let gateway = world.gateway("gateway-1", &[("forward.isolated", "1m")]).await;
    logic.ready().await;
    gateway.ready().await;
    for (port, code) in [(Port::WebSocket, Some(1008)), (Port::Tcp, None)] {
        for token in ["", "no token", &format!("{}x", world.token("ann"))] {
            let mut stranger = Legacy::connect(&gateway, port).await;
            stranger.send_login(token).await;
            assert_eq!(stranger.turned_away().await, (105, code), "{port:?}, {token}");
        }
        let mut hasty = Legacy::connect(&gateway, port).await;
        let ack = MessageAckReq { message_id: 12_345 };
        hasty.send(command::CHAT_TALK_ACK, "", &ack).await;
        assert_eq!(hasty.turned_away().await, (103, code), "{port:?}");
    }
    logic.kill9().await;
    for (port, code) in [(Port::WebSocket, Some(1013)), (Port::Tcp, None)] {
        let mut late = Legacy::connect(&gateway, port).await;
        late.send_login(&world.token("ann")).await;
        assert_eq!(late.turned_away().await, (302, code), "{port:?}");
    }
}
