//! Logins, kicks, and sessions that end however their connection does.

use imago_proto::{
    BasicPacket, LogicPacket, Opcode, Packet, Stamp, command,
    msg::{KickoutNotify, LoginReq, LoginResp},
};
use prost::Message;

use super::support::{Client, LOGIN, Received, World, eventually, login_body, token};
use crate::{ConnectionRate, RateLimit};

#[tokio::test]
async fn a_login_is_forwarded_without_its_token_and_with_a_channel_of_ours() {
    let world = World::start(&[]).await;
    let mut client = Client::tcp(world.tcp).await;
    let login = LoginReq {
        token: token("a,lice"),
        isp: "isp".into(),
        zone: "zone".into(),
        tags: vec!["web".into()],
        replaces: "gate_a-lice_0".into(),
        ..LoginReq::default()
    };
    client.request(LOGIN, login.encode_to_vec()).await;
    let channel = LoginResp::decode(client.recv_logic().await.body).unwrap().channel_id;

    let forwards = world.logic.forwards(LOGIN);
    let [(_, body)] = &forwards[..] else { panic!("{forwards:?}") };
    let forwarded = LoginReq::decode(body.clone()).unwrap();
    assert_eq!(forwarded, LoginReq { token: String::new(), ..login });

    let (gateway, session) = world.logic.session_of("a,lice").unwrap();
    assert_eq!(channel, session.channel_id);
    assert!(channel.starts_with(&format!("{}_a-lice_", gateway.service_id)), "{channel}");
    assert_eq!((session.app.as_str(), session.zone.as_str()), ("kim", "zone"));
    assert!(session.login_time > 0);
    assert_eq!(session.replaces, "gate_a-lice_0");
    assert!(Stamp(session.order) >= Stamp::at(session.login_time - 60_000_000_000));
}

#[tokio::test]
async fn a_later_login_has_a_higher_stamp_and_names_no_session_that_can_be_none() {
    let world = World::start(&[]).await;
    let mut last = 0;
    for (number, named) in [(1, "x".repeat(512)), (2, "x".repeat(513)), (3, String::new())] {
        let mut client = Client::tcp(world.tcp).await;
        let account = format!("alice{number}");
        let login =
            LoginReq { token: token(&account), replaces: named.clone(), ..LoginReq::default() };
        client.request(LOGIN, login.encode_to_vec()).await;
        assert_eq!(client.recv_logic().await.header.status, 0);
        let (_, session) = world.logic.session_of(&account).unwrap();
        assert_eq!(session.replaces, if number == 1 { named } else { String::new() });
        assert!(session.order > last);
        last = session.order;
    }
}

#[tokio::test]
async fn no_packet_comes_before_the_login_answer() {
    let world = World::start(&[]).await;
    let mut client = Client::ws(world.ws).await;
    client.send_frame(Opcode::Binary, BasicPacket::PING.encode()).await;
    client.send_frame(Opcode::Ping, "early").await;
    assert_eq!(client.recv().await, Received::Pong("early".into()));
    client.log_in("alice").await;
    assert_eq!(client.recv().await, Received::Packet(Packet::Basic(BasicPacket::PONG)));
}

#[tokio::test]
async fn requests_sent_together_with_the_login_are_answered_behind_it() {
    let world = World::start(&[]).await;
    let mut client = Client::tcp(world.tcp).await;
    client.request(LOGIN, login_body(&token("alice"))).await;
    client.request(LOGIN, login_body(&token("alice"))).await;
    client.request("test.echo", "hi").await;
    let first = client.recv_logic().await.header;
    assert_eq!((first.sequence, first.status), (1, 0));
    let mut rest = [client.recv_logic().await.header, client.recv_logic().await.header];
    rest.sort_by_key(|header| header.sequence);
    assert_eq!(rest.map(|header| (header.sequence, header.status)), [(2, 103), (3, 0)]);
}

#[tokio::test]
async fn a_refused_login_is_answered_and_then_closed() {
    let world = World::start(&[("forward.timeout", "300ms")]).await;
    for (account, status, code) in [("unlucky", 300, 1008), ("mute", 300, 1013)] {
        let mut client = Client::ws(world.ws).await;
        client.request(LOGIN, login_body(&token(account))).await;
        assert_eq!(client.recv_logic().await.header.status, status);
        client.expect_close(code).await;
    }
    eventually("no sessions left", || world.logic.accounts().is_empty()).await;
}

