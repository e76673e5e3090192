//! Clients that know nothing but the fields below 100 and the commands of old, against real servers.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

mod client;
mod errors;
mod groups;
mod messages;
mod talk;

use imago_proto::command;
use imago_tests::{Server, World};

use crate::{
    client::{Legacy, Port},
    messages::{KickoutNotify, MessageIndex, MessageIndexReq, MessageIndexResp, MessagePush},
};

struct Cluster {
    world: World,
    gateways: [Server; 2],
    _logics: [Server; 2],
}

impl Cluster {
    async fn start() -> Self {
        let world = World::gossip().await;
        let logics = [world.logic("logic-1", &[]).await, world.logic("logic-2", &[]).await];
        let gateways =
            [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
        for server in gateways.iter().chain(&logics) {
            server.ready().await;
        }
        Self { world, gateways, _logics: logics }
    }

    /// A client on one of the gateways. Those of different ports are of different apps.
    async fn login(&self, gateway: usize, port: Port, account: &str) -> Legacy {
        let token = self.world.token_for(account, &format!("{port:?}"), "");
        Legacy::login(&self.gateways[gateway], port, &token, account).await
    }
}

/// A page of what the client has not acknowledged.
async fn index(client: &mut Legacy, message_id: i64) -> Vec<MessageIndex> {
    let asked = MessageIndexReq { message_id };
    client.ask::<MessageIndexResp>(command::CHAT_OFFLINE_INDEX, "", &asked).await.indexes
}

async fn ids(client: &mut Legacy, message_id: i64) -> Vec<i64> {
    index(client, message_id).await.into_iter().map(|entry| entry.message_id).collect()
}

async fn hears(client: &mut Legacy, account: &str, body: &str) {
    let push: MessagePush = client.push(command::CHAT_USER_TALK, account).await;
    assert_eq!(push.body, body);
}

async fn the_newer_login_stays(cluster: &Cluster, port: Port, code: Option<u16>) {
    let mut older = cluster.login(0, port, "ann").await;
    let mut newer = cluster.login(1, port, "ann").await;
    assert_ne!(older.channel, newer.channel);
    newer.pings().await;
    let kicked: KickoutNotify = older.push(command::LOGIN_SIGNIN, "").await;
    assert_eq!(kicked.channel_id, older.channel);
    assert_eq!(older.closed().await, code);

    let mut bob = cluster.login(0, port, "bob").await;
    bob.talk(command::CHAT_USER_TALK, "ann", "still there?").await;
    hears(&mut newer, "ann", "still there?").await;
    newer.talk(command::CHAT_USER_TALK, "bob", "yes").await;
    hears(&mut bob, "bob", "yes").await;

    let () = newer.ask(command::LOGIN_SIGNOUT, "", &()).await;
    assert_eq!(newer.closed().await, code);
    let missed = bob.talk(command::CHAT_USER_TALK, "ann", "later, then").await;
    let mut again = cluster.login(0, port, "ann").await;
    assert_eq!(ids(&mut again, 0).await.last(), Some(&missed.message_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_login_kicks_the_first_and_signing_out_ends_it() {
    let cluster = Cluster::start().await;
    the_newer_login_stays(&cluster, Port::WebSocket, Some(1000)).await;
    the_newer_login_stays(&cluster, Port::Tcp, None).await;
}

/// Whichever of two logins at the same time is the newer, one stays, and the other is told.
async fn one_of_two_stays(cluster: &Cluster, port: Port) {
    let mut bob = cluster.login(0, port, "bob").await;
    for round in 0..5 {
        let account = format!("ann-{round}");
        let (mut one, mut other) =
            tokio::join!(cluster.login(0, port, &account), cluster.login(1, port, &account));
        let (kicked, left, told) = tokio::select! {
            told = one.push::<KickoutNotify>(command::LOGIN_SIGNIN, "") => (one, &mut other, told),
            told = other.push::<KickoutNotify>(command::LOGIN_SIGNIN, "") => (other, &mut one, told),
        };
        assert_eq!(told.channel_id, kicked.channel);
        bob.talk(command::CHAT_USER_TALK, &account, "one of you").await;
        hears(left, &account, "one of you").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_logins_at_the_same_time_one_stays() {
    let cluster = Cluster::start().await;
    one_of_two_stays(&cluster, Port::WebSocket).await;
    one_of_two_stays(&cluster, Port::Tcp).await;
}
