//! Clients of old acknowledge the newest id they received. What never arrived before it is not
//! acknowledged by that: it comes once everything is in order again.

use std::time::Duration;

use imago_tests::{Device, Kind, Pass, To, Way};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Store};

/// Accounts that send: some are served by each logic server.
const SENDERS: usize = 6;
/// Clients of old, on WebSocket and on TCP, by their names.
const RECEIVERS: [(&str, &str); 2] = [("olga", ""), ("otto", "x")];
const ACK: Duration = Duration::from_millis(300);
/// Shorter than their gateway's link is given up after; longer; and longer than what is for the
/// gateway is kept for.
const BRIEF: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(9);
const VERY_LONG: Duration = Duration::from_secs(20);
const BOTH: [Way; 2] = [Way::Forth, Way::Back];
/// Pause between two rounds of messages.
const PAUSE: Duration = Duration::from_millis(200);
/// Time of talking after everything is in order again, from when on the receivers hear something; and
/// the time in which they have to.
const AFTER: Duration = Duration::from_secs(2);
const HEARS: Duration = Duration::from_secs(20);

struct Story {
    cluster: Cluster,
    senders: Vec<Device>,
    receivers: Vec<Device>,
}

impl Story {
    /// The receivers are on the first gateway, the senders on the other; every message has arrived.
    async fn begin(cluster: Cluster) -> Self {
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for number in 0..SENDERS {
            let device = cluster.device_of(&format!("sender-{number}"), "", Kind::Naive, 1);
            senders.push(device.online().await);
        }
        for (account, name) in RECEIVERS {
            let device = cluster.device_of(account, name, Kind::Old(ACK), 0);
            receivers.push(device.online().await);
        }
        let story = Self { cluster, senders, receivers };
        story.talk_for(Duration::ZERO).await;
        for logic in &story.cluster.logics {
            let handled = logic.monitor().metric("imago_handler_seconds_count").await.unwrap();
            assert!(handled >= 2.0, "{} serves no sender", logic.id);
        }
        story
    }

    /// All senders talk to all receivers, at least once.
    async fn talk_for(&self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            for sender in &self.senders {
                for (account, _) in RECEIVERS {
                    // While something is broken, answers may take their time.
                    drop(sender.send(&To::Account(account.to_owned())).await);
                }
            }
            sleep(PAUSE).await;
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Everything is in order again, and the receivers have heard of it.
    async fn end(self) {
        let chronicle = &self.cluster.chronicle;
        chronicle.heals();
        let has = || self.receivers.iter().map(|receiver| chronicle.places(receiver.id()));
        let before: Vec<usize> = has().collect();
        let until = Instant::now() + HEARS;
        while has().zip(&before).any(|(now, before)| now == *before) && Instant::now() < until {
            self.talk_for(Duration::ZERO).await;
        }
        self.talk_for(AFTER).await;
        let verdict = self.cluster.chronicle.settles(Duration::from_secs(20)).await;
        assert!(verdict.accepted > SENDERS * RECEIVERS.len() * 10, "{verdict}");
        verdict.assert_clean();
    }
}

async fn frozen_for(time: Duration) {
    let story = Story::begin(Cluster::start(Store::Sqlite).await).await;
    story.cluster.gateways[0].freeze();
    story.talk_for(time).await;
    story.cluster.gateways[0].thaw();
    story.end().await;
}

/// The links of the first gateway with these logic servers are cut. Where one is left, what the other
/// server pushes arrives, and is acknowledged.
async fn cut_for(time: Duration, logics: &[usize], ways: &[Way], pass: Pass) {
    let story = Story::begin(Cluster::start(Store::Sqlite).await).await;
    for logic in logics {
        for way in ways {
            story.cluster.links[*logic].set_for("gateway-1", *way, pass);
        }
    }
    story.talk_for(time).await;
    story.cluster.heal();
    story.end().await;
}

async fn away_for(time: Duration) {
    let story = Story::begin(Cluster::with_a_machine().await).await;
    story.cluster.isolate();
    story.talk_for(time).await;
    story.cluster.heal();
    story.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_gateway_that_was_frozen_get_everything() {
    tokio::join!(frozen_for(BRIEF), frozen_for(LONG), frozen_for(VERY_LONG));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_gateway_whose_link_was_cut_both_ways_get_everything() {
    tokio::join!(cut_for(BRIEF, &[0], &BOTH, Pass::Drop), cut_for(LONG, &[0], &BOTH, Pass::Drop));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_gateway_that_one_server_cannot_reach_get_everything() {
    tokio::join!(
        cut_for(LONG, &[0], &[Way::Back], Pass::Drop),
        cut_for(LONG, &[0], &[Way::Back], Pass::Hold)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_gateway_that_cannot_reach_one_server_get_everything() {
    cut_for(LONG, &[0], &[Way::Forth], Pass::Drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_gateway_that_lost_all_servers_get_everything() {
    tokio::join!(
        cut_for(BRIEF, &[0, 1], &BOTH, Pass::Drop),
        cut_for(VERY_LONG, &[0, 1], &BOTH, Pass::Drop)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_gateway_whose_machine_was_away_get_everything() {
    tokio::join!(away_for(LONG), away_for(VERY_LONG));
}
