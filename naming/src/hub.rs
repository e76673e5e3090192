//! Fans the snapshots of a backend out to its subscribers.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{Instance, Publisher, Snapshot, Subscription};

/// The subscribers of one backend, by service.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    services: Mutex<HashMap<String, Vec<Publisher>>>,
}

impl Hub {
    /// The lists stay whole whatever panicked while they were locked.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Publisher>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription that starts with `first`. True when it is the only one of its service.
    pub(crate) fn subscribe(&self, service: &str, first: Vec<Instance>) -> (Subscription, bool) {
        let (subscription, publisher) = Subscription::new(Snapshot::default());
        publisher.publish(first);
        let mut services = self.lock();
        let publishers = services.entry(service.to_owned()).or_default();
        publishers.retain(|publisher| !publisher.is_cancelled());
        publishers.push(publisher);
        (subscription, publishers.len() == 1)
    }

    /// Services with subscribers; forgets those without.
    pub(crate) fn services(&self) -> Vec<String> {
        let mut services = self.lock();
        services.retain(|_, publishers| {
            publishers.retain(|publisher| !publisher.is_cancelled());
            !publishers.is_empty()
        });
        services.keys().cloned().collect()
    }

    pub(crate) fn has_subscribers(&self, service: &str) -> bool {
        let services = self.lock();
        let publishers = services.get(service);
        publishers.is_some_and(|all| all.iter().any(|publisher| !publisher.is_cancelled()))
    }

    pub(crate) fn publish(&self, service: &str, instances: &[Instance]) {
        for publisher in self.lock().get(service).into_iter().flatten() {
            publisher.publish(instances.to_vec());
        }
    }

    pub(crate) fn fail(&self, service: &str, error: &str) {
        for publisher in self.lock().get(service).into_iter().flatten() {
            publisher.fail(error);
        }
    }
}
