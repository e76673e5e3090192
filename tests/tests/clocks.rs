//! Two logic servers whose clocks differ by a minute, on one store: sequences rise all the same, on SQLite
//! ids too, and no client misses a message whose time is before that of one it has.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::{HashSet, VecDeque},
    ops::RangeInclusive,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::StreamExt;
use imago_client::{Client, Message as Told, Range, Receipt};
use imago_container::{
    Route,
    selector::{Candidate, Hash, Selector},
};
use imago_proto::{
    command,
    msg::{
        Cursor, Flag, MessageAckReq, MessageIndexReq, MessageIndexResp, MessagePush, SyncReq,
        SyncResp,
    },
};
use imago_tests::{PostgresServer, RawClient, Server, Traffic, World, eventually};
use prost::Message;
use tokio::time::timeout;

const MINUTE: i64 = 60_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages from each side of one conversation.
const ROUNDS: usize = 10;
const CLIENTS: usize = 6;
const EACH: u64 = 60;

/// The clock of a logic server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Clock {
    Right,
    Ahead,
}

impl Clock {
    fn server(self) -> &'static str {
        match self {
            Self::Right => "logic-right",
            Self::Ahead => "logic-ahead",
        }
    }

    /// An account whose requests go to this server, as gateways choose by default.
    fn account(self, name: &str) -> String {
        let candidate = |clock: Self| Candidate {
            service_id: clock.server().into(),
            zone: "".into(),
            weight: 1,
            pending: 0,
        };
        // By id, as gateways sort them.
        let servers = [Self::Ahead, Self::Right];
        let candidates = servers.map(candidate);
        let is_ours = |account: &String| {
            let route = Route { app: "imago".into(), account: account.as_str().into() };
            Hash.pick(&candidates, &route).map(|index| servers[index]) == Some(self)
        };
        (0..).map(|number| format!("{name}-{number}")).find(is_ours).unwrap()
    }

    /// The times that this server may give to what was sent since then.
    fn times(self, since: i64) -> RangeInclusive<i64> {
        let ahead = if self == Self::Ahead { MINUTE } else { 0 };
        since + ahead..=unix_nanos() + ahead
    }
}

fn unix_nanos() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// Where messages are stored.
struct Store {
    settings: Vec<(&'static str, String)>,
    /// In the order of sequences, whatever the clocks say.
    ids_rise: bool,
}

impl Store {
    fn sqlite() -> Self {
        Self { settings: Vec::new(), ids_rise: true }
    }

    async fn postgres() -> Self {
        let url = PostgresServer::shared().await.database().await;
        Self { settings: vec![("store.url", url)], ids_rise: false }
    }
}

struct Cluster {
    world: World,
    gateways: [Server; 2],
    /// The right one, and the one ahead.
    logics: [Server; 2],
    ids_rise: bool,
}

impl Cluster {
    async fn start(Store { settings: store, ids_rise }: Store, selector: &str) -> Self {
        let world = World::gossip().await;
        let store: Vec<_> = store.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let logics = [
            world.logic(Clock::Right.server(), &store).await,
            world.logic_ahead(Clock::Ahead.server(), 60, &store).await,
        ];
        let settings = [("selector.kind", selector)];
        let gateways = [
            world.gateway("gateway-1", &settings).await,
            world.gateway("gateway-2", &settings).await,
        ];
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
        Self { world, gateways, logics, ids_rise }
    }

    async fn client(&self, account: &str) -> Client {
        self.world.client(account, &[&self.gateways[0], &self.gateways[1]]).await
    }
}

/// Sends a message over the server with this clock.
async fn says(clock: Clock, from: &Client, to: &str, body: &str) -> Receipt {
    let since = unix_nanos();
    let receipt = from.talk(to, body).await.unwrap();
    let times = clock.times(since);
    assert!(times.contains(&receipt.send_time), "{receipt:?} is not in {times:?}, {clock:?}");
    receipt
}

/// Two sides of a conversation, each with another clock, talk in turn.
async fn sequences_rise(cluster: &Cluster) {
    let names = [Clock::Right, Clock::Ahead].map(|clock| (clock, clock.account("talks")));
    let clients = [cluster.client(&names[0].1).await, cluster.client(&names[1].1).await];
    let mut receipts: Vec<Receipt> = Vec::new();
    for round in 0..ROUNDS * 2 {
        let (from, to) = (round % 2, (round + 1) % 2);
        receipts.push(says(names[from].0, &clients[from], &names[to].1, "your turn").await);
    }
    for (number, (one, next)) in receipts.iter().zip(&receipts[1..]).enumerate() {
        assert!(!cluster.ids_rise || one.message_id < next.message_id, "{one:?}, {next:?}");
        assert_eq!(one.seq.0 as usize, number + 1);
        // From here to there, more than half a minute lies between them, and backwards at that.
        let difference = next.send_time - one.send_time;
        assert_eq!(difference > MINUTE / 2, number % 2 == 0, "{difference}");
        assert_eq!(difference < -MINUTE / 2, number % 2 == 1, "{difference}");
    }
    assert!(receipts.iter().all(|receipt| receipt.message_id >= receipt.send_time));
    let ids: HashSet<i64> = receipts.iter().map(|receipt| receipt.message_id).collect();
    assert_eq!(ids.len(), receipts.len(), "{receipts:?}");
}

/// A receiver that acknowledges what a test wants.
struct Receiver {
    raw: RawClient,
    sequence: u32,
    pushed: VecDeque<MessagePush>,
    /// Ids of what was pushed: what is not acknowledged may be pushed again.
    seen: HashSet<i64>,
}

impl Receiver {
    async fn login(cluster: &Cluster, account: &str) -> Self {
        let raw = RawClient::login(&cluster.gateways[0], &cluster.world.token(account)).await;
        Self { raw, sequence: 1, pushed: VecDeque::new(), seen: HashSet::new() }
    }

