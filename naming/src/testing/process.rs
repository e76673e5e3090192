//! A client whose process dies while tests hold it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::{Error, Instance, Naming, Result, ServiceRegistration, Subscription};

/// A client that a [`Fixture`](super::Fixture) may drop while a case holds it, as a process that dies does.
pub struct Process(Mutex<Option<Arc<dyn Naming>>>);

impl Process {
    /// A living process.
    pub fn new(client: Arc<dyn Naming>) -> Self {
        Self(Mutex::new(Some(client)))
    }

    /// Drops the client. Calls fail from now on.
    pub fn kill(&self) {
        self.set(None);
    }

    /// Uses another client from now on.
    pub fn restart(&self, client: Arc<dyn Naming>) {
        self.set(Some(client));
    }

    fn set(&self, client: Option<Arc<dyn Naming>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn client(&self) -> Result<Arc<dyn Naming>> {
        let client = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        client.ok_or_else(|| Error::Unavailable("the process is dead".to_owned()))
    }
}

#[async_trait]
impl Naming for Process {
    async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        self.client()?.register(service).await
    }

    async fn deregister(&self, service_id: &str) -> Result<()> {
        self.client()?.deregister(service_id).await
    }

    async fn find(&self, service: &str, tags: &[&str]) -> Result<Vec<ServiceRegistration>> {
        self.client()?.find(service, tags).await
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        self.client()?.instances(service).await
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        self.client()?.subscribe(service).await
    }

    fn location(&self) -> String {
        self.client().map_or_else(|error| error.to_string(), |client| client.location())
    }

    fn is_consistent(&self) -> bool {
        self.client().is_ok_and(|client| client.is_consistent())
    }

    fn describe(&self) -> String {
        self.client().map_or_else(|error| error.to_string(), |client| client.describe())
    }
}
