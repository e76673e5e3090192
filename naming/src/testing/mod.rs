//! The conformance suite of [`Naming`]: what every backend does, whatever its registry.
//!
//! A test of a backend describes by a [`Fixture`] how its registry is reached and broken, and runs
//! [`conformance`]; each case is a function of its own as well. A case panics with what it waited for.
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use imago_naming::{Memory, Naming, testing::{Fixture, conformance}};
//!
//! struct InMemory(Memory);
//!
//! #[async_trait]
//! impl Fixture for InMemory {
//!     async fn client(&self, _: &str) -> Arc<dyn Naming> {
//!         Arc::new(self.0.clone())
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! conformance(&InMemory(Memory::new())).await;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

mod changes;
mod entries;
mod failures;
mod process;
mod twins;

use std::{
    collections::hash_map::RandomState,
    future::Future,
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

pub use self::{
    changes::{
        a_dropped_subscription_leaves_nothing_running, a_subscription_begins_with_what_stands,
        a_subscription_tells_of_every_change, subscribers_of_a_service_hear_the_same,
    },
    entries::{
        a_registration_comes_back_as_it_was_written, a_registration_is_replaced_by_the_next,
        a_service_without_instances_is_empty, an_unusable_registration_is_refused,
        deregistering_twice_succeeds, ids_and_values_may_be_any_text, services_do_not_mix,
        tags_narrow_what_is_found, texts_for_logs_are_one_line_without_secrets,
    },
    failures::{
        a_failing_server_is_critical_and_not_gone, an_outage_stands_beside_the_last_snapshot,
    },
    process::Process,
    twins::{
        a_server_leaves_the_registration_of_another_process_alone,
        of_two_joining_servers_one_sees_the_other, the_last_of_two_processes_to_register_is_shown,
    },
};
use crate::{Health, Instance, Naming, ServiceRegistration, Snapshot, Subscription};

/// A registry as the suite uses it. What a registry cannot do keeps its default: the cases for it pass
/// without a look.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens the registry as a further process does. All clients of a fixture share one registry.
    /// `process` is the id of the server that is registered through the client, or another name.
    async fn client(&self, process: &str) -> Arc<dyn Naming>;

    /// Returns the URL that the server with this id registers for its health.
    fn health_url(&self, server: &str) -> Option<String> {
        let _ = server;
        None
    }

    /// Has the server with this id fail its health check, or its process die; false: the registry has no
    /// checks.
    async fn fail(&self, server: &str) -> bool {
        let _ = server;
        false
    }

    /// Has a server that failed pass again, if need be as a new process that registers the same.
    async fn pass(&self, server: &ServiceRegistration) {
        let _ = server;
    }

    /// Has all operations on the registry fail from now on; false: that cannot be done.
    async fn break_down(&self) -> bool {
        false
    }

    /// Has them succeed again. The registry may have lost what it held.
    async fn restore(&self) {}

    /// Returns the number of tasks, connections or the like that work for subscriptions of the client that
    /// was opened as `observer`; `None`: they cannot be counted.
    fn watches(&self) -> Option<usize> {
        None
    }

    /// Returns the secret that the clients know, to be found in no text of theirs.
    fn secret(&self) -> Option<&str> {
        None
    }

    /// How long a case waits for what has to come.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How long a case looks whether something comes that must not: the time in which a backend has looked
    /// after its registrations once at least.
    fn settling(&self) -> Duration {
        Duration::from_millis(500)
    }
}

/// Runs a case after the other, and prints their names.
macro_rules! run_all {
    ($fixture:expr; $($case:ident),+ $(,)?) => {
        $(
            println!("conformance: {}", stringify!($case));
            $case($fixture).await;
        )+
    };
}

/// Runs all cases.
///
/// # Panics
/// When the registry breaks a rule of [`Naming`]. The last name that was printed is that of the case.
pub async fn conformance(fixture: &dyn Fixture) {
    run_all!(
        fixture;
        a_service_without_instances_is_empty,
        a_registration_comes_back_as_it_was_written,
        ids_and_values_may_be_any_text,
        an_unusable_registration_is_refused,
        a_registration_is_replaced_by_the_next,
        tags_narrow_what_is_found,
        services_do_not_mix,
        deregistering_twice_succeeds,
        texts_for_logs_are_one_line_without_secrets,
        a_subscription_begins_with_what_stands,
        a_subscription_tells_of_every_change,
        subscribers_of_a_service_hear_the_same,
        a_dropped_subscription_leaves_nothing_running,
        of_two_joining_servers_one_sees_the_other,
        the_last_of_two_processes_to_register_is_shown,
        a_server_leaves_the_registration_of_another_process_alone,
        a_failing_server_is_critical_and_not_gone,
        an_outage_stands_beside_the_last_snapshot,
    );
}

/// A case: a service of its own in the fixture's registry.
struct Case<'a> {
    fixture: &'a dyn Fixture,
    service: String,
    mark: String,
}

// === impl Case ===

impl<'a> Case<'a> {
    fn of(fixture: &'a dyn Fixture) -> Self {
        let mark = format!("{:08x}", RandomState::new().build_hasher().finish() as u32);
        Self { fixture, service: format!("conformance-{mark}"), mark }
    }

