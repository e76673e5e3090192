//! Consul as the registry, over its HTTP API.

mod api;
mod follow;
mod keeper;
mod options;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use imago_kit::Redacted;
use rand::RngExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::api::{Answer, Api, Entry};
pub use self::options::{Check, ConsulOptions};
use crate::{Error, Health, Instance, Naming, Result, ServiceRegistration, Subscription, hub::Hub};

/// Consul as the registry. Dropping it ends its tasks; registrations stay.
#[derive(Debug)]
pub struct Consul {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    api: Api,
    hub: Hub,
    /// What this process has registered, to be made again when an agent forgets it.
    registered: Mutex<HashMap<String, ServiceRegistration>>,
    /// By service, then by id.
    critical_since: Mutex<HashMap<String, HashMap<String, SystemTime>>>,
    watches: AtomicUsize,
    /// What subscribers were told last, by service, with its index. Locked before the hub.
    published: Mutex<HashMap<String, Published>>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Published {
    instances: Vec<Instance>,
    index: u64,
}

impl Consul {
    /// A client of one agent. Nothing is sent before the first operation.
    ///
    /// # Errors
    /// When HTTP cannot be set up.
    pub fn connect(options: ConsulOptions) -> Result<Self> {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            api: Api::new(options)?,
            hub: Hub::default(),
            registered: Mutex::default(),
            critical_since: Mutex::default(),
            watches: AtomicUsize::new(0),
            published: Mutex::default(),
            stop: stop.clone(),
        });
        tokio::spawn(keeper::run(shared.clone()));
        Ok(Self { shared, _stop: stop.drop_guard() })
    }

    /// Services that are being watched: one blocking query each, however many subscribe.
    pub fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// The map stays whole whatever panicked while it was locked.
    fn registered(&self) -> MutexGuard<'_, HashMap<String, ServiceRegistration>> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn published(&self) -> MutexGuard<'_, HashMap<String, Published>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, service: &str, instances: Vec<Instance>, index: u64) {
        let mut published = self.published();
        self.hub.publish(service, &instances);
        published.insert(service.to_owned(), Published { instances, index });
    }

    /// A subscription that starts with what was read, or with what was published meanwhile; true
    /// where nobody follows the service yet.
    fn join(&self, service: &str, read: &[Instance], index: u64) -> (Subscription, bool) {
        let published = self.published();
        let newer = published.get(service).filter(|published| {
            // A sudden empty list is doubted here too.
            index <= published.index || read.is_empty()
        });
        let first = newer.map_or(read, |published| &published.instances);
        self.hub.subscribe(service, first.to_vec())
    }

    /// Forgets a service that nobody subscribes to, and says so.
    fn retire(&self, service: &str) -> bool {
        let mut published = self.published();
        let is_retired = self.hub.retire(service);
        if is_retired {
            published.remove(service);
        }
        is_retired
    }

    async fn read(&self, service: &str, behind: Option<u64>) -> Result<(Vec<Instance>, u64)> {
        let Answer { entries, index } = self.api.health(service, behind).await?;
        let mut services = self.critical_since.lock().unwrap_or_else(PoisonError::into_inner);
        let before = services.remove(service).unwrap_or_default();
        let instances: Vec<Instance> =
            entries.into_iter().map(|entry| instance(entry, &before)).collect();
        let since: HashMap<String, SystemTime> = instances.iter().filter_map(critical).collect();
        if !since.is_empty() {
            services.insert(service.to_owned(), since);
        }
        Ok((instances, index))
    }

    /// Waits until the registry shows a registration as it was written. A 200 on the write is not
    /// enough: during a change of leaders it shows up seconds later.
    async fn until_visible(&self, service: &ServiceRegistration) -> Result<()> {
        let waited = self.api.options.visible_timeout;
        let deadline = Instant::now() + waited;
        let mut pause = Duration::from_millis(5);
        loop {
            // A failed read is like one that does not show it yet.
            if let Ok((instances, _)) = self.read(&service.name, None).await
                && instances.iter().any(|instance| is_same(&instance.service, service))
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::NotVisible { service_id: service.id.clone(), waited });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
}

/// Tags come back in any order.
fn is_same(a: &ServiceRegistration, b: &ServiceRegistration) -> bool {
    a.id == b.id && a.address == b.address && a.port == b.port && a.meta == b.meta
}

