//! Twenty devices of ten accounts that talk to each other and in a group without a pause.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use imago_client::NewGroup;
use imago_tests::{Device, Kind, Server, To};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;

const ACCOUNTS: usize = 10;
/// How often clients of old acknowledge.
const ACK: Duration = Duration::from_millis(500);
/// Kinds of devices in turn.
const KINDS: [Kind; 3] = [Kind::Sdk, Kind::Old(ACK), Kind::Naive];
/// Messages of a device that may wait for their answers.
const WINDOW: usize = 3;
/// Milliseconds between two messages of a device.
const PAUSES: std::ops::Range<u64> = 100..400;

pub(crate) struct Crowd {
    devices: Vec<Arc<Device>>,
    group: String,
    talking: JoinSet<()>,
    stop: CancellationToken,
}

impl Crowd {
    /// Starts the devices, half on each gateway, and waits until all are online.
    pub(crate) async fn gather(cluster: &Cluster) -> Self {
        let accounts: Vec<String> = (0..ACCOUNTS).map(|number| format!("user-{number}")).collect();
        let group = group(cluster, &accounts).await;
        let mut devices = Vec::new();
        for (number, account) in accounts.iter().enumerate() {
            for (place, name) in ["phone", "laptop"].into_iter().enumerate() {
                let kind = KINDS[(number + place) % KINDS.len()];
                devices.push(cluster.device(account, name, kind, (number + place) % 2));
            }
        }
        let mut online = Vec::new();
        for device in devices {
            online.push(Arc::new(device.online().await));
        }
        let (talking, stop) = (JoinSet::new(), CancellationToken::new());
        Self { devices: online, group, talking, stop }
    }

    /// Has all devices talk from now on; the seed decides to whom.
    pub(crate) fn talk(&mut self, seed: u64) {
        for (number, device) in self.devices.iter().enumerate() {
            let rng = StdRng::seed_from_u64(seed.wrapping_mul(100).wrapping_add(number as u64));
            let (device, group) = (device.clone(), self.group.clone());
            let stop = self.stop.clone();
            self.talking.spawn(async move {
                // What is sent is recorded, whether its end is waited for here or not.
                stop.run_until_cancelled(chatter(&device, &group, rng)).await;
            });
        }
    }

    /// No device begins a message any more.
    pub(crate) async fn falls_silent(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.talking.join_next().await {
            ended.unwrap();
        }
    }
}

async fn chatter(device: &Device, group: &str, mut rng: StdRng) {
    let mut waiting = VecDeque::new();
    loop {
        let to = match rng.random_range(0..10) {
            0..3 => To::Group(group.to_owned()),
            _ => loop {
                let name = format!("user-{}", rng.random_range(0..ACCOUNTS));
                if name != device.account() {
                    break To::Account(name);
                }
            },
        };
        waiting.push_back(device.send(&to).await);
        if waiting.len() >= WINDOW
            && let Some(oldest) = waiting.pop_front()
        {
            let _ = oldest.await;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(PAUSES))).await;
    }
}

/// A group of these accounts, of which the chronicle knows.
pub(crate) async fn group(cluster: &Cluster, members: &[String]) -> String {
    let gateways: Vec<&Server> = cluster.gateways.iter().collect();
    let founder = cluster.world.client("founder", &gateways).await;
    let group = NewGroup::new("all of us", members.to_vec());
    let group = founder.group_create(group).await.unwrap().to_string();
    founder.logout().await.unwrap();
    cluster.chronicle.group(&group, members.iter().cloned());
    group
}
