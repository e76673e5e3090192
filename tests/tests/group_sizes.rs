//! Groups of 3, 200 and 10,000 members on two gateways talk while servers and the database are
//! killed: whoever is online gets each message once and in order, and whoever comes later the rest.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::join_all};
use imago_client::{Client, GroupId, NewGroup};
use imago_tests::{History, Outcome, PostgresServer, Server, World, eventually};
use tokio::task::JoinSet;

/// A group and its traffic.
#[derive(Clone, Copy)]
struct Size {
    members: usize,
    online: usize,
    talkers: usize,
    /// Messages of each talker.
    each: u64,
}

const THREE: Size = Size { members: 3, online: 2, talkers: 2, each: 150 };
const TWO_HUNDRED: Size = Size { members: 200, online: 60, talkers: 6, each: 30 };
const TEN_THOUSAND: Size = Size { members: 10_000, online: 200, talkers: 4, each: 20 };

/// Logs in at a time.
const LOGINS: usize = 20;

type Shared = Arc<Mutex<History>>;

struct Cluster {
    world: World,
    database: Option<PostgresServer>,
    gateways: [Server; 2],
    logics: [Server; 2],
    size: Size,
    group: GroupId,
    history: Shared,
    senders: JoinSet<()>,
    receivers: JoinSet<()>,
}

fn name(number: usize) -> String {
    format!("member-{number}")
}

fn lock(history: &Shared) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// A group whose online members are in the middle of talking.
    async fn in_full_swing(size: Size, database: Option<PostgresServer>) -> Self {
        let world = World::gossip().await;
        let url = match &database {
            Some(server) => Some(server.database().await),
            None => None,
        };
        let settings: Vec<(&str, &str)> =
            url.iter().map(|url| ("store.url", url.as_str())).collect();
        let logics =
            [world.logic("logic-1", &settings).await, world.logic("logic-2", &settings).await];
        let gateways =
            [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
        for server in gateways.iter().chain(&logics) {
            server.ready().await;
        }
        let clients = connect(&world, [&gateways[0], &gateways[1]], 0..size.online).await;
        let everybody = (0..size.members).map(name);
        let group = clients[0].group_create(NewGroup::new("team", everybody)).await.unwrap();
        let history = Shared::default();
        lock(&history).group(group.as_str(), (0..size.online).map(name));
        let (mut senders, mut receivers) = (JoinSet::new(), JoinSet::new());
        for client in &clients {
            receivers.spawn(receive(client.clone(), history.clone(), 0));
        }
        for client in clients.iter().take(size.talkers) {
            senders.spawn(talk(client.clone(), group.clone(), size.each, history.clone()));
        }
        let cluster =
            Self { world, database, gateways, logics, size, group, history, senders, receivers };
        cluster.accepted_part(1, 6).await;
        cluster
    }

    fn messages(&self) -> usize {
        self.size.talkers * self.size.each as usize
    }

    /// Waits until that part of all messages was accepted.
    async fn accepted_part(&self, part: usize, of: usize) {
        let wanted = self.messages() * part / of;
        eventually(Duration::from_secs(90), "messages are accepted", || async {
            (lock(&self.history).accepted() >= wanted).then_some(())
        })
        .await;
    }

    /// Kills a logic server, then a gateway, then the database, each while messages are under way.
    async fn suffers(&mut self) {
        self.logics[0].kill9().await;
        self.accepted_part(2, 6).await;
        self.gateways[0].kill9().await;
        self.accepted_part(3, 6).await;
        if let Some(database) = &mut self.database {
            database.restart().await;
        }
    }

    /// All who are online have everything, and the others get it when they come.
    async fn finish(mut self) {
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
        let came = eventually(Duration::from_secs(60), "all messages came", || async {
            let history = lock(&self.history);
            (history.received() >= history.expected()).then_some(())
        });
        // A missing message is told by the checker, not by this wait.
        let _ = tokio::time::timeout(Duration::from_secs(59), came).await;
        self.receivers.shutdown().await;
        let history = lock(&self.history).clone();
        assert_eq!(history.failures(), [""; 0], "the client retries until it is accepted");
        assert_eq!(history.accepted(), self.messages());
        history.assert_clean();

        let (first, last) = (self.size.online, self.size.members - 1);
        for number in BTreeSet::from([first, (first + last) / 2, last]) {
            self.comes_later(number).await;
        }
    }

    async fn comes_later(&self, number: usize) {
        let mut history = lock(&self.history).clone();
        history.group(self.group.as_str(), (0..self.size.online).chain([number]).map(name));
        let history = Shared::new(Mutex::new(history));
        let client = self.world.client(&name(number), &[&self.gateways[1]]).await;
        receive(client, history.clone(), self.messages()).await;
        lock(&history).assert_clean();
    }
}

async fn connect(
    world: &World,
    gateways: [&Server; 2],
    numbers: std::ops::Range<usize>,
) -> Vec<Client> {
    let mut clients = Vec::new();
    for some in Vec::from_iter(numbers).chunks(LOGINS) {
        let logins = some.iter().map(|number| async move {
            // Each begins at another gateway than the one before.
            let [one, other] = gateways;
            let order = if number % 2 == 0 { [one, other] } else { [other, one] };
            world.client(&name(*number), &order).await
        });
        clients.extend(join_all(logins).await);
    }
    clients
}

async fn talk(client: Client, group: GroupId, each: u64, history: Shared) {
    let own = client.session().account;
    for number in 1..=each {
        lock(&history).sends(&own, group.as_str(), number);
        let outcome = match client.group_talk(group.clone(), number.to_string()).await {
            Ok(receipt) => Outcome::Accepted {
                conversation: receipt.conversation.to_string(),
                seq: receipt.seq.0,
            },
            Err(error) => Outcome::Failed(error.to_string()),
        };
        lock(&history).ends(&own, number, outcome);
    }
}

/// Notes what comes, until so many came; 0: for ever.
async fn receive(client: Client, history: Shared, count: usize) {
    let own = client.session().account;
    let mut messages = client.messages();
    let mut received = 0;
    while count == 0 || received < count {
        let next = tokio::time::timeout(Duration::from_secs(60), messages.next()).await;
        let Ok(Some(message)) = next else { return };
        let number = message.body.parse().unwrap_or(u64::MAX);
        lock(&history).receives(&own, message.sender.as_str(), number);
        received += 1;
    }
}

async fn runs_clean(size: Size, database: Option<PostgresServer>) {
    let mut cluster = Cluster::in_full_swing(size, database).await;
    cluster.suffers().await;
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_three_on_sqlite() {
    runs_clean(THREE, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_three_on_postgres() {
    runs_clean(THREE, Some(PostgresServer::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_two_hundred_on_sqlite() {
    runs_clean(TWO_HUNDRED, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_two_hundred_on_postgres() {
    runs_clean(TWO_HUNDRED, Some(PostgresServer::start().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_ten_thousand_on_sqlite() {
    runs_clean(TEN_THOUSAND, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_ten_thousand_on_postgres() {
    runs_clean(TEN_THOUSAND, Some(PostgresServer::start().await)).await;
}
