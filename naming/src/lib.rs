//! How servers find each other: one [`Naming`] trait, and a backend for each registry.
//!
//! A backend is chosen by URL, see [`open`].

mod consul;
mod error;
mod gossip;
mod hub;
mod location;
mod memory;
mod metrics;
mod pace;
mod params;
mod service;
mod subscription;
mod unreadable;

use std::sync::Arc;

pub use consul::{Check, Consul, ConsulOptions};
pub use error::{Error, Result};
pub use gossip::{Gossip, GossipOptions};
pub use memory::Memory;
pub use metrics::show_metrics;
pub use service::{Health, Instance, ServiceRegistration, ServiceState, meta_key};
pub use subscription::{Publisher, Snapshot, Subscription};

use async_trait::async_trait;

use location::Location;

/// A service registry.
///
/// Backends may be shared by several containers of one process.
///
/// # Two servers with one id
///
/// A backend never decides which of two servers may hold an id: `imago-container` does, for all
/// registries alike, from what [`subscribe`](Self::subscribe) and [`instances`](Self::instances) show.
/// So that it can, a backend keeps three rules:
///
/// 1. [`register`](Self::register) replaces what stands under the id, whichever process wrote it, and
///    writes again where another process has replaced it since, even if the same registration was
///    written before. A registration whose future is dropped may be written or not.
/// 2. Reads show what stands in the registry, also under the id of a server of this process. Where a
///    registry holds several entries of one id (two Consul agents), all of them are shown. Where it holds
///    one, the entry that was written last is.
/// 3. A backend that makes lost registrations again does so where its entry is gone, and leaves alone
///    what another process has registered in its place.
#[async_trait]
pub trait Naming: Send + Sync + 'static {
    /// Registers a service, or replaces what is registered under its id. Idempotent. Returns when
    /// the registration is visible to [`find`](Self::find) on this backend.
    ///
    /// # Errors
    /// When a field is over a limit of the registry (named in the error), or the registry did not
    /// take the registration within the backend's deadline.
    async fn register(&self, service: &ServiceRegistration) -> Result<()>;

    /// Removes a registration. Removing one that is not there is a success.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    async fn deregister(&self, service_id: &str) -> Result<()>;

    /// Instances of `service` that pass their health check and carry all of `tags`.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    async fn find(&self, service: &str, tags: &[&str]) -> Result<Vec<ServiceRegistration>>;

    /// All instances of `service` with their health, read so that no write that had returned
    /// before is missed (where [`is_consistent`](Self::is_consistent)).
    ///
    /// # Errors
    /// When the registry cannot be reached.
    async fn instances(&self, service: &str) -> Result<Vec<Instance>>;

    /// Follows `service`: the first snapshot at once, then one whenever an instance is added,
    /// removed, or changes its meta or health.
    ///
    /// # Errors
    /// When the first snapshot cannot be read. Later errors are reported beside the last good
    /// snapshot and end nothing.
    async fn subscribe(&self, service: &str) -> Result<Subscription>;

    /// Returns which registry this is and where, for errors. Never with a secret.
    fn location(&self) -> String {
        "the registry".to_owned()
    }

    /// Whether a read sees every write that returned before it, by whomever. Consul: yes; gossip:
    /// no, then a joining server may be seen late (nothing is lost, only later delivered).
    fn is_consistent(&self) -> bool;

    /// Describes the registry in a few words for a log: its kind, and how it finds out that a server
    /// is alive. Never with a secret.
    fn describe(&self) -> String {
        "a registry of another kind".to_owned()
    }
}

/// Opens the registry that a URL names.
///
/// | URL | registry |
/// | --- | --- |
/// | `memory://name` | within this process |
/// | `gossip://0.0.0.0:7946?seed=host:port` | none needed: members tell each other |
/// | `consul://host:8500/path?token=…&dc=…` | Consul, see [`ConsulOptions`] |
///
/// # Errors
/// As [`check`], and when a local port cannot be used.
pub async fn open(url: &str) -> Result<Arc<dyn Naming>> {
    Ok(match Location::parse(url)? {
        Location::Memory(name) => Arc::new(Memory::named(&name)),
        Location::Gossip(options) => Arc::new(Gossip::join(options).await?),
        Location::Consul(options) => Arc::new(Consul::connect(*options)?),
    })
}

/// Checks the URL of a registry as [`open`] reads it, without opening anything.
///
/// # Errors
/// When the URL names no registry, carries a part that its registry does not use, or has a parameter
/// that is unknown, given twice, or out of range.
pub fn check(url: &str) -> Result<()> {
    Location::parse(url).map(drop)
}

/// What `find` returns of all instances.
fn passing(instances: Vec<Instance>, tags: &[&str]) -> Vec<ServiceRegistration> {
    instances
        .into_iter()
        .filter(|instance| instance.health == Health::Passing && instance.service.has_tags(tags))
        .map(|instance| instance.service)
        .collect()
}
