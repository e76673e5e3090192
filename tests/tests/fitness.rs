//! What happens when logic servers lose their message store, or gateways all of their logic servers: who
//! can serve does, and who cannot says so.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::{Duration, Instant};

use imago_proto::{LogicPacket, msg::ErrorResp};
use imago_tests::{
    LinkProxy, PostgresServer, RawClient, Server, TcpProxy, World, eventually, program,
};
use prost::Message;
use tokio::{io::AsyncReadExt, net::TcpStream, process::Command};

const ACCOUNTS: [&str; 8] = ["ann", "bob", "cem", "dan", "eve", "fay", "gus", "hal"];
/// How long the most patient of all clients waits for an answer that is given at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Waits until `/ready` says no with these words; gives the time that it took.
async fn unready(server: &Server, words: &str) -> Duration {
    let (started, monitor) = (Instant::now(), server.monitor());
    let what = format!("{} is not ready: {words}", server.id);
    eventually(Duration::from_secs(20), &what, || async {
        let (status, text) = monitor.ready().await.ok()?;
        (status == 503 && text.contains(words)).then_some(())
    })
    .await;
    started.elapsed()
}

/// Waits until a gateway has heard what a server says of itself.
async fn hears(gateway: &Server, server: &Server, state: &str) {
    let what = format!("{} hears that {} is {state}", gateway.id, server.id);
    eventually(Duration::from_secs(20), &what, || async {
        let peers = gateway.monitor().peers().await.ok()?.peers;
        peers.iter().any(|peer| peer.id == server.id && peer.state == state).then_some(())
    })
    .await;
}

async fn state(server: &Server) -> String {
    server.monitor().peers().await.unwrap().own.state
}

/// Requests that a logic server's handlers answered.
async fn handled(server: &Server) -> f64 {
    server.monitor().metric("imago_handler_seconds_count").await.unwrap()
}

/// A client and the number of its last request.
struct Talker {
    client: RawClient,
    sequence: u32,
}

impl Talker {
    async fn login(world: &World, gateway: &Server, account: &str) -> Self {
        let client = RawClient::login(gateway, &world.token(account)).await;
        Self { client, sequence: 1 }
    }

    /// Talks to an account that is not connected; gives the answer and how long it took.
    async fn talk(&mut self) -> (LogicPacket, Duration) {
        self.sequence += 1;
        let started = Instant::now();
        self.client.talk(self.sequence, "nobody", "hello").await;
        let answer = self.client.packet().await;
        assert_eq!(answer.header.sequence, self.sequence);
        (answer, started.elapsed())
    }

    async fn is_served_at_once(&mut self) {
        let (answer, took) = self.talk().await;
        assert_eq!(answer.header.status, 0, "{}", why(&answer));
        assert!(took < AT_ONCE, "{took:?}");
    }

    async fn is_told_at_once_that_the_store_is_away(&mut self) {
        self.is_told_at_once("store is away").await;
    }

    async fn is_told_at_once(&mut self, words: &str) {
        let (answer, took) = self.talk().await;
        assert_eq!(answer.header.status, 300);
        assert!(why(&answer).contains(words), "{}", why(&answer));
        assert!(took < AT_ONCE, "{took:?}");
    }
}

fn why(answer: &LogicPacket) -> String {
    ErrorResp::decode(answer.body.clone()).unwrap_or_default().message
}

