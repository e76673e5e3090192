//! A group talks while a server is killed: every member gets every message of the others once and
//! in order, also who joins later and who was away.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use imago_client::{Client, GroupId, NewGroup, Place, Range, Seq};
use imago_tests::{Server, World, eventually};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// Those who talk.
const MEMBERS: usize = 6;
const EACH: usize = 150;
/// Messages accepted before something happens.
const BEFORE: usize = 80;

struct Cluster {
    world: World,
    gateways: [Server; 2],
    logics: [Server; 2],
    members: Vec<Client>,
    group: GroupId,
    accepted: Arc<AtomicUsize>,
    /// Give who sent what.
    senders: JoinSet<Vec<(String, Seq)>>,
}

impl Cluster {
    /// A group in the middle of talking; one of its members is away.
    async fn in_full_swing() -> Self {
        let world = World::gossip().await;
        let logics = [world.logic("logic-1", &[]).await, world.logic("logic-2", &[]).await];
        let gateways =
            [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
        for server in gateways.iter().chain(&logics) {
            server.ready().await;
        }
        let both = [&gateways[0], &gateways[1]];
        let names: Vec<String> = (0..MEMBERS).map(|number| format!("member-{number}")).collect();
        let mut members = Vec::new();
        for name in &names {
            members.push(world.client(name, &both).await);
        }
        let everybody = names.into_iter().chain(["away".to_owned()]);
        let group = members[0].group_create(NewGroup::new("team", everybody)).await.unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let mut senders = JoinSet::new();
        for member in &members {
            senders.spawn(talk(member.clone(), group.clone(), accepted.clone()));
        }
        let cluster = Self { world, gateways, logics, members, group, accepted, senders };
        cluster.accepted(BEFORE).await;
        cluster
    }

    async fn accepted(&self, messages: usize) {
        eventually(Duration::from_secs(60), "messages are accepted", || async {
            (self.accepted.load(Ordering::Relaxed) >= messages).then_some(())
        })
        .await;
    }

    async fn client(&self, account: &str) -> Client {
        self.world.client(account, &[&self.gateways[0], &self.gateways[1]]).await
    }

    /// Everybody has everything.
    async fn finish(mut self, late: &Client) {
        let receivers: Vec<_> = self.members.iter().map(receive).collect();
        let mut sent = Vec::new();
        while let Some(ended) = self.senders.join_next().await {
            sent.extend(ended.unwrap());
        }
        sent.sort_by_key(|(_, seq)| *seq);
        let seqs: Vec<u64> = sent.iter().map(|(_, seq)| seq.0).collect();
        assert_eq!(seqs, Vec::from_iter(1..=(MEMBERS * EACH) as u64), "each is stored once");
        for receiver in receivers {
            let (name, received) = receiver.await.unwrap();
            assert_eq!(received, from_others(&sent, &name), "{name}");
        }
        let away = self.client("away").await;
        for newcomer in [late, &away] {
            let (name, received) = receive_until(newcomer, seqs.len()).await;
            let first = received.first().copied().unwrap();
            let all = from_others(&sent, &name);
            let seen: Vec<_> = all.into_iter().filter(|seq| *seq >= first).collect();
            assert_eq!(received, seen, "{name}");
            assert!(name != "away" || first == Seq(1), "{first}");
        }
        assert_eq!(history(&away, &self.group).await, sent);
    }
}

async fn talk(client: Client, group: GroupId, accepted: Arc<AtomicUsize>) -> Vec<(String, Seq)> {
    let name = client.session().account;
    let mut sent = Vec::new();
    for number in 0..EACH {
        let receipt = client.group_talk(group.clone(), number.to_string()).await.unwrap();
        accepted.fetch_add(1, Ordering::Relaxed);
        sent.push((name.clone(), receipt.seq));
    }
    sent
}

fn from_others(sent: &[(String, Seq)], name: &str) -> Vec<Seq> {
    sent.iter().filter(|(sender, _)| sender != name).map(|(_, seq)| *seq).collect()
}

/// Receives all that the others send.
fn receive(client: &Client) -> JoinHandle<(String, Vec<Seq>)> {
    let client = client.clone();
    tokio::spawn(async move {
        let (mut messages, mut received) = (client.messages(), Vec::new());
        while received.len() < (MEMBERS - 1) * EACH {
            let next = timeout(Duration::from_secs(60), messages.next()).await;
            let Ok(Some(message)) = next else { break };
            received.push(message.seq);
        }
        (client.session().account, received)
    })
}

/// Receives until the newest has come.
async fn receive_until(client: &Client, newest: usize) -> (String, Vec<Seq>) {
    let (mut messages, mut received) = (client.messages(), Vec::new());
    while received.last() != Some(&Seq(newest as u64)) {
        let next = timeout(Duration::from_secs(60), messages.next()).await;
        let Ok(Some(message)) = next else { break };
        received.push(message.seq);
    }
    (client.session().account, received)
}

/// The whole history, read from its end.
async fn history(client: &Client, group: &GroupId) -> Vec<(String, Seq)> {
    let (mut all, mut range) = (Vec::new(), Range::Latest);
    loop {
        let page = client.history(Place::Group(group.clone()), range, 70).await.unwrap();
        let older = page.messages.iter().map(|m| (m.sender.to_string(), m.seq));
        all.splice(0..0, older);
        match page.messages.first() {
            Some(first) if page.more => range = Range::Before(first.seq),
            _ => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_logic_server_loses_no_group_message() {
    let mut cluster = Cluster::in_full_swing().await;
    let late = cluster.client("late").await;
    cluster.members[1].group_add(cluster.group.clone(), "late").await.unwrap();
    cluster.logics[0].kill9().await;
    cluster.finish(&late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_loses_no_group_message() {
    let mut cluster = Cluster::in_full_swing().await;
    let late = cluster.client("late").await;
    cluster.gateways[0].kill9().await;
    cluster.members[1].group_add(cluster.group.clone(), "late").await.unwrap();
    cluster.finish(&late).await;
}