/// Consul's statuses of all checks, node and maintenance included, made one: the worst counts.
fn instance(entry: Entry, critical_since: &HashMap<String, SystemTime>) -> Instance {
    let Entry { node, service, checks } = entry;
    let health = if checks.iter().any(|check| check.status == "critical") {
        let since = critical_since.get(&service.id).copied();
        Health::Critical { since: since.unwrap_or_else(SystemTime::now) }
    } else {
        let passing = checks.iter().all(|check| check.status == "passing");
        if passing { Health::Passing } else { Health::Warning }
    };
    let address = if service.address.is_empty() { node.address } else { service.address };
    let service = ServiceRegistration {
        id: service.id,
        name: service.name,
        address,
        port: service.port,
        tags: service.tags.unwrap_or_default(),
        meta: service.meta.unwrap_or_default(),
    };
    Instance { service, health }
}

/// Since when it is critical, if it is.
fn critical(instance: &Instance) -> Option<(String, SystemTime)> {
    match instance.health {
        Health::Critical { since } => Some((instance.service.id.clone(), since)),
        _ => None,
    }
}

/// Full jitter between 0 and a cap that doubles from 0.1 to 10 s.
fn jittered(cap: &mut Duration) -> Duration {
    let delay = cap.mul_f64(rand::rng().random::<f64>());
    *cap = (*cap * 2).min(Duration::from_secs(10));
    delay
}

/// The first cap of [`jittered`].
const FIRST_CAP: Duration = Duration::from_millis(100);

#[async_trait]
impl Naming for Consul {
    async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        api::validate(service)?;
        let known = self.shared.registered().get(&service.id) == Some(service);
        // An identical registration would restart the check's timer.
        if !(known && self.shared.api.holds(service).await?) {
            self.shared.api.register(service).await?;
        }
        self.shared.registered().insert(service.id.clone(), service.clone());
        self.shared.until_visible(service).await
    }

    async fn deregister(&self, service_id: &str) -> Result<()> {
        self.shared.registered().remove(service_id);
        self.shared.api.deregister(service_id).await
    }

    async fn find(&self, service: &str, tags: &[&str]) -> Result<Vec<ServiceRegistration>> {
        Ok(crate::passing(self.shared.read(service, None).await?.0, tags))
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        Ok(self.shared.read(service, None).await?.0)
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        let (first, index) = self.shared.read(service, None).await?;
        let (subscription, is_new) = self.shared.join(service, &first, index);
        if is_new {
            tokio::spawn(follow::run(self.shared.clone(), service.to_owned(), first, index));
        }
        Ok(subscription)
    }

    fn describe(&self) -> String {
        format!("consul at {}", Redacted(&self.shared.api.options.base))
    }

    fn is_consistent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn health_of(statuses: &[&str], critical_since: &HashMap<String, SystemTime>) -> Health {
        let checks: Vec<_> = statuses.iter().map(|status| json!({ "Status": status })).collect();
        let entry = json!({
            "Node": { "Address": "10.0.0.1" },
            "Service": { "ID": "a", "Service": "chat", "Port": 1 },
            "Checks": checks,
        });
        let instance = instance(serde_json::from_value(entry).unwrap(), critical_since);
        assert_eq!(instance.service.address, "10.0.0.1", "the node's, where the service has none");
        instance.health
    }

    #[test]
    fn the_worst_of_all_checks_counts() {
        let nobody = HashMap::new();
        assert_eq!(health_of(&[], &nobody), Health::Passing);
        assert_eq!(health_of(&["passing", "passing"], &nobody), Health::Passing);
        assert_eq!(health_of(&["passing", "warning"], &nobody), Health::Warning);
        let critical = health_of(&["warning", "critical", "passing"], &nobody);
        assert!(matches!(critical, Health::Critical { .. }));
    }

    #[test]
    fn a_critical_service_stays_critical_since_it_was_first_seen_so() {
        let since = SystemTime::UNIX_EPOCH;
        let before = HashMap::from([("a".to_owned(), since)]);
        assert_eq!(health_of(&["critical"], &before), Health::Critical { since });
    }

    #[test]
    fn the_cap_of_a_backoff_doubles_up_to_ten_seconds() {
        let mut cap = FIRST_CAP;
        for expected in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            assert_eq!(cap, Duration::from_millis(expected));
            let delay = jittered(&mut cap);
            assert!(delay <= Duration::from_millis(expected), "{delay:?} of {expected} ms");
        }
    }
}
