//! One suite that every registry passes: memory, a real Consul, and gossip.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use imago_naming::{
    Consul, ConsulOptions, Gossip, GossipOptions, Health, Instance, Memory, Naming,
    ServiceRegistration, ServiceState, Snapshot, Subscription, meta_key,
};
use imago_tests::{ConsulAgent, HttpAnswer, HttpStub, eventually, sees};
use tokio::sync::Mutex;

const SERVICE: &str = "test_service";
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry as the suite uses it: every server has a client of its own, and one only looks.
#[async_trait]
trait Registry: Send + Sync {
    /// Who only looks.
    fn observer(&self) -> Arc<dyn Naming>;
    /// The client of a server.
    async fn server(&self, id: &str) -> Arc<dyn Naming>;
    /// URL that the server registers for its health.
    fn health_url(&self, id: &str) -> String;
    /// Has a server fail its health check.
    async fn fails(&self, id: &str);
    /// Has it pass again.
    async fn passes(&self, registration: &ServiceRegistration);
    /// Tasks that run for those who subscribe with the observer.
    fn tasks(&self) -> usize;
}

/// Of the test's own runtime.
fn all_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

struct InMemory(Memory);

#[async_trait]
impl Registry for InMemory {
    fn observer(&self) -> Arc<dyn Naming> {
        Arc::new(self.0.clone())
    }

    async fn server(&self, _: &str) -> Arc<dyn Naming> {
        Arc::new(self.0.clone())
    }

    fn health_url(&self, _: &str) -> String {
        String::new()
    }

    async fn fails(&self, id: &str) {
        self.0.set_health(id, Health::Critical { since: std::time::SystemTime::now() });
    }

    async fn passes(&self, registration: &ServiceRegistration) {
        self.0.set_health(&registration.id, Health::Passing);
    }

    fn tasks(&self) -> usize {
        all_tasks()
    }
}

/// A real agent, and what its checks are told.
struct InConsul {
    agent: ConsulAgent,
    observer: Arc<Consul>,
    health: HttpStub,
    failing: Arc<AtomicBool>,
}

impl InConsul {
    async fn start() -> Self {
        let failing = Arc::new(AtomicBool::new(false));
        let fails = failing.clone();
        let health = HttpStub::start(move |request| {
            let is_failing = fails.load(Ordering::SeqCst) && request.is("/test_2");
            let status = if is_failing { 503 } else { 200 };
            async move { HttpAnswer { status, index: 0, body: String::new() } }
        });
        let agent = ConsulAgent::start().await;
        let observer = Arc::new(consul(&agent));
        Self { agent, observer, health: health.await, failing }
    }
}

fn consul(agent: &ConsulAgent) -> Consul {
    let mut options = ConsulOptions::new(format!("http://{}", agent.address()));
    // The shortest that Consul takes.
    options.check_interval = Duration::from_secs(1);
    Consul::connect(options).unwrap()
}

#[async_trait]
impl Registry for InConsul {
    fn observer(&self) -> Arc<dyn Naming> {
        self.observer.clone()
    }

    async fn server(&self, _: &str) -> Arc<dyn Naming> {
        Arc::new(consul(&self.agent))
    }

    fn health_url(&self, id: &str) -> String {
        format!("{}/{id}", self.health.url())
    }

    async fn fails(&self, id: &str) {
        assert_eq!(id, "test_2");
        self.failing.store(true, Ordering::SeqCst);
    }

    async fn passes(&self, _: &ServiceRegistration) {
        self.failing.store(false, Ordering::SeqCst);
    }

    // Connections that wait to be used again are tasks as well.
    fn tasks(&self) -> usize {
        self.observer.watches()
    }
}

/// Members that gossip; a failing one falls silent, and comes back as another member.
struct InGossip {
    observer: Arc<Gossip>,
    members: Mutex<HashMap<String, Arc<Member>>>,
}

/// A member that can be dropped while others hold it.
struct Member(Mutex<Option<Gossip>>);

impl InGossip {
    async fn start() -> Self {
        let observer = Arc::new(Gossip::join(gossip(Vec::new())).await.unwrap());
        Self { observer, members: Mutex::default() }
    }

