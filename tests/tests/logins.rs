//! Gateways and logic servers whose wall clocks differ by up to an hour: the latest login stays, and
//! a client that connects again is not told that it was replaced by itself.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use imago_client::{Client, State};
use imago_proto::{LogicPacket, command, msg::MessagePush};
use imago_tests::{RawClient, Server, World, eventually};
use prost::Message;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3600;
/// How far the clocks of the gateways are ahead, in seconds: the last one is right.
const OFFSETS: [i64; 4] = [HOUR, 30, -HOUR, 0];
const RIGHT: usize = OFFSETS.len() - 1;

struct Cluster {
    world: World,
    gateways: Vec<Server>,
    logics: [Server; 2],
}

impl Cluster {
    async fn start() -> Self {
        let world = World::gossip().await;
        let logics = [
            world.logic_ahead("logic-ahead", 60, &[]).await,
            world.logic_ahead("logic-behind", -HOUR, &[]).await,
        ];
        let mut gateways = Vec::new();
        for seconds in OFFSETS {
            let id = format!("gateway{seconds:+}");
            gateways.push(world.gateway_ahead(&id, seconds, &[]).await);
        }
        for server in gateways.iter().chain(&logics) {
            server.ready().await;
        }
        // Where servers gossip, a gateway may be ready before it knows all of them.
        for gateway in &gateways {
            eventually(PATIENCE, "both are linked and adult", || async {
                let peers = gateway.monitor().peers().await.ok()?.peers;
                let usable = peers.iter().filter(|peer| peer.linked && peer.state == "adult");
                (usable.count() == logics.len()).then_some(())
            })
            .await;
        }
        Self { world, gateways, logics }
    }

    async fn login(&self, gateway: usize, account: &str) -> RawClient {
        RawClient::login(&self.gateways[gateway], &self.world.token(account)).await
    }

    /// A client that is connected with this gateway and may go on with the right one.
    async fn client(&self, gateway: usize, account: &str) -> Client {
        loop {
            let both = [&self.gateways[gateway], &self.gateways[RIGHT]];
            let client = self.world.client(account, &both).await;
            if client.session().gateway.contains(&both[0].address("ws")) {
                return client;
            }
            client.logout().await.unwrap();
        }
    }
}

/// Reads until a packet is what is asked for: raw clients acknowledge nothing, so they may be given
/// what they have again.
async fn reads(client: &mut RawClient, is_it: impl Fn(&LogicPacket) -> bool) {
    let read = async { while !is_it(&client.packet().await) {} };
    timeout(PATIENCE, read).await.unwrap();
}

fn is_notice(packet: &LogicPacket) -> bool {
    packet.header.command == command::LOGIN_SIGNIN
}

/// Bob says something, which this client hears, and before that no word of a kick.
async fn hears(client: &mut RawClient, bob: &mut RawClient, number: u32, account: &str) {
    bob.talk(number, account, &number.to_string()).await;
    reads(bob, |packet| packet.header.sequence == number && packet.header.status == 0).await;
    reads(client, |packet| {
        assert!(!is_notice(packet), "{account} was kicked out");
        packet.header.command == command::CHAT_USER_TALK
            && MessagePush::decode(packet.body.clone()).unwrap().body == number.to_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_login_of_a_device_stays_whatever_the_clocks() {
    let cluster = Cluster::start().await;
    let mut bob = cluster.login(RIGHT, "bob").await;
    let all = 0..OFFSETS.len();
    let pairs = all.clone().flat_map(|first| all.clone().map(move |second| (first, second)));
    for (number, (first, second)) in (2..).zip(pairs) {
        let account = format!("ann-{number}");
        let mut older = cluster.login(first, &account).await;
        let mut newer = cluster.login(second, &account).await;
        reads(&mut older, is_notice).await;
        older.closed().await;
        hears(&mut newer, &mut bob, number, &account).await;
    }
}

/// The session of a killed gateway is known until it has been away for some seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_survives_its_gateway_whatever_the_clocks() {
    let mut cluster = Cluster::start().await;
    let mut bob = cluster.login(RIGHT, "bob").await;
    for number in 0..RIGHT {
        let (sdk, raw) = (format!("sdk-{number}"), format!("raw-{number}"));
        let client = cluster.client(number, &sdk).await;
        let before = client.session();
        let mut older = cluster.login(number, &raw).await;
        cluster.gateways[number].kill9().await;
        older.closed().await;
        // An old client names nothing, and is back at once.
        let mut newer = cluster.login(RIGHT, &raw).await;
        let back = || async {
            let is_online = *client.state().borrow() == State::Online;
            (is_online && client.session() != before).then_some(())
        };
        eventually(PATIENCE, "the client is back", back).await;
        // The notice would have come by now: the logic servers tell it before any answer.
        hears(&mut newer, &mut bob, 2 + number as u32, &raw).await;
        client.talk("bob", "still here").await.unwrap();
        assert_eq!(*client.state().borrow(), State::Online);
        eventually(PATIENCE, "the killed gateway is forgotten", || async {
            let log = cluster.logics[0].log();
            (log.matches("gateway is gone").count() > number).then_some(())
        })
        .await;
        hears(&mut newer, &mut bob, 20 + number as u32, &raw).await;
        client.talk("bob", "and now, too").await.unwrap();
    }
}