    async fn ask<A: Message + Default>(&mut self, command: &str, body: &impl Message) -> A {
        self.sequence += 1;
        self.raw.request(command, self.sequence, "", body).await;
        loop {
            let packet = self.raw.packet().await;
            if packet.header.flag == i32::from(Flag::Push) {
                self.keep(packet.body);
                continue;
            }
            assert_eq!((packet.header.sequence, packet.header.status), (self.sequence, 0));
            return A::decode(packet.body).unwrap();
        }
    }

    fn keep(&mut self, push: Bytes) {
        let push = MessagePush::decode(push).unwrap();
        if self.seen.insert(push.message_id) {
            self.pushed.push_back(push);
        }
    }

    /// What the next new push says.
    async fn hears(&mut self) -> String {
        while self.pushed.is_empty() {
            let packet = self.raw.packet().await;
            assert_eq!(packet.header.flag, i32::from(Flag::Push));
            self.keep(packet.body);
        }
        self.pushed.pop_front().unwrap().body
    }

    async fn index(&mut self, message_id: i64) -> Vec<i64> {
        let asked = MessageIndexReq { message_id };
        let page: MessageIndexResp = self.ask(command::CHAT_OFFLINE_INDEX, &asked).await;
        page.indexes.into_iter().map(|entry| entry.message_id).collect()
    }

    async fn sync(&mut self) -> Vec<i64> {
        let page: SyncResp = self.ask(command::CHAT_SYNC, &SyncReq::default()).await;
        page.messages.into_iter().map(|message| message.message_id).collect()
    }

    async fn misses(&mut self, messages: &[&Receipt]) {
        let ids = Vec::from_iter(messages.iter().map(|receipt| receipt.message_id));
        assert_eq!(self.index(0).await, ids);
        assert_eq!(self.sync().await, ids);
    }
}

/// Two senders, each with another clock, and somebody whose requests go to the server with this one.
struct Trio {
    clock: Clock,
    right: Client,
    ahead: Client,
    account: String,
    receiver: Receiver,
}

impl Trio {
    async fn meet(cluster: &Cluster, clock: Clock) -> Self {
        let right = cluster.client(&Clock::Right.account("tells")).await;
        let ahead = cluster.client(&Clock::Ahead.account("tells")).await;
        let account = clock.account("listens");
        let receiver = Receiver::login(cluster, &account).await;
        Self { clock, right, ahead, account, receiver }
    }

    async fn acknowledges(&mut self, message_id: i64, cursors: Vec<Cursor>) {
        let ack = MessageAckReq { message_id, cursors };
        let () = self.receiver.ask(command::CHAT_TALK_ACK, &ack).await;
    }

