//! The trait that every registry implements, with the rules that servers rely on.

use async_trait::async_trait;

use crate::{Health, Instance, Result, ServiceRegistration, Subscription};

/// A service registry.
///
/// A process opens one for each of its servers; several containers of a process may share one, too. All
/// methods may run at the same time. A call ends within a bounded time, with an error where the
/// registry does not answer: [`Error::Unavailable`](crate::Error::Unavailable) where the same call may
/// succeed later, [`Error::Refused`](crate::Error::Refused) where it never will. Servers try again by
/// themselves, so a backend does not have to.
///
/// # What is kept
///
/// A registration comes back from reads as it was written: `id`, `name`, `address`, `port`, and every entry
/// of `meta` byte for byte. Tags may come back in any order.
///
/// An id is unique in the registry, across services, in any case of letters. It is a text of 1 to 64
/// characters of any script, without comma, slash, space and underscore, but neither `.` nor `..`; signs such as
/// `:`, `%`, `?` and `"` may be in it, so a backend escapes them where they mean something to its registry.
/// Names of services are of the same form. Keys of `meta` are those of [`meta_key`](crate::meta_key),
/// values are any UTF-8 of up to 512 bytes, and may be empty.
/// A registration over a limit of the registry is refused with
/// [`Error::Invalid`](crate::Error::Invalid), never cut.
///
/// An entry that cannot be read, as a later version or another program may have written it, is left out and
/// hides no other: [`Unreadable`](crate::Unreadable) counts and logs it.
///
/// # Health
///
/// A backend finds out whether a server is alive, by checks of the registry, a lease or a heartbeat, and
/// shows a dead one as [`Health::Critical`] for some time (20 s to some minutes) before it is gone: a peer
/// that vanishes is given up at once, one that is critical is waited for. Where the registry has checks of its
/// own, it asks [`HEALTH_URL`](crate::meta_key::HEALTH_URL). A new registration is healthy until a check
/// says otherwise. A registry without checks shows all as [`Health::Passing`]: then nothing but a server's
/// own [`deregister`](Self::deregister) removes it, and one that crashed stays.
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
    /// the registration is visible to [`instances`](Self::instances) on this backend.
    ///
    /// Servers register at their start and at each change of their state, and do not repeat a
    /// registration: the backend keeps it alive, and makes it again where the registry has lost it, until it
    /// is deregistered or the backend is dropped. Dropping a backend ends all of its work; registrations
    /// that its registry keeps may stay.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when [`ServiceRegistration::check`] fails or a field is over
    /// a limit of the registry (named in the error), another one when the registry did not take the
    /// registration within the backend's deadline.
    async fn register(&self, service: &ServiceRegistration) -> Result<()>;

    /// Removes the registration of an id, and ends the work that keeps it alive. Removing one that does not
    /// exist is a success. Where another process has registered in its place since, that may be removed as
    /// well: the other process makes it again.
    ///
    /// # Errors
    /// When the registry cannot be reached.
    async fn deregister(&self, service_id: &str) -> Result<()>;

    /// Returns the instances of `service` that pass their health check and carry all of `tags`, in any
    /// case of letters. The default chooses them from [`instances`](Self::instances).
    ///
    /// # Errors
    /// When the registry cannot be reached.
    async fn find(&self, service: &str, tags: &[&str]) -> Result<Vec<ServiceRegistration>> {
        let is_found = |instance: &Instance| {
            instance.health == Health::Passing && instance.service.has_tags(tags)
        };
        let instances = self.instances(service).await?.into_iter().filter(is_found);
        Ok(instances.map(|instance| instance.service).collect())
    }

    /// Returns all instances of `service` with their health, read so that no write that had returned
    /// before is missed (where [`is_consistent`](Self::is_consistent)).
    ///
    /// # Errors
    /// When the registry cannot be reached.
    async fn instances(&self, service: &str) -> Result<Vec<Instance>>;

    /// Follows `service`: the first snapshot at once, then one whenever an instance is added,
    /// removed, or changes its meta or health. Changes that follow each other closely may share a
    /// snapshot; the last one is always told. A registry that notifies publishes through
    /// [`Subscription::new`], one that does not is read again and again by [`Subscription::poll`].
    ///
    /// Dropping the subscription ends the work behind it.
    ///
    /// # Errors
    /// When the first snapshot cannot be read. Later errors are reported beside the last good
    /// snapshot ([`Snapshot::error`](crate::Snapshot::error)) and end nothing.
    async fn subscribe(&self, service: &str) -> Result<Subscription>;

    /// Returns which registry this is and where, in one line that completes "cannot register at …",
    /// as in `consul at http://10.0.0.5:8500`. Holds no secret:
    /// a [`RegistryUrl`](crate::RegistryUrl) is displayed without.
    fn location(&self) -> String {
        "the registry".to_owned()
    }

    /// Returns whether a read sees every write that returned before it, of any process. Consul: yes.
    /// Gossip: no, then a joining server may be seen late (nothing is lost, only later delivered).
    fn is_consistent(&self) -> bool;

    /// Describes the registry in a few words for the line that a server logs at its start: its kind, and
    /// how it finds out that a server is alive, as in `Consul asks every 10s`. One line, without a
    /// secret.
    fn describe(&self) -> String {
        "a registry of another kind".to_owned()
    }
}
