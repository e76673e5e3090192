//! How servers find each other: one [`Naming`] trait, and a backend for each registry.
//!
//! [`Registries`] chooses a backend by the scheme of a URL. A crate of its own may add one:
//!
//! ```
//! use std::{
//!     collections::BTreeMap,
//!     sync::{Arc, LazyLock},
//!     time::Duration,
//! };
//!
//! use async_trait::async_trait;
//! use imago_naming::{
//!     Health, Instance, Naming, Registries, RegistryUrl, Result, ServiceRegistration, Subscription,
//!     backend,
//! };
//! use tokio::sync::Mutex;
//!
//! /// What the servers share: here the memory of this process, elsewhere the registry's server.
//! static SHARED: LazyLock<Arc<Mutex<BTreeMap<String, ServiceRegistration>>>> =
//!     LazyLock::new(Arc::default);
//!
//! struct Mine {
//!     shared: Arc<Mutex<BTreeMap<String, ServiceRegistration>>>,
//!     interval: Duration,
//! }
//!
//! fn read(url: &RegistryUrl) -> Result<Duration> {
//!     let mut parts = url.parts()?;
//!     let least = Duration::from_millis(1);
//!     let interval = parts.duration("interval", Duration::from_secs(1), least)?;
//!     parts.finish()?;
//!     Ok(interval)
//! }
//!
//! async fn open(interval: Duration) -> Result<Mine> {
//!     Ok(Mine { shared: SHARED.clone(), interval })
//! }
//!
//! async fn of(shared: &Mutex<BTreeMap<String, ServiceRegistration>>, service: &str) -> Vec<Instance> {
//!     let all = shared.lock().await;
//!     let of_service = all.values().filter(|registered| registered.name == service);
//!     let passing = |service| Instance { service, health: Health::Passing };
//!     of_service.cloned().map(passing).collect()
//! }
//!
//! #[async_trait]
//! impl Naming for Mine {
//!     async fn register(&self, service: &ServiceRegistration) -> Result<()> {
//!         service.check()?;
//!         self.shared.lock().await.insert(service.id.clone(), service.clone());
//!         Ok(())
//!     }
//!
//!     async fn deregister(&self, service_id: &str) -> Result<()> {
//!         self.shared.lock().await.remove(service_id);
//!         Ok(())
//!     }
//!
//!     async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
//!         Ok(of(&self.shared, service).await)
//!     }
//!
//!     async fn subscribe(&self, service: &str) -> Result<Subscription> {
//!         let (shared, service) = (self.shared.clone(), service.to_owned());
//!         let first = of(&shared, &service).await;
//!         let read = move || {
//!             let (shared, service) = (shared.clone(), service.clone());
//!             async move { Ok(of(&shared, &service).await) }
//!         };
//!         Ok(Subscription::poll(first, self.interval, read))
//!     }
//!
//!     fn is_consistent(&self) -> bool {
//!         true
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let registries = Registries::default().with("mine", backend(read, open));
//! registries.check("mine://?interval=100ms")?;
//! let naming = registries.open("mine://?interval=100ms").await?;
//! naming.register(&ServiceRegistration::new("chat-1", "chat", "10.0.0.5", 8100)).await?;
//! assert_eq!(naming.find("chat", &[]).await?.len(), 1);
//! # Ok::<(), imago_naming::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The feature `testing` brings `testing::conformance`, which holds a backend to
//! all rules of [`Naming`].
//!
//! # Features
//!
//! | feature | default | what it brings |
//! | --- | --- | --- |
//! | `consul` | yes | `consul://` and `consul+https://` |
//! | `gossip` | yes | `gossip://` |
//! | `testing` | no | the conformance suite, for tests of backends |

#[cfg(feature = "consul")]
mod consul;
mod error;
#[cfg(feature = "gossip")]
mod gossip;
mod hub;
mod memory;
mod metrics;
mod naming;
#[cfg(any(feature = "consul", feature = "gossip"))]
mod pace;
mod registries;
mod registry_url;
mod service;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
mod unreadable;

use std::sync::Arc;

#[cfg(feature = "consul")]
pub use consul::{Check, Consul, ConsulOptions};
pub use error::{Error, Result};
#[cfg(feature = "gossip")]
pub use gossip::{Gossip, GossipOptions};
pub use memory::Memory;
pub use metrics::show_metrics;
pub use naming::Naming;
pub use registries::{Backend, Registries, backend};
pub use registry_url::{Parts, RegistryUrl};
pub use service::{Health, Instance, ServiceRegistration, ServiceState, meta_key};
pub use subscription::{Publisher, Snapshot, Subscription};
pub use unreadable::{Skipped, Unreadable};

/// Opens the registry that a URL names, of those that are built in: see [`Registries`].
///
/// # Errors
/// As [`Registries::open`].
pub async fn open(url: &str) -> Result<Arc<dyn Naming>> {
    Registries::default().open(url).await
}

/// Checks the URL of a registry as [`open`] reads it, without opening anything.
///
/// # Errors
/// As [`Registries::check`].
pub fn check(url: &str) -> Result<()> {
    Registries::default().check(url)
}
