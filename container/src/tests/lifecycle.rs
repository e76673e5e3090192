//! A server ends when it is told to, in bounded time, and leaves nothing behind.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use futures::FutureExt;
use imago_naming::{
    Instance, Memory, Naming, Result, ServiceRegistration, ServiceState, Subscription,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_util::sync::CancellationToken;

use super::support::*;
use crate::{Container, ServerInfo};

fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_has_left_has_no_task_running_and_no_entry_in_the_registry() {
    let before = alive_tasks();
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    let second = Logic::start("logic-2", Arc::new(memory.clone())).await;
    eventually("the second is linked", || {
        gateway.link("logic-2").is_some_and(|link| link.is_usable())
    })
    .await;
    logic.running.leave().await;
    gateway.running.leave().await;
    second.running.leave().await;
    eventually("every task has ended", || alive_tasks() == before).await;
    for service in ["chat", "gateway"] {
        assert_eq!(memory.instances(service).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_never_finishes_does_not_keep_its_server() {
    let memory = Memory::new();
    let (gateway, logic) = pair(&memory).await;
    gateway.role.drains_for_ever.store(true, Ordering::SeqCst);
    logic.role.is_never_idle.store(true, Ordering::SeqCst);
    logic.running.leave().await;
    gateway.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_the_registry_never_took_leaves_all_the_same() {
    let memory = Memory::new();
    memory.set_outage(Some("nobody there"));
    let gateway = Gateway::start("gateway-1", Arc::new(memory.clone()));
    let logic = Logic::start("logic-1", Arc::new(memory.clone())).await;
    gateway.running.leave().await;
    logic.running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_dropped_while_it_runs_leaves_nothing_running() {
    let before = alive_tasks();
    let memory = Memory::new();
    let gateway = Gateway::start("gateway-1", Arc::new(memory.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let monitor = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let container = Container::builder(ServerInfo::new("chat", "logic-1"))
        .cluster("test", &credentials().secret)
        .naming(Arc::new(memory.clone()))
        .depends_on("gateway")
        .monitor(monitor, None)
        .logic(listener, |_| Arc::new(LogicNotes::default()))
        .build()
        .unwrap();
    let running = tokio::spawn(container.run(CancellationToken::new()));
    gateway.grown_up().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    eventually("its link is closed", || gateway.link("logic-1").is_none()).await;
    gateway.running.leave().await;
    eventually("every task has ended", || alive_tasks() == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_in_the_midst_of_a_handshake_do_not_keep_a_leaving_server() {
    let memory = Memory::new();
    let mut patient = config();
    patient.link.dial_timeout = Duration::from_secs(3600);
    let logic = Logic::configured("logic-1", Arc::new(memory.clone()), patient).await;
    eventually("it is registered", || !memory_entries(&memory).is_empty()).await;
    let port = memory_entries(&memory)[0].service.port;
    let mut silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    silent.write_all(&[0]).await.unwrap();
    eventually("it is accepted", || logic.running.tasks.len() >= 3).await;
    logic.running.leave().await;
}

fn memory_entries(memory: &Memory) -> Vec<Instance> {
    memory.instances("chat").now_or_never().unwrap().unwrap()
}

/// A registry whose answers to the last writes take their time.
struct Slow(Memory);

#[async_trait]
impl Naming for Slow {
    async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        if service.state() == ServiceState::Leaving {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.0.register(service).await
    }

    async fn deregister(&self, service_id: &str) -> Result<()> {
        let deregistered = self.0.deregister(service_id).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        deregistered
    }

    async fn find(&self, service: &str, tags: &[&str]) -> Result<Vec<ServiceRegistration>> {
        self.0.find(service, tags).await
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        self.0.instances(service).await
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        self.0.subscribe(service).await
    }

    fn is_consistent(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_its_way_does_not_put_a_server_that_has_left_back_into_the_registry() {
    let memory = Memory::new();
    let logic = Logic::start("logic-1", Arc::new(Slow(memory.clone()))).await;
    let gateway = Gateway::start("gateway-1", Arc::new(Slow(memory.clone())));
    gateway.grown_up().await;
    logic.running.leave().await;
    gateway.running.leave().await;
    for service in ["chat", "gateway"] {
        assert_eq!(memory.instances(service).await.unwrap(), [], "{service}");
    }
}
