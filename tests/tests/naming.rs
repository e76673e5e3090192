//! The conformance suite of registries, for memory, a real Consul, and gossip.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures::FutureExt;
use imago_naming::{
    Consul, ConsulOptions, Error, Gossip, GossipOptions, Health, Instance, Memory, Naming, Result,
    ServiceRegistration, Subscription,
    testing::{Fixture, Process, conformance},
};
use imago_tests::{ConsulAgent, HttpAnswer, HttpStub};

/// A token that Consul does not need, and that shows up nowhere.
const TOKEN: &str = "hunter2-of-the-suite";

/// Tasks of the test's own runtime.
fn all_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

struct InMemory(Memory);

#[async_trait]
impl Fixture for InMemory {
    async fn client(&self, _: &str) -> Arc<dyn Naming> {
        Arc::new(self.0.clone())
    }

    async fn fail(&self, server: &str) -> bool {
        self.0.set_health(server, Health::Critical { since: SystemTime::now() });
        true
    }

    async fn pass(&self, server: &ServiceRegistration) {
        self.0.set_health(&server.id, Health::Passing);
    }

    async fn break_down(&self) -> bool {
        self.0.set_outage(Some("it is broken"));
        true
    }

    async fn restore(&self) {
        self.0.set_outage(None);
    }

    fn watches(&self) -> Option<usize> {
        Some(all_tasks())
    }
}

/// A real agent, and what its checks are told.
struct InConsul {
    agent: tokio::sync::Mutex<ConsulAgent>,
    address: String,
    health: HttpStub,
    failing: Arc<Mutex<HashSet<String>>>,
    observer: Mutex<Weak<Consul>>,
}

impl InConsul {
    async fn start() -> Self {
        let failing = Arc::<Mutex<HashSet<String>>>::default();
        let fails = failing.clone();
        let health = HttpStub::start(move |request| {
            let is_failing = fails.lock().unwrap().iter().any(|path| request.is(path));
            let status = if is_failing { 503 } else { 200 };
            async move { HttpAnswer { status, index: 0, body: String::new() } }
        });
        let agent = ConsulAgent::start().await;
        let address = agent.address();
        let (agent, health) = (tokio::sync::Mutex::new(agent), health.await);
        Self { agent, address, health, failing, observer: Mutex::default() }
    }
}

/// A path for any id.
fn path(server: &str) -> String {
    server.bytes().fold("/".to_owned(), |path, byte| path + &format!("{byte:02x}"))
}

#[async_trait]
impl Fixture for InConsul {
    async fn client(&self, process: &str) -> Arc<dyn Naming> {
        let mut options = ConsulOptions::new(format!("http://{}", self.address));
        // The shortest that Consul takes.
        options.check_interval = Duration::from_secs(1);
        options.verify_interval = Duration::from_millis(100);
        options.token = Some(TOKEN.into());
        let client = Arc::new(Consul::connect(options).unwrap());
        if process == "observer" {
            *self.observer.lock().unwrap() = Arc::downgrade(&client);
        }
        client
    }

    fn health_url(&self, server: &str) -> Option<String> {
        Some(format!("{}{}", self.health.url(), path(server)))
    }

    async fn fail(&self, server: &str) -> bool {
        self.failing.lock().unwrap().insert(path(server));
        true
    }

    async fn pass(&self, server: &ServiceRegistration) {
        self.failing.lock().unwrap().remove(&path(&server.id));
    }

    async fn break_down(&self) -> bool {
        self.agent.lock().await.kill9().await;
        true
    }

    async fn restore(&self) {
        self.agent.lock().await.restart().await;
    }

    // Connections that wait to be used again are tasks as well.
    fn watches(&self) -> Option<usize> {
        self.observer.lock().unwrap().upgrade().map(|observer| observer.watches())
    }

    fn secret(&self) -> Option<&str> {
        Some(TOKEN)
    }
}

/// Members that gossip; a failing one falls silent, and comes back as another member.
struct InGossip {
    seed: Gossip,
    members: Mutex<HashMap<String, Weak<Process>>>,
}

impl InGossip {
    async fn start() -> Self {
        Self { seed: join(Vec::new()).await, members: Mutex::default() }
    }

    fn member(&self, server: &str) -> Arc<Process> {
        self.members.lock().unwrap()[server].upgrade().unwrap()
    }
}

async fn join(seeds: Vec<String>) -> Gossip {
    let listen = ([127, 0, 0, 1], 0).into();
    let options = GossipOptions { listen, advertise: None, seeds, cluster: "suite".into() };
    Gossip::join(options).await.unwrap()
}

#[async_trait]
impl Fixture for InGossip {
    async fn client(&self, process: &str) -> Arc<dyn Naming> {
        let gossip = join(vec![self.seed.address().to_string()]).await;
        let member = Arc::new(Process::new(Arc::new(gossip)));
        self.members.lock().unwrap().insert(process.to_owned(), Arc::downgrade(&member));
        member
    }

