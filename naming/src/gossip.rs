//! A registry without a server: the members tell each other (the `chitchat` crate, Scuttlebutt
//! with a phi-accrual failure detector).
//!
//! Eventually consistent: a member may be seen some gossip rounds late, so a logic server may grow
//! up without a gateway that it has not heard of. Nothing is lost then, only delivered later. The
//! gossip itself is neither encrypted nor authenticated: keep its UDP port within a private network.

mod options;
mod socket;
mod told;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use rand::{RngExt, seq::IteratorRandom};
use tokio::{
    sync::{Notify, OnceCell},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::options::GossipOptions;
use self::{
    socket::Bound,
    told::{KEY_PREFIX, told_by},
};
use crate::{
    Error, Health, Instance, Naming, Result, ServiceRegistration, Subscription, hub::Hub,
    pace::Pace, unreadable::Unreadable,
};

/// How often members gossip.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(100);
/// How long a joining member waits until it has heard of another: it may be the first.
const JOIN_PATIENCE: Duration = Duration::from_secs(1);
/// How often a joining member looks whether it has, where the others tell of no services yet.
const JOIN_LOOK: Duration = Duration::from_millis(1);
/// Members that are told of a change at once. Overflow policy: the others hear of it by the rounds,
/// from a random choice of this number.
const TOLD_AT_ONCE: usize = 32;
/// Rounds for which a member that joins takes all others for living: it has not heard of most of them
/// twice yet, and a single word does not tell how long they may be silent.
const ACQUAINTANCE_ROUNDS: u32 = 3;
/// How often the view is looked at even where no key has changed, for members that fell silent.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Looks that may follow each other without a pause, and the time between further ones: members that
/// change without end cost no more.
const LOOKS_AT_ONCE: u32 = 32;
const LOOK_PACE: Duration = Duration::from_millis(50);
/// How long a silent member is remembered as critical before it is gone.
const DEAD_GRACE: Duration = Duration::from_secs(60);
/// How long a removed registration is remembered as removed.
const TOMBSTONE_GRACE: Duration = Duration::from_secs(600);

/// A member of a gossiping cluster. Dropping it ends the membership.
pub struct Gossip {
    shared: Arc<Shared>,
    handle: ChitchatHandle,
    has_seeds: bool,
    heard: OnceCell<()>,
    _stop: DropGuard,
}

struct Shared {
    /// From when on a member may be dead.
    acquainted: Instant,
    chitchat: Arc<tokio::sync::Mutex<Chitchat>>,
    hub: Hub,
    changed: Notify,
    /// A member has told of a service.
    told: Notify,
    unreadable: Unreadable,
    /// When a member was first seen critical.
    critical_since: Mutex<HashMap<String, SystemTime>>,
}

impl Gossip {
    /// Joins the cluster. Registering and reading first wait for a moment until this member has heard
    /// of another member.
    ///
    /// # Errors
    /// When the UDP port cannot be used.
    pub async fn join(options: GossipOptions) -> Result<Self> {
        Self::join_every(GOSSIP_INTERVAL, options).await
    }

    /// Joins, and gossips by itself this often.
    async fn join_every(interval: Duration, options: GossipOptions) -> Result<Self> {
        let unavailable = |error: anyhow::Error| Error::Unavailable(format!("{error:#}"));
        let (transport, bound) = Bound::open(options.listen).await?;
        let advertise = options.advertise.unwrap_or_else(|| reachable(bound));
        let now = unix_millis();
        let node_id = format!("{:016x}", rand::rng().random::<u64>());
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(node_id, now, advertise),
            cluster_id: options.cluster,
            gossip_interval: interval,
            listen_addr: bound,
            seed_nodes: options.seeds,
            failure_detector_config: FailureDetectorConfig {
                initial_interval: interval * 5,
                dead_node_grace_period: DEAD_GRACE,
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: TOMBSTONE_GRACE,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V0,
        };
        let has_seeds = !config.seed_nodes.is_empty();
        let handle = spawn_chitchat(config, Vec::new(), &transport).await.map_err(unavailable)?;
        let shared = Arc::new(Shared {
            acquainted: Instant::now() + interval * ACQUAINTANCE_ROUNDS,
            chitchat: handle.chitchat(),
            hub: Hub::default(),
            changed: Notify::new(),
            told: Notify::new(),
            unreadable: Unreadable::of("gossip"),
            critical_since: Mutex::default(),
        });
        shared.listen().await;
        let stop = CancellationToken::new();
        tokio::spawn(watch(shared.clone(), stop.clone()));
        // The first round waits for a timer, which takes longer than the answer.
        for seed in shared.seeds().await {
            // Where gossip has ended, the next round would fail as well.
            let _ = handle.gossip(seed);
        }
        let heard = OnceCell::new();
        Ok(Self { shared, handle, has_seeds, heard, _stop: stop.drop_guard() })
    }

    /// Waits for the first answer: a server that looks around before it has heard of another one would
    /// grow up alone.
    async fn heard(&self) {
        let answered = async {
            if self.has_seeds && timeout(JOIN_PATIENCE, self.shared.heard()).await.is_err() {
                tracing::info!(waited = ?JOIN_PATIENCE, "no seed has answered: the first member, for now");
            }
        };
        self.heard.get_or_init(|| answered).await;
    }

    /// Address under which the others reach this member: a seed for them.
    pub fn address(&self) -> SocketAddr {
        self.handle.chitchat_id().gossip_advertise_addr
    }

    /// Gossips a change without waiting for the next round: changes are few, and servers wait for
    /// each other to see them.
    async fn spread(&self) {
        let others = self.shared.others(self.address()).await;
        for other in others.into_iter().sample(&mut rand::rng(), TOLD_AT_ONCE) {
            // Where gossip has ended, the next round would fail as well.
            let _ = self.handle.gossip(other);
        }
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Returns the address that a member advertises where it is told none: the one that it is bound to,
/// and for a wildcard the loopback address of its family, under which this machine reaches it.
fn reachable(bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let loopback: IpAddr = match bound {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(loopback, bound.port());
    tracing::warn!(
        listen = %bound,
        advertised = %address,
        "gossip listens on all addresses and is told none to advertise: only members on this machine reach it; name one by advertise=IP:PORT in naming.url"
    );
    address
}

fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Publishes changes until stopped.
async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    let mut pace = Pace::new(LOOKS_AT_ONCE, LOOK_PACE);
    loop {
        tokio::select! {
            () = pace.turn() => {}
            () = stop.cancelled() => return,
        }
        tokio::select! {
            () = shared.changed.notified() => {}
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
        for service in shared.hub.services() {
            shared.hub.publish(&service, &shared.instances(&service).await);
        }
    }
}

impl Shared {
    /// Has every change of a service noticed, and told of where it cannot be read.
    async fn listen(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let listener = self.chitchat.lock().await.subscribe_event(KEY_PREFIX, move |event| {
            if let Some(shared) = weak.upgrade() {
                if let Err(skipped) = told::read(event.key, event.value) {
                    shared.unreadable.skip(&skipped);
                }
                shared.changed.notify_one();
                shared.told.notify_one();
            }
        });
        listener.forever();
    }

    /// Resolves when another member has told what it knows.
    async fn heard(&self) {
        while self.chitchat.lock().await.node_states().len() < 2 {
            // Whichever comes first.
            let _ = timeout(JOIN_LOOK, self.told.notified()).await;
        }
    }

    /// Where members to join through are.
    async fn seeds(&self) -> HashSet<SocketAddr> {
        self.chitchat.lock().await.seed_nodes()
    }

    /// Members that fell silent.
    fn dead<'a>(&self, chitchat: &'a Chitchat) -> impl Iterator<Item = &'a ChitchatId> {
        let dead = chitchat.dead_nodes().chain(chitchat.scheduled_for_deletion_nodes());
        let knows_them = Instant::now() >= self.acquainted;
        dead.filter(move |_| knows_them)
    }

    /// Where the other living members are.
    async fn others(&self, own: SocketAddr) -> HashSet<SocketAddr> {
        let chitchat = self.chitchat.lock().await;
        let dead: HashSet<&ChitchatId> = self.dead(&chitchat).collect();
        let living = chitchat.node_states().keys().filter(|member| !dead.contains(member));
        let others = living.map(|member| member.gossip_advertise_addr);
        others.filter(|address| *address != own).collect()
    }

    async fn instances(&self, service: &str) -> Vec<Instance> {
        let chitchat = self.chitchat.lock().await;
        let dead: Vec<&ChitchatId> = self.dead(&chitchat).collect();
        self.forget_all_but(&dead);
        // A process that lives outranks one that fell silent, whatever their clocks say.
        let mut newest: BTreeMap<String, ((bool, u64), Instance)> = BTreeMap::new();
        for (member, state) in chitchat.node_states() {
            let is_dead = dead.contains(&member);
            for told in told_by(state).filter(|told| told.service.name == service) {
                let rank = (!is_dead, told.at);
                let known = newest.get(&told.service.id).map(|(rank, _)| *rank);
                if known.is_none_or(|known| known <= rank) {
                    let health = self.health(&member.node_id, is_dead);
                    let instance = Instance { service: told.service, health };
                    newest.insert(instance.service.id.clone(), (rank, instance));
                }
            }
        }
        newest.into_values().map(|(_, instance)| instance).collect()
    }

    fn health(&self, member: &str, is_dead: bool) -> Health {
        if !is_dead {
            return Health::Passing;
        }
        let mut since = self.critical_since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.entry(member.to_owned()).or_insert_with(SystemTime::now);
        Health::Critical { since }
    }

    /// Forgets since when members were critical that live again or are gone.
    fn forget_all_but(&self, dead: &[&ChitchatId]) {
        let mut since = self.critical_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|member, _| dead.iter().any(|id| *id.node_id == **member));
    }
}

#[async_trait]
impl Naming for Gossip {
    async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        service.check()?;
        told::tell(&mut *self.shared.chitchat.lock().await, service, unix_millis())?;
        self.shared.changed.notify_one();
        self.heard().await;
        // Once more, for those that were not heard of before: mostly that changes nothing.
        told::tell(&mut *self.shared.chitchat.lock().await, service, unix_millis())?;
        self.spread().await;
        Ok(())
    }

    async fn deregister(&self, service_id: &str) -> Result<()> {
        let key = format!("{KEY_PREFIX}{service_id}");
        self.shared.chitchat.lock().await.self_node_state().delete(&key);
        self.shared.changed.notify_one();
        self.spread().await;
        // Leave the others a few rounds to hear of it before this member may fall silent.
        tokio::time::sleep(GOSSIP_INTERVAL * 3).await;
        Ok(())
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        self.heard().await;
        Ok(self.shared.instances(service).await)
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        self.heard().await;
        let first = self.shared.instances(service).await;
        let subscription = self.shared.hub.subscribe(service, first).0;
        // What changed between the look and the subscription.
        self.shared.changed.notify_one();
        Ok(subscription)
    }

    fn location(&self) -> String {
        format!("gossip, as the member at {} hears it", self.address())
    }

    fn is_consistent(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        let seeds = if self.has_seeds { "through seeds" } else { "without a seed" };
        format!("gossip at {}, {seeds}", self.address())
    }
}

#[cfg(test)]
mod tests;