    async fn member(&self) -> Gossip {
        Gossip::join(gossip(vec![self.observer.address().to_string()])).await.unwrap()
    }
}

fn gossip(seeds: Vec<String>) -> GossipOptions {
    let listen = ([127, 0, 0, 1], 0).into();
    GossipOptions { listen, advertise: None, seeds, cluster: "suite".into() }
}

#[async_trait]
impl Registry for InGossip {
    fn observer(&self) -> Arc<dyn Naming> {
        self.observer.clone()
    }

    async fn server(&self, id: &str) -> Arc<dyn Naming> {
        let member = Arc::new(Member(Mutex::new(Some(self.member().await))));
        self.members.lock().await.insert(id.to_owned(), member.clone());
        member
    }

    fn health_url(&self, _: &str) -> String {
        String::new()
    }

    async fn fails(&self, id: &str) {
        self.members.lock().await[id].0.lock().await.take();
    }

    async fn passes(&self, registration: &ServiceRegistration) {
        let member = self.member().await;
        member.register(registration).await.unwrap();
        *self.members.lock().await[&registration.id].0.lock().await = Some(member);
    }

    fn tasks(&self) -> usize {
        all_tasks()
    }
}

#[async_trait]
impl Naming for Member {
    async fn register(&self, service: &ServiceRegistration) -> imago_naming::Result<()> {
        self.0.lock().await.as_ref().unwrap().register(service).await
    }

    async fn deregister(&self, service_id: &str) -> imago_naming::Result<()> {
        self.0.lock().await.as_ref().unwrap().deregister(service_id).await
    }

    async fn find(
        &self,
        service: &str,
        tags: &[&str],
    ) -> imago_naming::Result<Vec<ServiceRegistration>> {
        self.0.lock().await.as_ref().unwrap().find(service, tags).await
    }

    async fn instances(&self, service: &str) -> imago_naming::Result<Vec<Instance>> {
        self.0.lock().await.as_ref().unwrap().instances(service).await
    }

    async fn subscribe(&self, service: &str) -> imago_naming::Result<Subscription> {
        self.0.lock().await.as_ref().unwrap().subscribe(service).await
    }

    fn is_consistent(&self) -> bool {
        false
    }
}

/// Ids of who passes.
async fn found(naming: &Arc<dyn Naming>, tags: &[&str]) -> Vec<String> {
    let mut ids: Vec<String> =
        naming.find(SERVICE, tags).await.unwrap().into_iter().map(|service| service.id).collect();
    ids.sort();
    ids
}

/// Waits until somebody who looks finds exactly these.
async fn finds(naming: &Arc<dyn Naming>, tags: &[&str], expected: &[&str]) {
    let what = format!("{expected:?} are found by {tags:?}");
    eventually(PATIENCE, &what, || async { (found(naming, tags).await == expected).then_some(()) })
        .await;
}

fn instance<'a>(snapshot: &'a Snapshot, id: &str) -> Option<&'a Instance> {
    snapshot.instances.iter().find(|instance| instance.service.id == id)
}

fn registration(registry: &dyn Registry, id: &str, tags: &[&str]) -> ServiceRegistration {
    let mut service = ServiceRegistration::new(id, SERVICE, "127.0.0.1", 4000)
        .with_meta(meta_key::PROTOCOL, "ws")
        .with_meta(meta_key::INCARNATION, "00000000000000aa");
    let health_url = registry.health_url(id);
    if !health_url.is_empty() {
        service = service.with_meta(meta_key::HEALTH_URL, health_url);
    }
    for tag in tags {
        service = service.tag(*tag);
    }
    service
}

