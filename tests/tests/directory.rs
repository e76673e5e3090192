//! The session directory of real servers: in Redis, which comes and goes, and how many sessions an
//! account may have.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::Duration;

use imago_proto::{LogicPacket, command, msg::MessagePush};
use imago_tests::{RawClient, RedisServer, Server, Traffic, World, eventually};
use prost::Message;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const CLIENTS: usize = 12;
const EACH: u64 = 150;
/// Messages accepted before something happens.
const BEFORE: usize = 300;

struct Cluster {
    world: World,
    gateways: [Server; 2],
    logics: [Server; 2],
}

impl Cluster {
    /// Two servers of each kind; the logic servers have these settings.
    async fn start(settings: &[(&str, &str)]) -> Self {
        let world = World::gossip().await;
        let logics =
            [world.logic("logic-1", settings).await, world.logic("logic-2", settings).await];
        let gateways =
            [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
        for server in gateways.iter().chain(&logics) {
            server.ready().await;
        }
        Self { world, gateways, logics }
    }

    async fn login(&self, gateway: usize, account: &str, device: &str) -> RawClient {
        let token = self.world.token_for(account, "imago", device);
        RawClient::login(&self.gateways[gateway], &token).await
    }

    /// Waits until both logic servers use Redis, or have noticed that they cannot.
    async fn redis_is_up(&self, is_up: bool) {
        for logic in &self.logics {
            uses_redis(logic, is_up).await;
        }
    }
}

async fn uses_redis(logic: &Server, is_up: bool) {
    let expected = if is_up { 1.0 } else { 0.0 };
    let monitor = logic.monitor();
    eventually(PATIENCE, &format!("{} uses Redis: {is_up}", logic.id), || async {
        (monitor.metric("imago_directory_redis_up").await.ok()? == expected).then_some(())
    })
    .await;
}

/// Waits until Redis holds so many accounts and leases.
async fn holds(redis: &RedisServer, keys: usize) {
    eventually(PATIENCE, &format!("Redis holds {keys} keys"), || async {
        (redis.ask("DBSIZE").await? == format!(":{keys}\r\n")).then_some(())
    })
    .await;
}

fn warnings(logic: &Server) -> usize {
    logic.log().matches("Redis is lost").count()
}

/// Reads until a packet is what is asked for: raw clients acknowledge nothing, so they may be given
/// what they have again.
async fn reads(client: &mut RawClient, is_it: impl Fn(&LogicPacket) -> bool) -> LogicPacket {
    let read = async {
        loop {
            let packet = client.packet().await;
            if is_it(&packet) {
                return packet;
            }
        }
    };
    timeout(PATIENCE, read).await.unwrap()
}

/// Sends a message, which has to be accepted, and is its own number.
async fn says(from: &mut RawClient, number: u32, to: &str) {
    from.talk(number, to, &number.to_string()).await;
    let answer = reads(from, |packet| packet.header.sequence == number).await;
    assert_eq!(answer.header.status, 0);
}

async fn hears(client: &mut RawClient, number: u32) {
    reads(client, |packet| {
        packet.header.command == command::CHAT_USER_TALK
            && MessagePush::decode(packet.body.clone()).unwrap().body == number.to_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_goes_on_while_redis_is_killed_and_comes_back() {
    let mut redis = RedisServer::start().await;
    let cluster = Cluster::start(&[("directory.url", &redis.url())]).await;
    cluster.redis_is_up(true).await;
    let mut alice = cluster.login(0, "alice", "").await;
    let mut bob = cluster.login(1, "bob", "").await;
    let both = [&cluster.gateways[0], &cluster.gateways[1]];
    let mut traffic = Traffic::connect(&cluster.world, &both, CLIENTS).await;
    let keys = CLIENTS + 2 + both.len();
    holds(&redis, keys).await;

    traffic.send(EACH);
    traffic.accepted(BEFORE).await;
    redis.kill9().await;
    traffic.accepted(BEFORE * 2).await;
    cluster.redis_is_up(false).await;
    says(&mut alice, 1, "bob").await;
    hears(&mut bob, 1).await;

    redis.restart().await;
    cluster.redis_is_up(true).await;
    holds(&redis, keys).await;
    says(&mut bob, 1, "alice").await;
    hears(&mut alice, 1).await;
    let history = traffic.finish().await;
    history.assert_clean();
    assert_eq!(history.failures(), [""; 0]);
    assert_eq!(history.accepted(), CLIENTS * EACH as usize);
    for logic in &cluster.logics {
        assert_eq!(warnings(logic), 1, "{}", logic.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_without_redis_and_takes_it_up_later() {
    let mut redis = RedisServer::start_cluster().await;
    redis.kill9().await;
    let cluster = Cluster::start(&[("directory.url", &redis.url())]).await;
    let mut alice = cluster.login(0, "alice", "").await;
    let mut bob = cluster.login(1, "bob", "").await;
    says(&mut alice, 1, "bob").await;
    hears(&mut bob, 1).await;
    for logic in &cluster.logics {
        let warned = || async { (warnings(logic) == 1).then_some(()) };
        eventually(PATIENCE, "the loss is told", warned).await;
    }
    redis.restart().await;
    cluster.redis_is_up(true).await;
    holds(&redis, 4).await;
    says(&mut bob, 1, "alice").await;
    hears(&mut alice, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_servers_gateways_are_kept_by_the_other() {
    let redis = RedisServer::start().await;
    let url = format!("{}?lease=1s", redis.url());
    let mut cluster = Cluster::start(&[("directory.url", &url)]).await;
    cluster.redis_is_up(true).await;
    cluster.logics[0].kill9().await;
    let monitor = cluster.logics[1].monitor();
    eventually(PATIENCE, "logic-2 writes for both gateways", || async {
        (monitor.metric("imago_directory_leases").await.ok()? == 2.0).then_some(())
    })
    .await;
    let _alice = cluster.login(0, "alice", "").await;
    let _bob = cluster.login(1, "bob", "").await;
    holds(&redis, 4).await;
}

/// Ann logs in with one device here, and then with another there. Whoever is not kicked gets what
/// bob says.
async fn logs_in_twice(cluster: &Cluster, [first, second]: [&str; 2], is_kicked: bool) {
    let account = format!("ann-{first}-{second}").replace(':', "");
    let mut bob = cluster.login(0, &format!("bob-of-{account}"), "").await;
    let mut older = cluster.login(0, &account, first).await;
    says(&mut bob, 1, &account).await;
    hears(&mut older, 1).await;
    let mut newer = cluster.login(1, &account, second).await;
    if is_kicked {
        reads(&mut older, |packet| packet.header.command == command::LOGIN_SIGNIN).await;
        older.closed().await;
    }
    says(&mut bob, 2, &account).await;
    hears(&mut newer, 2).await;
    if !is_kicked {
        hears(&mut older, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_limit_only_the_same_device_is_kicked() {
    let cluster = Cluster::start(&[]).await;
    logs_in_twice(&cluster, ["phone:1", "phone:1"], true).await;
    logs_in_twice(&cluster, ["", ""], true).await;
    logs_in_twice(&cluster, ["phone:1", "phone:2"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_class_the_same_kind_of_device_is_kicked() {
    let cluster = Cluster::start(&[("directory.devices", "class")]).await;
    logs_in_twice(&cluster, ["phone:1", "phone:1"], true).await;
    logs_in_twice(&cluster, ["phone:1", "phone:2"], true).await;
    logs_in_twice(&cluster, ["phone:1", "tablet:1"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_session_is_left_whatever_the_device() {
    let redis = RedisServer::start().await;
    let settings = [("directory.devices", "single"), ("directory.url", &*redis.url())];
    let cluster = Cluster::start(&settings).await;
    logs_in_twice(&cluster, ["phone:1", "phone:1"], true).await;
    logs_in_twice(&cluster, ["phone:1", "tablet:1"], true).await;
}
