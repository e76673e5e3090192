//! Who a client is, and for how long: tokens that end, and accounts with many connections.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use imago_kit::jwt::{EncodingKey, Header, encode};
use serde_json::json;
use tokio::time::sleep;

use super::support::{Client, JWT_SECRET, LOGIN, Received, World, eventually, login_body, token};
use crate::{AuthError, Authenticator, Credentials, Identity};

const MS: Duration = Duration::from_millis(1);

/// Logs in over WebSocket.
async fn online(world: &World, token: &str) -> Client {
    let mut client = Client::ws(world.ws).await;
    client.request(LOGIN, login_body(token)).await;
    assert_eq!(client.recv_logic().await.header.status, 0);
    client
}

/// A token that is good for this time, in whole seconds and up to one more.
fn token_for(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "acc": "alice", "app": "kim", "exp": now + seconds + 1 });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).unwrap()
}

#[tokio::test]
async fn a_connection_ends_with_its_token() {
    let world = World::start(&[("auth.leeway", "0s")]).await;
    let (begun, token) = (Instant::now(), token_for(1));
    let mut client = online(&world, &token).await;
    client.echo("in time").await;
    client.expect_close(4401).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // The same token is good for nothing more.
    let mut again = Client::ws(world.ws).await;
    again.request(LOGIN, login_body(&token)).await;
    assert_eq!(again.recv_logic().await.header.status, 105);
    eventually("the session is over", || world.context.sessions.len() == 0).await;
}

#[tokio::test]
async fn a_client_whose_token_ends_gets_its_answers_first() {
    let world = World::start(&[("auth.leeway", "0s")]).await;
    let mut client = online(&world, &token_for(1)).await;
    let asked = client.request("test.late", "").await;
    sleep(2200 * MS).await;
    // It is not listened to any more.
    client.request("test.echo", "too late").await;
    sleep(100 * MS).await;
    world.logic.release(1);
    let answer = client.recv_logic().await;
    assert_eq!((answer.header.sequence, answer.header.status), (asked, 0));
    client.expect_close(4401).await;
}

#[tokio::test]
async fn the_leeway_counts_for_connections_as_for_logins() {
    let world = World::start(&[("auth.leeway", "1m")]).await;
    let mut client = online(&world, &token_for(0)).await;
    sleep(1200 * MS).await;
    client.echo("still here").await;
    online(&world, &token_for(0)).await.echo("let in").await;
}

#[tokio::test]
async fn expired_connections_are_kept_where_that_is_wanted() {
    let world = World::start(&[("auth.leeway", "0s"), ("auth.keep_expired", "true")]).await;
    let mut client = online(&world, &token_for(0)).await;
    sleep(1200 * MS).await;
    client.echo("still here").await;
}

/// Lets clients in for a moment.
struct Brief;

#[async_trait]
impl Authenticator for Brief {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Identity, AuthError> {
        let account = credentials.login.token.as_str().into();
        let expires = Some(SystemTime::now() + 300 * MS);
        Ok(Identity { account, app: "kim".into(), device: String::new(), expires })
    }
}

#[tokio::test]
async fn a_custom_authenticator_says_when_a_client_has_to_go() {
    let world = World::start_with(&[], |builder| builder.authenticator(Arc::new(Brief))).await;
    let mut client = online(&world, "alice").await;
    client.expect_close(4401).await;
}

#[tokio::test]
async fn the_longest_silent_connection_of_an_account_makes_room_for_a_new_one() {
    let world = World::start(&[("limits.connections_per_account", "3")]).await;
    let mut first = online(&world, &token("alice")).await;
    let mut second = online(&world, &token("alice")).await;
    let mut third = online(&world, &token("alice")).await;
    let mut bob = online(&world, &token("bob")).await;
    sleep(20 * MS).await;
    first.echo("not silent").await;
    let mut fourth = online(&world, &token("alice")).await;
    second.expect_close(4409).await;
    for client in [&mut first, &mut third, &mut fourth, &mut bob] {
        client.echo("goes on").await;
    }
}

#[tokio::test]
async fn twenty_silent_connections_lock_no_device_out() {
    let world = World::start(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(online(&world, &token("alice")).await);
    }
    let begun = Instant::now();
    let mut device = online(&world, &token("alice")).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    device.echo("in").await;
    silent[0].expect_close(4409).await;
}

#[tokio::test]
async fn a_replaced_connection_gets_its_answers_first() {
    let world = World::start(&[("limits.connections_per_account", "1")]).await;
    let mut old = online(&world, &token("alice")).await;
    let asked = old.request("test.late", "").await;
    sleep(100 * MS).await;
    let mut new = online(&world, &token("alice")).await;
    new.echo("in").await;
    world.logic.release(1);
    let answer = old.recv_logic().await;
    assert_eq!((answer.header.sequence, answer.header.status), (asked, 0));
    old.expect_close(4409).await;
    new.echo("goes on").await;
}

#[tokio::test]
async fn connections_that_are_all_active_are_kept_and_a_new_one_is_refused() {
    let settings = [("limits.connections_per_account", "2"), ("limits.silent_after", "30s")];
    let world = World::start(&settings).await;
    let mut first = online(&world, &token("alice")).await;
    let mut second = online(&world, &token("alice")).await;
    let mut third = Client::ws(world.ws).await;
    third.request(LOGIN, login_body(&token("alice"))).await;
    let (status, why) = third.recv_refusal().await;
    assert!(status == 300 && why.contains("too many connections"), "{status} {why}");
    assert_eq!(third.recv().await, Received::Close(Some(1013)));
    first.echo("goes on").await;
    second.echo("goes on").await;
}