/// The life of two servers, as another process sees it.
async fn suite(registry: &dyn Registry) {
    let observer = registry.observer();
    assert_eq!(found(&observer, &[]).await, [""; 0]);

    // Registered is visible: at once where it was registered.
    let first = registration(registry, "test_1", &["eu", "blue"]);
    let first_server = registry.server("test_1").await;
    first_server.register(&first).await.unwrap();
    assert_eq!(found(&first_server, &[]).await, ["test_1"]);
    if observer.is_consistent() {
        assert_eq!(found(&observer, &[]).await, ["test_1"]);
    }
    finds(&observer, &[], &["test_1"]).await;
    assert_eq!(observer.find(SERVICE, &[]).await.unwrap(), std::slice::from_ref(&first));

    // The first snapshot comes at once, the second server later.
    let mut subscription = observer.subscribe(SERVICE).await.unwrap();
    assert!(instance(&subscription.current(), "test_1").is_some());
    let second = registration(registry, "test_2", &["eu", "green"]);
    let second_server = registry.server("test_2").await;
    second_server.register(&second).await.unwrap();
    // One that was only heard of through others may be critical until it is heard itself.
    let both_pass = |seen: &Snapshot| {
        seen.instances.len() == 2 && seen.instances.iter().all(|one| one.health == Health::Passing)
    };
    sees(&mut subscription, "two servers pass", both_pass, |_| true).await;

    finds(&observer, &[], &["test_1", "test_2"]).await;
    finds(&observer, &["eu"], &["test_1", "test_2"]).await;
    finds(&observer, &["green"], &["test_2"]).await;
    finds(&observer, &["EU", "blue"], &["test_1"]).await;
    finds(&observer, &["blue", "green"], &[]).await;

    // Another service, and the same once more, are no news: until the change of meta is seen, only
    // somebody who falls silent for a moment may be.
    let stranger = ServiceRegistration::new("stranger", "another_service", "127.0.0.1", 4001);
    first_server.register(&stranger).await.unwrap();
    second_server.register(&second).await.unwrap();
    let second = second.with_meta(meta_key::SERVICE_STATE, "adult");
    second_server.register(&second).await.unwrap();
    let is_adult =
        |seen: &Snapshot| instance(seen, "test_2").unwrap().service.state() == ServiceState::Adult;
    let last = RefCell::new(None);
    let is_news = |seen: &Snapshot| last.replace(Some(seen.clone())).as_ref() != Some(seen);
    let changed = sees(&mut subscription, "test_2 is adult", is_adult, is_news).await;
    assert_eq!(changed.instances.len(), 2);

    // Whoever fails is not found, and yet not gone.
    registry.fails("test_2").await;
    let nobody_gone = |seen: &Snapshot| seen.instances.len() == 2;
    let is_critical = |seen: &Snapshot| {
        matches!(instance(seen, "test_2").unwrap().health, Health::Critical { .. })
    };
    sees(&mut subscription, "test_2 is critical", is_critical, nobody_gone).await;
    finds(&observer, &[], &["test_1"]).await;
    registry.passes(&second).await;
    let passes = |seen: &Snapshot| instance(seen, "test_2").unwrap().health == Health::Passing;
    sees(&mut subscription, "test_2 passes", passes, nobody_gone).await;
    finds(&observer, &[], &["test_1", "test_2"]).await;

    // Deregistered, twice: the second time there is nothing to do.
    first_server.deregister("test_1").await.unwrap();
    first_server.deregister("test_1").await.unwrap();
    let is_gone = |seen: &Snapshot| instance(seen, "test_1").is_none();
    let left = sees(&mut subscription, "test_1 is gone", is_gone, |_| true).await;
    assert_eq!(left.instances.len(), 1);
    finds(&observer, &[], &["test_2"]).await;

    // The same id comes back as another process.
    let again = first.with_meta(meta_key::INCARNATION, "00000000000000bb");
    let again_server = registry.server("test_1").await;
    again_server.register(&again).await.unwrap();
    let back = sees(&mut subscription, "test_1 is back", nobody_gone, |_| true).await;
    assert_eq!(instance(&back, "test_1").unwrap().service, again);
    assert!(back.error.is_none());

    // Nothing runs on for a subscription that was dropped.
    let before = registry.tasks();
    drop(observer.subscribe("another_service").await.unwrap());
    let ended = || async { (registry.tasks() <= before).then_some(()) };
    eventually(Duration::from_secs(1), "no task is left", ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_passes_the_suite() {
    suite(&InMemory(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_passes_the_suite() {
    suite(&InConsul::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_passes_the_suite() {
    suite(&InGossip::start().await).await;
}
