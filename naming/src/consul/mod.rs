//! Consul as the registry, over its HTTP API.

mod api;
mod keeper;
mod options;
mod watch;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
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
    critical_since: Mutex<HashMap<String, SystemTime>>,
    watches: AtomicUsize,
    stop: CancellationToken,
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

    async fn read(&self, service: &str, behind: Option<u64>) -> Result<(Vec<Instance>, u64)> {
        let Answer { entries, index } = self.api.health(service, behind).await?;
        let mut since = self.critical_since.lock().unwrap_or_else(PoisonError::into_inner);
        let instances = entries.into_iter().map(|entry| instance(entry, &mut since)).collect();
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
fn instance(entry: Entry, since: &mut HashMap<String, SystemTime>) -> Instance {
    let Entry { node, service, checks } = entry;
    let health = if checks.iter().any(|check| check.status == "critical") {
        let since = *since.entry(service.id.clone()).or_insert_with(SystemTime::now);
        Health::Critical { since }
    } else {
        since.remove(&service.id);
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
        if !(known && self.shared.api.has(&service.id).await?) {
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
        let (subscription, is_first) = self.shared.hub.subscribe(service, first.clone());
        if is_first {
            tokio::spawn(watch::run(self.shared.clone(), service.to_owned(), first, index));
        }
        Ok(subscription)
    }

    fn is_consistent(&self) -> bool {
        true
    }
}