    /// An id that no other case uses.
    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.mark)
    }

    /// A registration of the case's service.
    fn server(&self, name: &str) -> ServiceRegistration {
        let id = self.id(name);
        let url = self.fixture.health_url(&id);
        let server = ServiceRegistration::new(id, &*self.service, "127.0.0.1", 4000);
        match url {
            Some(url) => server.with_meta(crate::meta_key::HEALTH_URL, url),
            None => server,
        }
    }

    /// A client that registers none.
    async fn observer(&self) -> Arc<dyn Naming> {
        self.fixture.client("observer").await
    }

    /// The client of a server that has registered.
    async fn registered(&self, server: &ServiceRegistration) -> Arc<dyn Naming> {
        let client = self.fixture.client(&server.id).await;
        register(&client, server).await;
        client
    }

    async fn subscribe(&self, client: &Arc<dyn Naming>) -> Subscription {
        client.subscribe(&self.service).await.unwrap_or_else(|error| panic!("subscribe: {error}"))
    }

    /// What the client reads, sorted by id, tags sorted, too.
    async fn read(&self, client: &Arc<dyn Naming>) -> Vec<Instance> {
        let read = client.instances(&self.service).await;
        let mut read = read.unwrap_or_else(|error| panic!("instances: {error}"));
        read.iter_mut().for_each(|instance| instance.service.tags.sort());
        read.sort_by(|a, b| a.service.id.cmp(&b.service.id));
        read
    }

    /// The ids that the client finds, sorted.
    async fn found(&self, client: &Arc<dyn Naming>, tags: &[&str]) -> Vec<String> {
        let found = client.find(&self.service, tags).await;
        let found = found.unwrap_or_else(|error| panic!("find: {error}"));
        let mut ids: Vec<String> = found.into_iter().map(|service| service.id).collect();
        ids.sort();
        ids
    }

    /// Waits until the client finds exactly the servers of these names.
    async fn finds(&self, client: &Arc<dyn Naming>, tags: &[&str], names: &[&str]) {
        let mut expected: Vec<String> = names.iter().map(|name| self.id(name)).collect();
        expected.sort();
        let what = format!("{names:?} are found by the tags {tags:?}");
        self.eventually(&what, async || self.found(client, tags).await == expected).await;
    }

    /// Waits until the client reads exactly these registrations, all of them passing; at once where the
    /// registry is consistent.
    async fn reads(&self, client: &Arc<dyn Naming>, servers: &[&ServiceRegistration]) {
        let mut expected: Vec<Instance> = servers
            .iter()
            .map(|server| Instance { service: (*server).clone(), health: Health::Passing })
            .collect();
        expected.iter_mut().for_each(|instance| instance.service.tags.sort());
        expected.sort_by(|a, b| a.service.id.cmp(&b.service.id));
        if client.is_consistent() {
            assert_eq!(self.read(client).await, expected);
        } else {
            let what = format!("{expected:?} are read");
            self.eventually(&what, async || self.read(client).await == expected).await;
        }
    }

    async fn eventually(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let (patience, until) = (self.fixture.patience(), Instant::now() + self.fixture.patience());
        while !condition().await {
            assert!(Instant::now() < until, "not within {patience:?}: {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Panics where the condition is false at any time of the next moments. What is not consistent may show
    /// an earlier state meanwhile, as where a member seems silent, and has to show this one after.
    async fn stays(&self, client: &Arc<dyn Naming>, what: &str, condition: impl AsyncFn() -> bool) {
        let until = Instant::now() + self.fixture.settling();
        while Instant::now() < until {
            let holds = condition().await;
            assert!(holds || !client.is_consistent(), "does not stay: {what}");
            sleep(Duration::from_millis(10)).await;
        }
        self.eventually(what, condition).await;
    }

    /// Waits for a snapshot of which `condition` is true; `always` is true of those before.
    async fn sees(
        &self,
        subscription: &mut Subscription,
        what: &str,
        condition: impl Fn(&Snapshot) -> bool,
        always: impl Fn(&Snapshot) -> bool,
    ) -> Snapshot {
        let seen = async {
            let mut snapshot = subscription.current_and_seen();
            while !condition(&snapshot) {
                assert!(always(&snapshot), "before {what}: {snapshot:?}");
                snapshot = subscription.changed().await;
            }
            snapshot
        };
        self.in_time(what, seen).await
    }

    async fn in_time<T>(&self, what: &str, waited: impl Future<Output = T>) -> T {
        let patience = self.fixture.patience();
        let done = timeout(patience, waited).await;
        done.unwrap_or_else(|_| panic!("not within {patience:?}: {what}"))
    }
}

async fn register(client: &Arc<dyn Naming>, server: &ServiceRegistration) {
    let registered = client.register(server).await;
    registered.unwrap_or_else(|error| panic!("register {:?}: {error}", server.id));
}

async fn deregister(client: &Arc<dyn Naming>, id: &str) {
    let deregistered = client.deregister(id).await;
    deregistered.unwrap_or_else(|error| panic!("deregister {id:?}: {error}"));
}

fn instance<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a Instance> {
    snapshot.instances.iter().find(|instance| instance.service.id == id)
}

fn passes(snapshot: &Snapshot, id: &str) -> bool {
    instance(snapshot, id).is_some_and(|instance| instance.health == Health::Passing)
}

/// Anything may be seen before.
fn whatever(_: &Snapshot) -> bool {
    true
}
