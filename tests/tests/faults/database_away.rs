//! PostgreSQL is killed and away for a while: what was accepted right before is pushed once it is
//! back.

use std::time::Duration;

use imago_tests::{Device, Kind, Pass, To, Way};
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, Store},
    crowd::group,
};

/// Accounts that talk to groups, each to one of its own at the moment of the kill.
const SENDERS: usize = 24;
const ACK: Duration = Duration::from_millis(300);
/// Time that the database is away for: longer than a logic server goes on asking who is in a group.
const AWAY: Duration = Duration::from_secs(25);
/// Time that the database takes for each answer before it dies, so that it dies in the middle of
/// something.
const SLOW: Duration = Duration::from_millis(200);
/// What is in every group, besides one sender.
const MEMBERS: [(&str, Kind); 3] =
    [("nora", Kind::Naive), ("olga", Kind::Old(ACK)), ("sam", Kind::Sdk)];

#[tokio::test(flavor = "multi_thread")]
async fn group_messages_that_were_accepted_when_the_database_died_are_pushed_once_it_is_back() {
    let mut cluster = Cluster::start(Store::Postgres).await;
    let (mut senders, mut members): (Vec<Device>, Vec<Device>) = Default::default();
    for number in 0..SENDERS {
        let device = cluster.device(&format!("sender-{number}"), "", Kind::Sdk, number % 2);
        senders.push(device.online().await);
    }
    for (number, (account, kind)) in MEMBERS.into_iter().enumerate() {
        members.push(cluster.device(account, "", kind, number % 2).online().await);
    }
    // New groups: servers have to read who is in them, after the first message is accepted.
    let mut groups = Vec::new();
    for sender in &senders {
        let mut names = MEMBERS.map(|(account, _)| account.to_owned()).to_vec();
        names.push(sender.account().to_owned());
        groups.push(group(&cluster, &names).await);
    }
    for queries in &cluster.queries {
        queries.set(Way::Back, Pass::Delay(SLOW));
    }
    let mut endings = Vec::new();
    for (sender, group) in senders.iter().zip(groups) {
        endings.push(sender.send(&To::Group(group)).await);
    }
    cluster.chronicle.until_accepted(SENDERS / 3, Duration::from_secs(20)).await;
    let postgres = cluster.postgres.as_mut().unwrap();
    postgres.kill9().await;
    cluster.heal();
    sleep(AWAY).await;
    cluster.postgres.as_mut().unwrap().start_again().await;
    cluster.chronicle.heals();
    for ending in endings {
        // The SDK repeats what was not accepted.
        let _ = ending.await;
    }
    let verdict = cluster.chronicle.settles(Duration::from_secs(30)).await;
    assert!(verdict.accepted > SENDERS / 2, "{verdict}");
    verdict.assert_clean();
}
