//! A whole cluster on the loopback address of IPv6.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{net::Ipv6Addr, time::Duration};

use futures::StreamExt;
use imago_client::Client;
use imago_naming::meta_key;
use imago_tests::{Server, World, eventually, program};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);

/// What a server is told to be on IPv6 alone, but for its monitor port, which is on all addresses.
const COMMON: [(&str, &str); 2] = [("service.address", "::1"), ("monitor.listen", "[::]:0")];

/// This machine must have the address.
fn require_ipv6() {
    let bound = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    assert!(
        bound.is_ok(),
        "this machine has no IPv6 loopback address (::1), which this test needs"
    );
}

async fn start(world: &World, naming: Option<&str>) -> (Server, Server) {
    let naming = naming.map(|url| ("naming.url", url));
    let with = |more: &[(&'static str, &'static str)]| {
        let all: Vec<_> = COMMON.iter().chain(more).copied().chain(naming).collect();
        all
    };
    let logic = world.logic("logic-1", &with(&[("listen.link", "[::1]:0")])).await;
    let doors = [("listen.ws", "[::1]:0"), ("listen.tcp", "[::1]:0")];
    let gateway = world.gateway("gateway-1", &with(&doors)).await;
    logic.ready().await;
    gateway.ready().await;
    (logic, gateway)
}

async fn client(world: &World, account: &str, url: String) -> Client {
    let builder = Client::builder([url]).token(world.token(account)).connect_timeout(SOON);
    builder.connect().await.unwrap()
}

/// Two people talk, one by WebSocket and one by TCP.
async fn talk(world: &World, gateway: &Server) {
    let alice = client(world, "alice", gateway.ws()).await;
    let bob = client(world, "bob", format!("tcp://{}", gateway.address("tcp"))).await;
    let mut received = bob.messages();
    alice.talk("bob", "hello").await.unwrap();
    let message = tokio::time::timeout(SOON, received.next()).await.unwrap().unwrap();
    assert_eq!(message.body, "hello");
}

/// `imago status` finds the whole cluster through one monitor port.
async fn status(monitor: &str) {
    let arguments = ["status", "--once", "--monitor", monitor];
    let ran = Command::new(program("imago")).args(arguments).env_clear().output().await.unwrap();
    let table = String::from_utf8_lossy(&ran.stdout).into_owned();
    for part in ["gateway-1", "logic-1", "1/1", "[::1]:"] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
    assert!(!table.contains("does not answer"), "{table}");
}

/// Load by the bench's own wire.
async fn bench(world: &World, gateway: &Server) {
    let secret = world.secret_file();
    let (url, secret) = (gateway.ws(), secret.display().to_string());
    let mut command = Command::new(program("imago"));
    command.args(["bench", "talk", "--clients", "4", "--gateway", &url, "--secret-file", &secret]);
    command.args(["--duration", "300ms", "--warm-up", "100ms"]).current_dir(world.folder());
    let ran = command.env_clear().output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

async fn works(world: &World, logic: &Server, gateway: &Server) {
    for (server, peer) in [(logic, gateway), (gateway, logic)] {
        let report = server.monitor().peers().await.unwrap();
        let port = peer.address("monitor").rsplit_once(':').unwrap().1.to_owned();
        assert_eq!(report.peers.len(), 1, "{report:?}");
        assert_eq!(report.peers[0].monitor, Some(format!("http://[::1]:{port}")));
        assert!(report.own.address.starts_with("[::1]:"), "{report:?}");
        assert!(report.peers[0].address.starts_with("[::1]:"), "{report:?}");
        status(&server.address("monitor")).await;
        status(&format!("http://{}", server.address("monitor"))).await;
    }
    talk(world, gateway).await;
    bench(world, gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_gossips_works_on_ipv6() {
    require_ipv6();
    let world = World::gossip_at(Ipv6Addr::LOCALHOST).await;
    let (logic, gateway) = start(&world, None).await;
    works(&world, &logic, &gateway).await;
}

/// Members that listen on all addresses and name none advertise one that is reached.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_gossip_on_all_addresses_find_each_other_on_ipv6() {
    require_ipv6();
    let world = World::gossip_at(Ipv6Addr::UNSPECIFIED).await;
    assert!(world.naming().contains("seed=[::1]:"), "{}", world.naming());
    let (logic, gateway) = start(&world, None).await;
    works(&world, &logic, &gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_consul_works_on_ipv6() {
    require_ipv6();
    let mut world = World::consul_with("addresses { http = \"127.0.0.1 ::1\" }").await;
    let agent = world.agent().address();
    let port = agent.rsplit_once(':').unwrap().1;
    let url = format!("consul://[::1]:{port}?check_interval=1s");
    let (logic, gateway) = start(&world, Some(&url)).await;
    // Checked by the agent itself, which was told that they pass at first.
    let registry = imago_naming::open(&url).await.unwrap();
    let http = imago_kit::http::client().build().unwrap();
    let checks = format!("http://{agent}/v1/agent/checks");
    eventually(SOON, "Consul has asked both servers for their health", || async {
        let checks = http.get(&checks).send().await.ok()?.text().await.ok()?;
        (checks.matches("200 OK").count() == 2).then_some(())
    })
    .await;
    for (service, server) in [("chat", &logic), ("gateway", &gateway)] {
        let found = registry.find(service, &[]).await.unwrap();
        let port = server.address("monitor").rsplit_once(':').unwrap().1.to_owned();
        assert_eq!(found.len(), 1, "{found:?}");
        let health = format!("http://[::1]:{port}/health");
        assert_eq!(found[0].meta(meta_key::HEALTH_URL), Some(&*health));
    }
    works(&world, &logic, &gateway).await;
}