    /// Gives the message that is left unacknowledged in the end.
    async fn misses_nothing(&mut self, ids_rise: bool) -> Receipt {
        let first = says(Clock::Right, &self.right, &self.account, "first").await;
        let second = says(Clock::Ahead, &self.ahead, &self.account, "second").await;
        assert!(first.message_id < second.message_id - MINUTE / 2);
        self.hears(&["first", "second"]).await;
        self.receiver.misses(&[&first, &second]).await;

        // The newer one is acknowledged, in its conversation; its id acknowledges nothing more.
        let (conversation, seq) = (second.conversation.to_string(), second.seq.0);
        self.acknowledges(0, vec![Cursor { conversation, seq }]).await;
        self.receiver.misses(&[&first]).await;
        self.acknowledges(second.message_id, Vec::new()).await;
        self.receiver.misses(&[&first]).await;

        let newer = says(Clock::Ahead, &self.ahead, &self.account, "newer").await;
        self.hears(&["newer"]).await;
        // What is sent now has a time far before that of the newer one.
        let third = says(Clock::Right, &self.right, &self.account, "third").await;
        assert!(third.send_time < newer.send_time - MINUTE / 2);
        assert_eq!(third.message_id > newer.message_id, ids_rise);
        self.hears(&["third"]).await;
        let mut missing = [&first, &newer, &third];
        if !ids_rise {
            missing.swap(1, 2);
        }
        self.receiver.misses(&missing).await;
        // Everything that came before it, and nothing that came later.
        self.acknowledges(newer.message_id, Vec::new()).await;
        self.receiver.misses(&[&third]).await;
        assert_eq!(self.receiver.index(newer.message_id).await, [third.message_id]);
        third
    }

    async fn hears(&mut self, bodies: &[&str]) {
        for body in bodies {
            assert_eq!(self.receiver.hears().await, *body);
        }
    }

    /// The server that the receiver asked dies: of what the receiver has, the other one pushes nothing
    /// again; it lists all that is not acknowledged.
    async fn is_served_by_the_other(&mut self, cluster: &mut Cluster, missing: &Receipt) {
        self.receiver.seen.clear();
        let mut logics = cluster.logics.iter_mut();
        logics.find(|logic| logic.id == self.clock.server()).unwrap().kill9().await;
        let last = self.ahead.talk(self.account.as_str(), "fourth").await.unwrap();
        assert!(last.message_id > missing.message_id);
        self.hears(&["fourth"]).await;
        self.receiver.misses(&[missing, &last]).await;
        let client = cluster.client(&self.account).await;
        assert_eq!(bodies(&client, 2).await, ["third", "fourth"]);
    }
}

/// The logic server with this clock is killed in the end.
async fn nothing_is_missed(store: Store, clock: Clock) {
    let mut cluster = Cluster::start(store, "hash").await;
    let mut trio = Trio::meet(&cluster, clock).await;
    let missing = trio.misses_nothing(cluster.ids_rise).await;
    sequences_rise(&cluster).await;
    trio.is_served_by_the_other(&mut cluster, &missing).await;
}

async fn bodies(client: &Client, count: usize) -> Vec<String> {
    let messages = client.messages().take(count).map(|message| message.body).collect();
    timeout(PATIENCE, messages).await.unwrap()
}

/// Every request of a client goes to the other server than the one before.
async fn traffic_is_clean(store: Store) {
    let cluster = Cluster::start(store, "round_robin").await;
    let both = [&cluster.gateways[0], &cluster.gateways[1]];
    let mut traffic = Traffic::connect(&cluster.world, &both, CLIENTS).await;
    traffic.send(EACH);
    let history = traffic.finish().await;
    history.assert_clean();
    assert_eq!(history.failures(), [""; 0]);
    assert_eq!(history.accepted(), CLIENTS * EACH as usize);
    for logic in &cluster.logics {
        let writes = logic.monitor().metric("imago_store_writes_total").await.unwrap();
        assert!(writes > EACH as f64, "{}: {writes}", logic.id);
    }
    let client = cluster.client("user-0").await;
    let mut ids = HashSet::new();
    for conversation in client.conversations(None).await.unwrap().conversations {
        let page = client.history(conversation.place, Range::Latest, 200).await.unwrap();
        assert!(!page.more);
        rise(&page.messages, cluster.ids_rise);
        assert!(page.messages.iter().all(|message| ids.insert(message.message_id)));
    }
    assert!(ids.len() > EACH as usize);
}

/// Sequences of a conversation have no gaps, and its ids rise with them or not, whatever its times do.
fn rise(messages: &[Told], ids_rise: bool) {
    assert!(messages.windows(2).all(|two| two[0].seq.0 + 1 == two[1].seq.0), "{messages:?}");
    let rise = messages.windows(2).all(|two| two[0].message_id < two[1].message_id);
    assert!(rise || !ids_rise, "{messages:?}");
    assert!(messages.iter().all(|message| message.message_id >= message.send_time));
    let back = |two: &[Told]| two[1].send_time < two[0].send_time - MINUTE / 2;
    assert!(messages.windows(2).any(back), "all times are of one clock: {messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_ids_rise_and_nothing_is_missed() {
    nothing_is_missed(Store::sqlite(), Clock::Right).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_sequences_rise_and_nothing_is_missed() {
    nothing_is_missed(Store::postgres().await, Clock::Ahead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_traffic_over_both_is_clean() {
    traffic_is_clean(Store::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_traffic_over_both_is_clean() {
    traffic_is_clean(Store::postgres().await).await;
}
