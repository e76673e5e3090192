//! Devices of one account: what one of them has acknowledged, the others show all the same.

use std::time::Duration;

use imago_tests::{Device, Kind, To, Verdict};
use tokio::time::sleep;

use crate::cluster::{Cluster, Store};

const ACK: Duration = Duration::from_millis(300);
/// Time in which a device that has a message has acknowledged it.
const ACKNOWLEDGES: Duration = Duration::from_millis(1500);
/// A gateway stands still until its link is given up, and what was kept for it, too.
const STALL: Duration = Duration::from_secs(18);
/// From this moment of the stall on, its links are given up.
const UNLINKED: Duration = Duration::from_secs(8);
/// Time in which everything has to have arrived in the end.
const SETTLES: Duration = Duration::from_secs(20);
/// Kinds that are promised what was sent while they were away.
const KINDS: [(&str, Kind); 2] = [("sdk", Kind::Sdk), ("old", Kind::Old(ACK))];

/// Eve says something to an account, and a device of it has acknowledged that.
async fn acknowledged_by(cluster: &Cluster, eve: &Device, phone: &Device) {
    let (conversation, seq) = eve.says(&To::Account(phone.account().to_owned())).await;
    imago_tests::eventually(SETTLES, "the phone shows it", || async {
        cluster.chronicle.has(phone.id(), &conversation, seq).then_some(())
    })
    .await;
    sleep(ACKNOWLEDGES).await;
}

async fn settles(cluster: &Cluster) -> Verdict {
    cluster.chronicle.heals();
    cluster.chronicle.settles(SETTLES).await
}

async fn a_laptop_was_away(kind: Kind, of_phone: Kind) {
    let cluster = Cluster::start(Store::Sqlite).await;
    let eve = cluster.device("eve", "", Kind::Sdk, 0).online().await;
    let laptop = cluster.device("bob", "laptop", kind, 0).online().await;
    let phone = cluster.device("bob", "phone", of_phone, 1).online().await;
    eve.says(&To::Account("bob".to_owned())).await;
    settles(&cluster).await.assert_clean();
    laptop.stop().await;

    acknowledged_by(&cluster, &eve, &phone).await;
    let _laptop = cluster.device("bob", "laptop", kind, 0).online().await;
    let first = settles(&cluster).await;
    eve.says(&To::Account("bob".to_owned())).await;
    let second = settles(&cluster).await;
    second.assert_clean();
    first.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_laptop_that_was_away_shows_what_the_phone_has_acknowledged() {
    tokio::join!(
        a_laptop_was_away(Kind::Sdk, Kind::Sdk),
        a_laptop_was_away(Kind::Sdk, Kind::Old(ACK)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_that_was_away_is_told_what_another_device_has_acknowledged() {
    a_laptop_was_away(Kind::Old(ACK), Kind::Sdk).await;
}

/// The phones' gateway is killed; what comes until they are back, the laptops acknowledge.
#[tokio::test(flavor = "multi_thread")]
async fn phones_whose_gateway_was_killed_show_what_the_laptops_have_acknowledged() {
    let mut cluster = Cluster::start(Store::Sqlite).await;
    let eve = cluster.device_of("eve", "", Kind::Sdk, 1).online().await;
    let (mut phones, mut laptops) = (Vec::new(), Vec::new());
    for (account, kind) in KINDS {
        phones.push(cluster.device_of(account, "phone", kind, 0).online().await);
        laptops.push(cluster.device_of(account, "laptop", kind, 1).online().await);
        eve.says(&To::Account(account.to_owned())).await;
    }
    settles(&cluster).await.assert_clean();
    cluster.gateways[0].kill9().await;
    for laptop in &laptops {
        acknowledged_by(&cluster, &eve, laptop).await;
    }
    for phone in phones {
        phone.stop().await;
    }
    let mut back = Vec::new();
    for (account, kind) in KINDS {
        back.push(cluster.device_of(account, "phone", kind, 1).online().await);
    }
    settles(&cluster).await.assert_clean();
}

/// Laptops stay connected to a gateway that stands still; phones acknowledge what comes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn laptops_of_a_gateway_that_stood_still_show_what_the_phones_have_acknowledged() {
    let cluster = Cluster::start(Store::Sqlite).await;
    let eve = cluster.device_of("eve", "", Kind::Sdk, 1).online().await;
    let (mut phones, mut laptops) = (Vec::new(), Vec::new());
    for (account, kind) in KINDS.into_iter().chain([("naive", Kind::Naive)]) {
        laptops.push(cluster.device_of(account, "laptop", kind, 0).online().await);
        phones.push(cluster.device_of(account, "phone", Kind::Sdk, 1).online().await);
        eve.says(&To::Account(account.to_owned())).await;
    }
    settles(&cluster).await.assert_clean();
    let stall = async {
        cluster.gateways[0].freeze();
        sleep(STALL).await;
        cluster.gateways[0].thaw();
    };
    let talk = async {
        for pause in [Duration::ZERO, UNLINKED] {
            sleep(pause).await;
            let acknowledged = phones.iter().map(|phone| acknowledged_by(&cluster, &eve, phone));
            futures::future::join_all(acknowledged).await;
        }
    };
    tokio::join!(stall, talk);
    settles(&cluster).await.assert_clean();
}
