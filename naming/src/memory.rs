//! A registry within one process: for tests, and for servers that share a process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;

use crate::{
    Error, Health, Instance, Naming, RegistryUrl, Result, ServiceRegistration, Subscription,
    hub::Hub,
};

/// A registry in memory. Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    hub: Hub,
}

#[derive(Debug, Default)]
struct State {
    instances: BTreeMap<String, Instance>,
    /// Why every operation fails at the moment.
    outage: Option<String>,
}

/// Registries by the name in their URL. Process-wide, because a URL is all that two users of the
/// same `memory://name` share; a registry goes when its last user does.
static NAMED: LazyLock<Mutex<HashMap<String, Weak<Shared>>>> = LazyLock::new(Mutex::default);

/// Reads `memory://name`.
pub(crate) fn read_name(url: &RegistryUrl) -> Result<String> {
    let mut parts = url.parts()?;
    let name = parts.name()?;
    parts.finish()?;
    Ok(name)
}

/// Opens the registry of that name.
pub(crate) async fn open(name: String) -> Result<Memory> {
    Ok(Memory::named(&name))
}

impl Memory {
    /// Creates a registry without a name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the registry of that name in this process.
    pub fn named(name: &str) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = named.get(name).and_then(Weak::upgrade) {
            return Self { shared };
        }
        let memory = Self::new();
        named.insert(name.to_owned(), Arc::downgrade(&memory.shared));
        memory
    }

    /// Changes the outcome of an instance's health check.
    pub fn set_health(&self, service_id: &str, health: Health) {
        let mut state = self.lock();
        if let Some(instance) = state.instances.get_mut(service_id) {
            instance.health = health;
            let service = instance.service.name.clone();
            self.publish(&state, &service);
        }
    }

    /// Makes every operation fail with this reason, or work again with `None`.
    pub fn set_outage(&self, reason: Option<&str>) {
        let mut state = self.lock();
        state.outage = reason.map(ToOwned::to_owned);
        for service in self.shared.hub.services() {
            match reason {
                Some(reason) => self.shared.hub.fail(&service, reason),
                None => self.publish(&state, &service),
            }
        }
    }

    /// The map stays whole whatever panicked while it was locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        match &state.outage {
            Some(reason) => Err(Error::Unavailable(reason.clone())),
            None => Ok(state),
        }
    }

    fn publish(&self, state: &State, service: &str) {
        self.shared.hub.publish(service, &state.of(service));
    }
}

impl State {
    fn of(&self, service: &str) -> Vec<Instance> {
        let instances = self.instances.values();
        instances.filter(|instance| instance.service.name == service).cloned().collect()
    }
}

#[async_trait]
impl Naming for Memory {
    async fn register(&self, service: &ServiceRegistration) -> Result<()> {
        service.check()?;
        let mut state = self.working()?;
        let health = state.instances.get(&service.id).map_or(Health::Passing, |old| old.health);
        state.instances.insert(service.id.clone(), Instance { service: service.clone(), health });
        self.publish(&state, &service.name);
        Ok(())
    }

    async fn deregister(&self, service_id: &str) -> Result<()> {
        let mut state = self.working()?;
        if let Some(removed) = state.instances.remove(service_id) {
            self.publish(&state, &removed.service.name);
        }
        Ok(())
    }

    async fn instances(&self, service: &str) -> Result<Vec<Instance>> {
        Ok(self.working()?.of(service))
    }

    async fn subscribe(&self, service: &str) -> Result<Subscription> {
        // The state stays locked, so that no change falls between the snapshot and the hub.
        let state = self.working()?;
        Ok(self.shared.hub.subscribe(service, state.of(service)).0)
    }

    fn location(&self) -> String {
        "memory of this process".to_owned()
    }

    fn is_consistent(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "memory of this process".to_owned()
    }
}