#[tokio::test]
async fn a_kicked_client_gets_its_notice_and_half_a_second_to_read_it() {
    let world = World::start(&[]).await;
    let mut client = Client::ws(world.ws).await;
    let channel = client.log_in("alice").await;
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        // Every logic server that sees the conflict says so.
        world.logic.kick("alice");
    }
    let notice = client.recv_logic().await;
    assert_eq!((notice.header.command.as_str(), notice.header.status), (LOGIN, 0));
    assert_eq!(KickoutNotify::decode(notice.body).unwrap().channel_id, channel);
    client.expect_close(1000).await;
    assert!(begun.elapsed().as_millis() >= 450, "{:?}", begun.elapsed());
    eventually("the session is over", || world.logic.accounts().is_empty()).await;
}

#[tokio::test]
async fn a_kick_before_the_login_is_answered_answers_it_first() {
    let world = World::start(&[]).await;
    let mut client = Client::ws(world.ws).await;
    client.request(LOGIN, login_body(&token("mute"))).await;
    eventually("the session is told", || world.logic.session_of("mute").is_some()).await;
    let (_, session) = world.logic.session_of("mute").unwrap();
    world.logic.kick("mute");
    let answer = client.recv_logic().await;
    let header = (answer.header.sequence, answer.header.status, answer.header.flag);
    assert_eq!(header, (1, 0, imago_proto::msg::Flag::Response.into()));
    let body = LoginResp { channel_id: session.channel_id, account: "mute".into() };
    assert_eq!(LoginResp::decode(answer.body), Ok(body));
    assert_eq!(client.recv_logic().await.header.flag, imago_proto::msg::Flag::Push as i32);
    client.expect_close(1000).await;
}

#[tokio::test]
async fn kicks_and_pushes_that_race_with_the_end_do_no_harm() {
    let world = World::start(&[]).await;
    let mut other = world.client("other").await;
    for _ in 0..20 {
        let mut client = world.client("alice").await;
        let (_, session) = world.logic.session_of("alice").unwrap();
        client.send_frame(Opcode::Close, "").await;
        world.logic.kick("alice");
        world.logic.push("alice", "late");
        drop(client);
        let gone = || world.logic.session_of("alice").is_none_or(|(_, now)| now.id != session.id);
        eventually("the session is over", gone).await;
    }
    other.echo("still here").await;
}

#[tokio::test]
async fn signing_out_is_answered_and_then_closed() {
    let world = World::start(&[]).await;
    let mut client = Client::ws(world.ws).await;
    client.log_in("alice").await;
    client.request(command::LOGIN_SIGNOUT, "").await;
    assert_eq!(client.recv_logic().await.header.status, 0);
    client.expect_close(1000).await;
    eventually("the session is over", || world.logic.accounts().is_empty()).await;
}

#[tokio::test]
async fn a_close_frame_is_answered_and_the_session_is_over() {
    let world = World::start(&[]).await;
    for mut client in [Client::ws(world.ws).await, Client::tcp(world.tcp).await] {
        client.log_in("alice").await;
        client.send_frame(Opcode::Close, "").await;
        client.expect_close(1000).await;
        eventually("the session is over", || world.logic.accounts().is_empty()).await;
    }
}

/// Panics at the second request.
struct Explosive;

impl RateLimit for Explosive {
    fn connection(&self) -> Box<dyn ConnectionRate> {
        Box::new(Self)
    }
}

impl ConnectionRate for Explosive {
    fn admit(&self) -> bool {
        panic!("a bug in an extension")
    }
}

#[tokio::test]
async fn a_session_is_over_even_when_its_task_panics() {
    let world =
        World::start_with(&[], |builder| builder.rate_limit(std::sync::Arc::new(Explosive))).await;
    let mut client = world.client("alice").await;
    client.request("test.echo", "boom").await;
    assert_eq!(client.recv().await, Received::End);
    eventually("the session is over", || world.logic.accounts().is_empty()).await;
    assert_eq!(world.context.sessions.len(), 0);
    let mut client = Client::tcp(world.tcp).await;
    client.log_in("bob").await;
}

#[tokio::test]
async fn a_second_login_in_one_packet_after_a_refused_one_counts_for_nothing() {
    let world = World::start(&[]).await;
    let mut client = Client::tcp(world.tcp).await;
    let bad = LogicPacket::request(LOGIN, 1, "", login_body("bad").into()).encode();
    let good = LogicPacket::request(LOGIN, 2, "", login_body(&token("alice")).into()).encode();
    let both = [client.frame(Opcode::Binary, bad), client.frame(Opcode::Binary, good)].concat();
    client.send_bytes(&both).await;
    assert_eq!(client.recv_logic().await.header.status, 105);
    client.expect_close(1008).await;
    assert!(world.logic.accounts().is_empty());
}
