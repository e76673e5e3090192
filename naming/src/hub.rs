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

    /// Creates a subscription that starts with `first`. True when the service was not followed before:
    /// since [`retire`](Self::retire), or ever.
    pub(crate) fn subscribe(&self, service: &str, first: Vec<Instance>) -> (Subscription, bool) {
        let (subscription, publisher) = Subscription::new(Snapshot::default());
        publisher.publish(first);
        let mut services = self.lock();
        let is_new = !services.contains_key(service);
        let publishers = services.entry(service.to_owned()).or_default();
        publishers.retain(|publisher| !publisher.is_cancelled());
        publishers.push(publisher);
        (subscription, is_new)
    }

    /// Returns the services with subscribers; forgets those without.
    pub(crate) fn services(&self) -> Vec<String> {
        let mut services = self.lock();
        services.retain(|_, publishers| {
            publishers.retain(|publisher| !publisher.is_cancelled());
            !publishers.is_empty()
        });
        services.keys().cloned().collect()
    }

    /// Forgets a service without subscribers, and returns whether it has. In one step, so that a subscriber
    /// that comes meanwhile is either seen here or told to follow the service anew.
    #[cfg(feature = "consul")]
    pub(crate) fn retire(&self, service: &str) -> bool {
        let mut services = self.lock();
        let publishers = services.get(service);
        let is_wanted =
            publishers.is_some_and(|all| all.iter().any(|publisher| !publisher.is_cancelled()));
        if !is_wanted {
            services.remove(service);
        }
        !is_wanted
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
