//! Consul as the registry, over its HTTP API.

mod api;
mod entry;
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
use imago_kit::{Backoff, LogLimit, Redacted};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::options::{Check, ConsulOptions};
use self::{
    api::{Answer, Api},
    entry::CriticalSince,
};
use crate::{
    Error, Health, Instance, Naming, Result, ServiceRegistration, Subscription,
    hub::Hub,
    unreadable::{Skipped, Unreadable},
};

/// What a token that may not read enough lacks.
const NEEDED: &str = "its token needs service:read and node:read";
/// How often a line of one cause is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

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
    critical_since: Mutex<HashMap<String, CriticalSince>>,
    watches: AtomicUsize,
    /// What subscribers were told last, by service, with its index. Locked before the hub.
    published: Mutex<HashMap<String, Published>>,
    unreadable: Unreadable,
    log: LogLimit,
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
            unreadable: Unreadable::of("consul"),
            log: LogLimit::every(LOG_INTERVAL),
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
    /// where the service has no watch yet.
    fn join(&self, service: &str, read: &[Instance], index: u64) -> (Subscription, bool) {
        let published = self.published();
        let newer = published.get(service).filter(|published| {
            // A sudden empty list is doubted here too.
            index <= published.index || read.is_empty()
        });
        let first = newer.map_or(read, |published| &published.instances);
        self.hub.subscribe(service, first.to_vec())
    }

    /// Forgets a service without subscribers, and returns whether it has.
    fn retire(&self, service: &str) -> bool {
        let mut published = self.published();
        let is_retired = self.hub.retire(service);
        if is_retired {
            published.remove(service);
        }
        is_retired
    }

    async fn read(&self, service: &str, behind: Option<u64>) -> Result<Read> {
        let Answer { entries, index, is_filtered } = self.api.health(service, behind).await?;
        if is_filtered && let Some(more) = self.log.allow("filtered") {
            tracing::warn!(
                service,
                "consul leaves out what the token may not read: {NEEDED}{more}"
            );
        }
        let mut services = self.critical_since.lock().unwrap_or_else(PoisonError::into_inner);
        let before = services.remove(service).unwrap_or_default();
        let mut read = Read { instances: Vec::new(), skipped: Vec::new(), index, is_filtered };
        for entry in &entries {
            match entry::read(entry, &before) {
                Ok(instance) => read.instances.push(instance),
                Err(skipped) => read.skipped.push(skipped),
            }
        }
        let since: CriticalSince = read.instances.iter().filter_map(critical).collect();
        if !since.is_empty() {
            services.insert(service.to_owned(), since);
        }
        drop(services);
        read.skipped.iter().for_each(|skipped| self.unreadable.skip(skipped));
        Ok(read)
    }

    /// Waits until the registry shows a registration as it was written. A 200 on the write is not
    /// enough: during a change of leaders it shows up seconds later.
    async fn until_visible(&self, service: &ServiceRegistration) -> Result<()> {
        let waited = self.api.options.visible_timeout;
        let deadline = Instant::now() + waited;
        let mut pause = Duration::from_millis(5);
        loop {
            // A failed read is like one that does not show it yet.
            let why = match self.read(&service.name, None).await {
                Ok(read) => match read.why_missing(service) {
                    None => return Ok(()),
                    Some(why) => why,
                },
                Err(error) => {
                    if let Some(more) = self.log.allow("visible") {
                        tracing::warn!(service = %service.id, %error, "cannot look for the own registration{more}");
                    }
                    error.to_string()
                }
            };
            if Instant::now() >= deadline {
                return Err(Error::NotVisible { service_id: service.id.clone(), waited, why });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
}

/// What a read showed.
struct Read {
    instances: Vec<Instance>,
    /// Entries that cannot be read.
    skipped: Vec<Skipped>,
    index: u64,
    /// Whether Consul left out what the token may not read.
    is_filtered: bool,
}

impl Read {
    /// Why the registration is not shown as it was written; `None` where it is.
    fn why_missing(&self, service: &ServiceRegistration) -> Option<String> {
        let mut same_id = self.instances.iter().filter(|it| it.service.id == service.id).peekable();
        let is_other = same_id.peek().is_some();
        if same_id.any(|it| is_same(&it.service, service)) {
            return None;
        }
        if let Some(skipped) = self.skipped.iter().find(|skipped| skipped.id == service.id) {
            return Some(format!(
                "consul shows it in a form that cannot be read: {}",
                skipped.reason
            ));
        }
        if is_other {
            return Some("consul shows another registration under this id".to_owned());
        }
        let lists_none = self.instances.is_empty() && self.skipped.is_empty();
        Some(match (self.is_filtered, lists_none) {
            (true, _) => format!("consul leaves out what the token may not read: {NEEDED}"),
            (_, true) => format!("consul lists no instance; where it has ACLs, {NEEDED}"),
            _ => "consul lists others, and not this one".to_owned(),
        })
    }
}

/// Tags come back in any order.
fn is_same(a: &ServiceRegistration, b: &ServiceRegistration) -> bool {
    a.id == b.id && a.address == b.address && a.port == b.port && a.meta == b.meta
}

/// Since when it is critical, if it is.
fn critical(instance: &Instance) -> Option<(String, SystemTime)> {
    match instance.health {
        Health::Critical { since } => Some((instance.service.id.clone(), since)),
        _ => None,
    }
}

/// Waits between failed reads of a service.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}

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

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        Ok(self.shared.read(service, None).await?.instances)
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        let Read { instances: first, index, .. } = self.shared.read(service, None).await?;
        let (subscription, is_new) = self.shared.join(service, &first, index);
        if is_new {
            tokio::spawn(follow::run(self.shared.clone(), service.to_owned(), first, index));
        }
        Ok(subscription)
    }

    fn location(&self) -> String {
        format!("consul at {}", Redacted(&self.shared.api.options.base))
    }

    fn is_consistent(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        self.shared.api.options.describe()
    }
}

#[cfg(test)]
mod tests;
