//! Who may come in and for how long, on real gateways: tokens that are not for them, tokens that end, and
//! accounts with many connections.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use imago_client::{Client, CloseReason, Error, State};
use imago_proto::close;
use imago_tests::{RawClient, Received, Server, World, program};

/// A cluster of one gateway and one logic server.
struct Cluster {
    world: World,
    gateway: Server,
    _logic: Server,
}

/// The gateway's wall clock is ahead by `seconds`, and no test changes that.
async fn cluster(seconds: i64, settings: &[(&str, &str)]) -> Cluster {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway_ahead("gateway-1", seconds, settings).await;
    gateway.ready().await;
    logic.ready().await;
    Cluster { world, gateway, _logic: logic }
}

impl Cluster {
    /// A token by `imago token` with these flags.
    fn token(&self, flags: &[&str]) -> String {
        let secret = self.world.secret_file();
        let mut command = Command::new(program("imago"));
        command.args(["token", "--account", "alice", "--secret-file"]).arg(secret).args(flags);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// The status that a login is answered with, and the code that its connection is closed with, if it is.
    async fn login(&self, token: &str) -> (u32, Option<u16>) {
        let mut client = RawClient::connect(&self.gateway).await;
        client.send_login(token).await;
        match client.packet().await.header.status {
            0 => (0, None),
            status => (status, client.closed().await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_where_and_when_it_is_meant_to_be() {
    let plain = cluster(0, &[]).await;
    let taken = (0, None);
    let refused = (105, Some(1008));
    assert_eq!(plain.login(&plain.token(&[])).await, taken);
    assert_eq!(plain.login(&plain.token(&["--not-before", "1m"])).await, refused);
    assert_eq!(plain.login(&plain.token(&["--audience", "chat"])).await, refused);
    assert_eq!(plain.login(&plain.token(&["--issuer", "anybody"])).await, taken);

    let names = [("auth.audience", "mail;chat"), ("auth.issuer", "id.example")];
    let named = cluster(0, &names).await;
    let of = |audience: &str, issuer: &str| {
        named.token(&["--audience", audience, "--audience", "other", "--issuer", issuer])
    };
    assert_eq!(named.login(&of("chat", "id.example")).await, taken);
    assert_eq!(named.login(&of("files", "id.example")).await, refused);
    assert_eq!(named.login(&of("chat", "evil.example")).await, refused);
    assert_eq!(named.login(&named.token(&[])).await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_judged_by_the_clock_of_the_gateway_alone() {
    let ahead = cluster(3600, &[]).await;
    assert_eq!(ahead.login(&ahead.token(&["--ttl", "30m"])).await, (105, Some(1008)));
    assert_eq!(ahead.login(&ahead.token(&["--ttl", "2h", "--not-before", "30m"])).await, (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_token_and_a_client_does_not_try_again() {
    let cluster = cluster(0, &[("auth.leeway", "1s")]).await;
    let token = cluster.token(&["--ttl", "3s"]);
    let mut raw = RawClient::login(&cluster.gateway, &token).await;
    let client = Client::builder([cluster.gateway.ws()]).token(&token).device("phone");
    let client = client.connect().await.unwrap();
    client.talk("bob", "in time").await.unwrap();
    assert_eq!(raw.closed().await, Some(close::TOKEN_EXPIRED));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(now.as_secs() > expiry(&token), "without the leeway: {now:?}");
    let mut state = client.state();
    let closed = State::Closed { why: CloseReason::Expired };
    state.wait_for(|state| *state == closed).await.unwrap();
    assert_eq!(client.talk("bob", "late").await, Err(Error::Closed(CloseReason::Expired)));
    assert_eq!(cluster.login(&token).await, (105, Some(1008)));
}

/// The `exp` of a token.
fn expiry(token: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: u64,
    }
    imago_kit::jwt::dangerous::insecure_decode_claims::<Claims>(token).unwrap().exp
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_says_that_its_token_has_expired() {
    let cluster = cluster(0, &[("auth.leeway", "0s")]).await;
    let file = cluster.world.folder().join("token");
    std::fs::write(&file, cluster.token(&["--ttl", "3s"])).unwrap();
    let mut command = Command::new(program("imago"));
    command.args(["chat", "--gateway", &cluster.gateway.ws(), "--token"]).arg(file);
    // Held open: else the chat ends by itself.
    let chat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut chat = chat.spawn().unwrap();
    let keyboard = chat.stdin.take();
    let ended = tokio::task::spawn_blocking(move || chat.wait_with_output());
    let ended = tokio::time::timeout(Duration::from_secs(40), ended).await.unwrap();
    let ended = ended.unwrap().unwrap();
    drop(keyboard);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("the token has expired"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_of_an_account_lock_no_new_device_out() {
    let cluster = cluster(0, &[]).await;
    let on = |device: &str| cluster.world.token_for("alice", "imago", device);
    let mut silent = Vec::new();
    for number in 0..20 {
        silent.push(RawClient::login(&cluster.gateway, &on(&format!("silent-{number}"))).await);
    }
    // Not the first any more to have been silent.
    silent[0].talk(2, "bob", "here").await;
    assert_eq!(silent[0].packet().await.header.status, 0);
    let mut device = RawClient::login(&cluster.gateway, &on("phone")).await;
    device.talk(2, "bob", "hello").await;
    assert_eq!(device.packet().await.header.status, 0);
    assert_eq!(silent[1].closed().await, Some(close::REPLACED));
    silent[0].talk(3, "bob", "still here").await;
    let answer = silent[0].next().await;
    assert!(matches!(answer, Received::Packet(_)), "{answer:?}");
}