    async fn fail(&self, server: &str) -> bool {
        self.member(server).kill();
        true
    }

    async fn pass(&self, server: &ServiceRegistration) {
        let gossip = join(vec![self.seed.address().to_string()]).await;
        gossip.register(server).await.unwrap();
        self.member(&server.id).restart(Arc::new(gossip));
    }

    fn watches(&self) -> Option<usize> {
        Some(all_tasks())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conformance(&InMemory(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_conforms() {
    conformance(&InConsul::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_conforms() {
    conformance(&InGossip::start().await).await;
}

/// How a backend breaks a rule.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Nothing,
    LosesMeta,
    CutsTags,
    MixesServices,
    ChecksNothing,
    KeepsTheFirst,
    WritesNothingTwice,
    ShowsItsOwn,
    Restores,
    DeregistersOnce,
    TellsOnlyTheFirst,
    ShowsSecrets,
    ReadsLate,
}

/// A client of a registry in memory that breaks one rule.
struct Faulty {
    fault: Fault,
    memory: Memory,
    own: Arc<Mutex<Option<ServiceRegistration>>>,
}

struct InFaulty(Fault, Memory);

#[async_trait]
impl Fixture for InFaulty {
    async fn client(&self, _: &str) -> Arc<dyn Naming> {
        let (fault, memory, own) = (self.0, self.1.clone(), Arc::default());
        if let Fault::Restores = fault {
            tokio::spawn(restore(memory.clone(), Arc::clone(&own)));
        }
        Arc::new(Faulty { fault, memory, own })
    }

    fn secret(&self) -> Option<&str> {
        Some(TOKEN)
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(300)
    }

    fn settling(&self) -> Duration {
        Duration::from_millis(100)
    }
}

/// Writes again what another process has replaced.
async fn restore(memory: Memory, own: Arc<Mutex<Option<ServiceRegistration>>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let own = own.lock().unwrap().clone();
        if let Some(own) = own
            && memory.instances(&own.name).await.unwrap().iter().any(|it| it.service.id == own.id)
        {
            memory.register(&own).await.unwrap();
        }
    }
}

#[async_trait]
impl Naming for Faulty {
    async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        let mut service = service.clone();
        let last = self.own.lock().unwrap().replace(service.clone());
        let standing = self.memory.instances(&service.name).await?;
        let stands = standing.iter().any(|it| it.service.id == service.id);
        match self.fault {
            Fault::LosesMeta => service.meta.retain(|_, value| !value.is_empty()),
            Fault::ChecksNothing if service.check().is_err() => return Ok(()),
            Fault::KeepsTheFirst if stands => return Ok(()),
            Fault::WritesNothingTwice if last.as_ref() == Some(&service) => return Ok(()),
            _ => {}
        }
        self.memory.register(&service).await
    }

    async fn deregister(&self, service_id: &str) -> Result<()> {
        let own = self.own.lock().unwrap().take();
        if matches!(self.fault, Fault::DeregistersOnce) && own.is_none() {
            return Err(Error::Refused("no such registration".to_owned()));
        }
        self.memory.deregister(service_id).await
    }

    async fn find(&self, service: &str, tags: &[&str]) -> Result<Vec<ServiceRegistration>> {
        let tags = if let Fault::CutsTags = self.fault { &tags[..tags.len().min(1)] } else { tags };
        self.memory.find(service, tags).await
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        let mut instances = self.memory.instances(service).await?;
        let own = self.own.lock().unwrap().clone();
        match (self.fault, own) {
            (Fault::MixesServices, _) => {
                instances.extend(self.memory.instances(&format!("{service}-more")).await?);
            }
            (Fault::ShowsItsOwn, Some(own)) => {
                let same_id = instances.iter_mut().filter(|it| it.service.id == own.id);
                same_id.for_each(|it| it.service = own.clone());
            }
            (Fault::ReadsLate, Some(own)) => instances.retain(|it| it.service.id == own.id),
            _ => {}
        }
        Ok(instances)
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        if let Fault::TellsOnlyTheFirst = self.fault {
            return Ok(Subscription::new(self.memory.subscribe(service).await?.current()).0);
        }
        self.memory.subscribe(service).await
    }

    fn is_consistent(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        if let Fault::ShowsSecrets = self.fault { TOKEN.to_owned() } else { "faulty".to_owned() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_breaks_a_rule_does_not_conform() {
    use Fault::*;
    conformance(&InFaulty(Nothing, Memory::new())).await;
    let faults = [
        LosesMeta,
        CutsTags,
        MixesServices,
        ChecksNothing,
        KeepsTheFirst,
        WritesNothingTwice,
        ShowsItsOwn,
        Restores,
        DeregistersOnce,
        TellsOnlyTheFirst,
        ShowsSecrets,
        ReadsLate,
    ];
    for fault in faults {
        let faulty = InFaulty(fault, Memory::new());
        let ended = AssertUnwindSafe(conformance(&faulty)).catch_unwind().await;
        assert!(ended.is_err(), "{fault:?} conforms");
    }
}
