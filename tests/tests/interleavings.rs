//! Gateways and logic servers that start in each other's midst, at 100 seeded moments, on a real
//! Consul: I1 and I2 of the promotion protocol hold.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use imago_container::{Container, GatewayRole, LogicRole, PeerId, ServerInfo};
use imago_naming::{Consul, ConsulOptions, Naming};
use imago_proto::{SessionId, link};
use imago_tests::{ConsulAgent, eventually};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

const SEEDS: u64 = 100;
/// Clusters that run at a time.
const AT_ONCE: usize = 8;
/// Servers of each kind in a cluster.
const SERVERS: usize = 2;

/// What happened, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    /// A logic server has all sessions of a gateway.
    Synced(String, String),
    /// A logic server became Adult.
    Adult(String),
    /// A gateway opened its doors.
    Opened(String),
}

type Events = Arc<Mutex<Vec<Event>>>;

struct Logic {
    id: String,
    events: Events,
}

#[async_trait]
impl LogicRole for Logic {
    fn sync_begin(&self, _: &PeerId) {}
    fn session_up(&self, _: &PeerId, _: link::Session) {}
    fn session_down(&self, _: &PeerId, _: SessionId) {}

    fn sync_end(&self, gateway: &PeerId) {
        let event = Event::Synced(self.id.clone(), gateway.service_id.to_string());
        self.events.lock().unwrap().push(event);
    }

    fn gateway_gone(&self, _: &PeerId) {}
    fn forward(&self, _: &PeerId, _: link::Forward, _: Bytes) {}
    fn redeliver(&self, _: &PeerId, _: Vec<link::Missing>) {}

    fn promoted(&self) {
        self.events.lock().unwrap().push(Event::Adult(self.id.clone()));
    }

    async fn idle(&self) {}
}

struct Gateway {
    id: String,
    events: Events,
}

#[async_trait]
impl GatewayRole for Gateway {
    fn push(&self, _: link::Push, _: Bytes) -> Option<BoxFuture<'static, ()>> {
        None
    }
    fn owed(&self, _: &[u64], _: Duration) {}
    fn redelivered(&self, _: link::Redelivered) {}
    fn kick(&self, _: SessionId, _: Bytes) {}

    fn open_doors(&self) {
        self.events.lock().unwrap().push(Event::Opened(self.id.clone()));
    }

    fn fence(&self) {}
    async fn drain(&self, _: Duration) {}
}

/// One cluster whose servers start at moments that the seed decides.
async fn cluster(seed: u64, naming: Arc<dyn Naming>) -> Vec<Event> {
    let mut rng = StdRng::seed_from_u64(seed);
    let events = Events::default();
    let shutdown = CancellationToken::new();
    let mut servers = JoinSet::new();
    let (gateways, logics) = (format!("gateway-{seed}"), format!("chat-{seed}"));
    for number in 0..SERVERS {
        for is_gateway in [true, false] {
            let delay = Duration::from_micros(rng.random_range(0..15_000));
            let service = if is_gateway { &gateways } else { &logics };
            let peers = if is_gateway { logics.clone() } else { gateways.clone() };
            let id = format!("{service}-{number}");
            let info = ServerInfo::new(service.clone(), &id);
            let (naming, events, shutdown) = (naming.clone(), events.clone(), shutdown.clone());
            servers.spawn(async move {
                tokio::time::sleep(delay).await;
                let builder = Container::builder(info)
                    .cluster("seeded", b"a secret of 16 bytes or more")
                    .naming(naming)
                    .depends_on(&peers);
                let builder = if is_gateway {
                    builder.gateway(1, "ws", |_| Arc::new(Gateway { id, events }))
                } else {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    builder.logic(listener, |_| Arc::new(Logic { id, events }))
                };
                builder.build().unwrap().run(shutdown).await.unwrap();
            });
        }
    }
    eventually(Duration::from_secs(60), "all have grown up", || async {
        let events = events.lock().unwrap();
        let grown = events.iter().filter(|event| !matches!(event, Event::Synced(..))).count();
        (grown == 2 * SERVERS).then_some(())
    })
    .await;
    shutdown.cancel();
    while let Some(ended) = servers.join_next().await {
        ended.unwrap();
    }
    events.lock().unwrap().clone()
}

/// I1: before a logic server is Adult, it has the sessions of every gateway with open doors.
/// I2: before a gateway opens its doors, every Adult logic server has its sessions.
fn check(seed: u64, events: &[Event]) {
    let mut grown: (Vec<&String>, Vec<&String>) = Default::default();
    for (now, event) in events.iter().enumerate() {
        let synced = |logic: &String, gateway: &String| {
            events[..now].contains(&Event::Synced(logic.clone(), gateway.clone()))
        };
        match event {
            Event::Synced(..) => {}
            Event::Adult(logic) => {
                for gateway in &grown.0 {
                    assert!(
                        synced(logic, gateway),
                        "I1, seed {seed}: {logic} without {gateway}: {events:#?}"
                    );
                }
                grown.1.push(logic);
            }
            Event::Opened(gateway) => {
                for logic in &grown.1 {
                    assert!(
                        synced(logic, gateway),
                        "I2, seed {seed}: {gateway} without {logic}: {events:#?}"
                    );
                }
                grown.0.push(gateway);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_never_miss_each_other() {
    let agent = ConsulAgent::start().await;
    let naming: Arc<dyn Naming> = Arc::new(
        Consul::connect(ConsulOptions::new(format!("http://{}", agent.address()))).unwrap(),
    );
    let mut running = JoinSet::new();
    for seed in 0..SEEDS {
        if running.len() >= AT_ONCE
            && let Some(ended) = running.join_next().await
        {
            let (seed, events): (u64, Vec<Event>) = ended.unwrap();
            check(seed, &events);
        }
        let naming = naming.clone();
        running.spawn(async move { (seed, cluster(seed, naming).await) });
    }
    while let Some(ended) = running.join_next().await {
        let (seed, events) = ended.unwrap();
        check(seed, &events);
    }
}
