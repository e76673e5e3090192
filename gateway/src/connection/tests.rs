//! Connections over pipes in memory, with paused time; there is no logic server, so that logins
//! wait for their answer.

mod bounds;
mod credentials;
mod frames;
mod leading;
mod pair;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use imago_proto::{BasicPacket, LogicPacket, Opcode};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep},
};

use self::pair::Pair;
use super::{Connection, Prepared};
use crate::{
    AuthError, Authenticator, Credentials, Framing, Identity,
    tests::support::{Client, LOGIN, Received, login_body, notice, tcp_header, token},
};

const SECOND: Duration = Duration::from_secs(1);

fn answer(body: &'static str) -> Bytes {
    LogicPacket::request("test", 0, "", body.into()).encode()
}

fn large() -> Bytes {
    LogicPacket::request("test", 0, "", vec![0; 100 << 10].into()).encode()
}

/// Waits until something is so, without time passing.
async fn soon(mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("not soon");
}

/// Bytes that end a WebSocket connection with this code before any login.
async fn ends(bytes: &[u8], code: u16) {
    let mut pair = Pair::new(Framing::WebSocket);
    pair.client.send_bytes(bytes).await;
    pair.client.expect_close(code).await;
    assert!(pair.elapsed() < SECOND, "{:?}", pair.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_frame_or_no_packet_ends_the_connection_with_a_reason() {
    let key = [1, 2, 3, 4];
    let huge = [&[0x82, 0xff][..], &(u64::MAX >> 1).to_be_bytes(), &key].concat();
    ends(&huge, 1009).await;
    let beyond = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &key].concat();
    ends(&beyond, 1002).await;
    // No login is that large, whatever packets may be later.
    let large = [&[0x82, 0xff][..], &(100_u64 << 10).to_be_bytes(), &key].concat();
    ends(&large, 1009).await;
    ends(b"\x82\x05hello", 1002).await;
    ends(b"\xc2\x80\x01\x02\x03\x04", 1002).await;
    ends(b"\x83\x80\x01\x02\x03\x04", 1002).await;
    let client = Pair::new(Framing::WebSocket).client;
    ends(&client.frame(Opcode::Binary, "wrong magic"), 1002).await;
    ends(&client.frame(Opcode::Text, "hello"), 1002).await;
    ends(&client.frame(Opcode::Binary, answer("x").slice(..9)), 1002).await;
}

#[tokio::test(start_paused = true)]
async fn a_length_on_tcp_is_checked_before_anything_arrives() {
    let mut pair = Pair::new(Framing::LengthPrefixed);
    pair.client.send_bytes(&tcp_header(u32::MAX)).await;
    pair.client.expect_close(1009).await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_token_is_answered_with_the_bytes_that_old_clients_know() {
    let mut pair = Pair::new(Framing::LengthPrefixed);
    // The vector "login request" (docs/wire.md, "Test vectors"), whose token is "abc".
    let request = LogicPacket::request(LOGIN, 1, "", Bytes::from_static(b"\n\x03abc\"\x03web"));
    pair.client.send_frame(Opcode::Binary, request.encode()).await;
    let mut answer = [0; 5 + 32 + 5];
    pair.client.stream.read_exact(&mut answer).await.unwrap();
    let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
    let refused = "c311a365000000140a0c6c6f67696e2e7369676e696e18012001286900000000";
    assert_eq!(hex, format!("0200000020{refused}0800000000"));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_log_in_first_is_told_so() {
    let mut pair = Pair::new(Framing::WebSocket);
    pair.client.request("chat.user.talk", "").await;
    assert_eq!(pair.client.recv_refusal().await.0, 103);
    pair.client.expect_close(1008).await;

    let mut pair = Pair::new(Framing::WebSocket);
    pair.client.request(LOGIN, &b"\xff\xff"[..]).await;
    assert_eq!(pair.client.recv_refusal().await.0, 101);
    pair.client.expect_close(1008).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_log_in_within_ten_seconds_is_closed() {
    for half in ["", "\u{2}\0\0"] {
        let mut pair = Pair::new(Framing::LengthPrefixed);
        pair.client.send_bytes(half.as_bytes()).await;
        pair.client.expect_close(1008).await;
        assert!(pair.elapsed() >= 10 * SECOND && pair.elapsed() < 12 * SECOND);
    }
    let mut pair = Pair::new(Framing::WebSocket);
    for _ in 0..9 {
        sleep(SECOND).await;
        // Being busy is no login.
        pair.client.send_frame(Opcode::Binary, BasicPacket::PING.encode()).await;
    }
    pair.client.expect_close(1008).await;
    assert!(pair.elapsed() >= 10 * SECOND && pair.elapsed() < 12 * SECOND);
}

struct Hanging;

#[async_trait]
impl Authenticator for Hanging {
    async fn authenticate(&self, _: &Credentials<'_>) -> Result<Identity, AuthError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_has_the_time_that_the_client_has() {
    let mut pair = Pair::with(Framing::WebSocket, 1 << 20, Some(Arc::new(Hanging)), None);
    pair.client.request(LOGIN, login_body("x")).await;
    pair.client.expect_close(1008).await;
    assert!(pair.elapsed() >= 10 * SECOND && pair.elapsed() < 12 * SECOND);
}

struct Careless;

#[async_trait]
impl Authenticator for Careless {
    async fn authenticate(&self, _: &Credentials<'_>) -> Result<Identity, AuthError> {
        Ok(Identity { account: "".into(), app: "app".into(), device: String::new(), expires: None })
    }
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_cannot_let_a_client_in_without_a_name() {
    let mut pair = Pair::with(Framing::WebSocket, 1 << 20, Some(Arc::new(Careless)), None);
    pair.client.request(LOGIN, login_body("x")).await;
    assert_eq!(pair.client.recv_logic().await.header.status, 105);
    pair.client.expect_close(1008).await;
}

#[tokio::test(start_paused = true)]
async fn two_minutes_without_a_frame_end_the_session() {
    let (mut pair, _) = Pair::online(Framing::WebSocket, 1 << 20).await;
    sleep(100 * SECOND).await;
    pair.client.send_frame(Opcode::Ping, "").await;
    assert_eq!(pair.client.recv().await, Received::Pong(Bytes::new()));
    // Half a frame, byte by byte, is no frame.
    let frame = pair.client.frame(Opcode::Binary, "never complete");
    for byte in &frame[..11] {
        sleep(10 * SECOND).await;
        pair.client.send_bytes(&[*byte]).await;
    }
    assert_eq!(pair.client.recv().await, Received::Close(Some(1001)));
    assert!(
        pair.elapsed() >= 220 * SECOND && pair.elapsed() < 222 * SECOND,
        "{:?}",
        pair.elapsed()
    );
    assert_eq!(pair.context.sessions.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up_after_the_write_timeout() {
    let (pair, session) = Pair::online(Framing::WebSocket, 1024).await;
    let begun = Instant::now();
    session.outbox.push(large());
    pair.connection.await.unwrap();
    assert!(begun.elapsed() >= 10 * SECOND && begun.elapsed() < 12 * SECOND);
    assert_eq!(pair.context.sessions.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_little_by_little_keeps_its_session_and_is_heard() {
    let (mut pair, session) = Pair::online(Framing::WebSocket, 8 << 10).await;
    session.outbox.push(large());
    let mut some = vec![0; 4 << 10];
    for _ in 0..20 {
        sleep(9 * SECOND).await;
        pair.client.send_frame(Opcode::Ping, "").await;
        pair.client.stream.read_exact(&mut some).await.unwrap();
    }
    assert_eq!(pair.context.sessions.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_ends_the_session_at_once_even_in_the_middle_of_a_write() {
    let (mut pair, session) = Pair::online(Framing::WebSocket, 1024).await;
    let begun = Instant::now();
    session.outbox.push(large());
    pair.client.stream.read_exact(&mut [0; 4]).await.unwrap();
    soon(|| {
        session.outbox.push(answer("x"));
        session.outbox.is_closing()
    })
    .await;
    soon(|| pair.context.sessions.len() == 0).await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    pair.connection.await.unwrap();
    assert!(begun.elapsed() < 3 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_close_frame_of_a_slow_reader_stands_behind_what_was_half_written() {
    let (mut pair, session) = Pair::online(Framing::WebSocket, 1024).await;
    session.outbox.push(large());
    tokio::task::yield_now().await;
    for _ in 0..=20 {
        session.outbox.push(answer("x"));
    }
    assert!(session.outbox.is_closing());
    // It wakes up just in time.
    assert_eq!(pair.client.recv_logic().await.body.len(), 100 << 10);
    pair.client.expect_close(1013).await;
}

#[tokio::test(start_paused = true)]
async fn a_kick_brings_the_notice_and_the_close_half_a_second_later() {
    let (mut pair, session) = Pair::online(Framing::WebSocket, 1 << 20).await;
    let begun = Instant::now();
    session.kick(notice(&session.session.channel_id));
    session.outbox.push(answer("too late"));
    assert_eq!(pair.client.recv_logic().await.header.command, LOGIN);
    assert!(begun.elapsed() < Duration::from_millis(100));
    pair.client.expect_close(1000).await;
    assert_eq!(begun.elapsed().as_millis() / 100, 5, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_kicked_client_that_reads_nothing_does_not_stay() {
    let (pair, session) = Pair::online(Framing::WebSocket, 1024).await;
    session.outbox.push(large());
    tokio::task::yield_now().await;
    let begun = Instant::now();
    session.kick(notice(&session.session.channel_id));
    pair.connection.await.unwrap();
    assert!(begun.elapsed() < 12 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_answered_and_is_no_slow_reader() {
    let (mut pair, _) = Pair::online(Framing::WebSocket, 1 << 20).await;
    let ping = pair.client.frame(Opcode::Ping, "");
    let flood = ping.repeat(1000);
    pair.client.send_bytes(&flood).await;
    for _ in 0..1000 {
        assert_eq!(pair.client.recv().await, Received::Pong(Bytes::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_of_a_message_are_put_together_with_a_ping_between_them() {
    let mut pair = Pair::new(Framing::WebSocket);
    let login = LogicPacket::request(LOGIN, 1, "", login_body(&token("alice")).into()).encode();
    let (first, second) = (login.slice(..20), login.slice(20..));
    let mut pieces: VecDeque<BytesMut> = VecDeque::new();
    pieces.push_back(pair.client.frame(Opcode::Binary, first));
    pieces.push_back(pair.client.frame(Opcode::Ping, "between"));
    pieces.push_back(pair.client.frame(Opcode::Continuation, second));
    // Not the last piece: FIN is off.
    pieces[0][0] &= 0x7f;
    for piece in pieces {
        pair.client.send_bytes(&piece).await;
    }
    assert_eq!(pair.client.recv().await, Received::Pong("between".into()));
    soon(|| pair.context.sessions.len() == 1).await;
    let session = pair.context.sessions.all().remove(0);
    session.outbox.login_answered(answer("welcome"));
    assert_eq!(pair.client.recv_logic().await.body, "welcome");
}

#[tokio::test(start_paused = true)]
async fn a_session_is_over_when_its_task_is_cancelled() {
    let (pair, _) = Pair::online(Framing::LengthPrefixed, 1024).await;
    pair.connection.abort();
    assert!(pair.connection.await.unwrap_err().is_cancelled());
    assert_eq!(pair.context.sessions.len(), 0);
}