/// What `imago status` prints.
async fn status(server: &Server) -> String {
    let monitor = format!("http://{}", server.address("monitor"));
    let args = ["status", "--once", "--monitor", &monitor];
    let ran = Command::new(program("imago")).args(args).output().await.unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_lost_its_store_leaves_its_accounts_to_the_other_one() {
    let world = World::gossip().await;
    let url = PostgresServer::shared().await.database().await;
    let (proxy, through) = TcpProxy::before(&url).await;
    let first = world.logic("logic-1", &[("store.url", &through)]).await;
    let second = world.logic("logic-2", &[("store.url", &url)]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    for server in [&first, &second, &gateway] {
        server.ready().await;
    }
    let mut talkers = Vec::new();
    for account in ACCOUNTS {
        talkers.push(Talker::login(&world, &gateway, account).await);
    }
    for lose in [TcpProxy::cut, TcpProxy::stall] {
        for talker in &mut talkers {
            talker.is_served_at_once().await;
        }
        let mut before = handled(&first).await;
        assert!(before > 0.0, "some accounts are its own");
        lose(&proxy);
        // What is asked before the server knows it is answered too, and soon.
        for talker in &mut talkers {
            talker.sequence += 1;
            talker.client.talk(talker.sequence, "nobody", "hello").await;
        }
        let took = unready(&first, "message store cannot be written or read").await;
        println!("not ready {took:?} after the store was lost");
        assert!(took < Duration::from_secs(6), "{took:?}");
        hears(&gateway, &first, "unfit").await;
        for talker in &mut talkers {
            let status = talker.client.packet().await.header.status;
            assert!([0, 300].contains(&status), "{status}");
            talker.is_served_at_once().await;
        }
        assert_eq!(first.monitor().metric("imago_store_fit").await.unwrap(), 0.0);
        let shown = status(&gateway).await;
        assert!(shown.contains("logic-1 is unfit: message store cannot be written"), "{shown}");
        assert_eq!(gateway.monitor().ready().await.unwrap().0, 200);

        proxy.heal();
        first.ready().await;
        hears(&gateway, &first, "adult").await;
        before = before.max(handled(&first).await);
        for talker in &mut talkers {
            talker.is_served_at_once().await;
        }
        assert!(handled(&first).await > before, "its accounts are back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_servers_have_lost_the_store_clients_stay_and_hear_of_it_at_once() {
    let world = World::gossip().await;
    let url = PostgresServer::shared().await.database().await;
    let (proxy, through) = TcpProxy::before(&url).await;
    let logics = [
        world.logic("logic-1", &[("store.url", &through)]).await,
        world.logic("logic-2", &[("store.url", &through)]).await,
    ];
    let gateway = world.gateway("gateway-1", &[]).await;
    for server in logics.iter().chain([&gateway]) {
        server.ready().await;
    }
    let mut talker = Talker::login(&world, &gateway, "ann").await;
    talker.is_served_at_once().await;
    proxy.cut();
    for logic in &logics {
        unready(logic, "message store").await;
        hears(&gateway, logic, "unfit").await;
    }
    for _ in 0..3 {
        talker.is_told_at_once_that_the_store_is_away().await;
    }
    let mut late = Talker::login(&world, &gateway, "bob").await;
    late.is_told_at_once_that_the_store_is_away().await;
    // Longer than a gateway without servers would keep its clients.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(state(&gateway).await, "adult");
    talker.is_told_at_once_that_the_store_is_away().await;

    proxy.heal();
    for logic in &logics {
        logic.ready().await;
        hears(&gateway, logic, "adult").await;
    }
    talker.is_served_at_once().await;
    late.is_served_at_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_write_no_file_says_so_and_goes_on_when_it_can() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    let mut talker = Talker::login(&world, &gateway, "ann").await;
    talker.is_served_at_once().await;
    // Neither the database nor its log.
    logic.limit_file_size(Some(0));
    let took = unready(&logic, "check the disk of the database file").await;
    println!("not ready {took:?} after no file could be written");
    hears(&gateway, &logic, "unfit").await;
    assert_eq!(state(&logic).await, "unfit");
    talker.is_told_at_once("store cannot be written").await;
    logic.limit_file_size(None);
    logic.ready().await;
    hears(&gateway, &logic, "adult").await;
    talker.is_served_at_once().await;
}

/// Whether a gateway takes a connection and reads from it.
async fn takes_clients(gateway: &Server) -> bool {
    let Ok(mut stream) = TcpStream::connect(gateway.address("tcp")).await else { return false };
    // Closed at once, or left waiting for a login.
    tokio::time::timeout(Duration::from_secs(1), stream.read_u8()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_from_all_logic_servers_hands_its_clients_over() {
    let world = World::gossip().await;
    let (mut proxies, mut logics) = (Vec::new(), Vec::new());
    for id in ["logic-1", "logic-2"] {
        let proxy = LinkProxy::start().await;
        let logic = world.logic(id, &[("service.port", &proxy.port())]).await;
        proxy.lead_to(logic.address("link"));
        proxies.push(proxy);
        logics.push(logic);
    }
    let gateways = [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
    for server in logics.iter().chain(&gateways) {
        server.ready().await;
    }
    let mut raw = RawClient::login(&gateways[0], &world.token("raw")).await;
    let both = world.client("ann", &[&gateways[0], &gateways[1]]).await;
    let bob = world.client("bob", &[&gateways[1]]).await;
    bob.talk("ann", "before").await.unwrap();

    let cut = Instant::now();
    for proxy in &proxies {
        proxy.block("gateway-1");
        proxy.cut();
    }
    assert_eq!(raw.closed().await, Some(1001));
    println!("closed {:?} after the cut", cut.elapsed());
    assert!(cut.elapsed() >= Duration::from_secs(5), "clients are kept for a short cut");
    assert!(cut.elapsed() < Duration::from_secs(10), "{:?}", cut.elapsed());
    unready(&gateways[0], "isolated: no logic server linked for").await;
    assert_eq!(state(&gateways[0]).await, "isolated");
    assert!(!takes_clients(&gateways[0]).await);
    assert!(takes_clients(&gateways[1]).await, "the other one is as before");
    assert_eq!(gateways[0].monitor().metric("imago_isolations_total").await.unwrap(), 1.0);
    both.talk("bob", "from elsewhere").await.unwrap();

    for proxy in &proxies {
        proxy.unblock("gateway-1");
    }
    gateways[0].ready().await;
    assert_eq!(state(&gateways[0]).await, "adult");
    Talker::login(&world, &gateways[0], "back").await.is_served_at_once().await;
}
