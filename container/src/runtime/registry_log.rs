//! What the log tells of the registry's answers: each cause now and then, however often they change.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use imago_kit::LogLimit;
use imago_naming::{Health, Instance, ServiceRegistration, ServiceState, Snapshot, meta_key};
use imago_proto::ServiceId;

use super::peer_of;
use crate::metrics;

/// How often a line of one cause is logged.
const INTERVAL: Duration = Duration::from_secs(60);

/// Tells of a registry's answers.
#[derive(Debug)]
pub(crate) struct RegistryLog {
    limit: LogLimit,
    /// Servers in maintenance, as the log has told last.
    in_maintenance: Mutex<BTreeSet<String>>,
}

impl Default for RegistryLog {
    fn default() -> Self {
        Self { limit: LogLimit::every(INTERVAL), in_maintenance: Mutex::default() }
    }
}

impl RegistryLog {
    /// Looks at a new answer.
    pub(super) fn look(&self, snapshot: &Snapshot, own: &ServiceId) {
        if let Some(error) = &snapshot.error {
            metrics::registry_error();
            if let Some(more) = self.limit.allow("unreadable") {
                tracing::warn!(%error, "registry cannot be read, keeping what it said last{more}");
            }
        }
        for instance in snapshot.instances.iter().filter(|it| it.service.id != own.as_str()) {
            self.look_at(&instance.service);
        }
        self.tell_maintenance(&snapshot.instances);
    }

    /// Tells of an entry that is no server of ours, or not as we write it.
    fn look_at(&self, service: &ServiceRegistration) {
        let (id, name) = (&service.id, &service.name);
        if peer_of(service).is_none() {
            metrics::foreign_entry();
            if let Some(more) = self.limit.allow(&format!("foreign {id}")) {
                let (protocol, incarnation) =
                    (service.meta(meta_key::PROTOCOL), service.meta(meta_key::INCARNATION));
                tracing::warn!(
                    service = name, entry = ?id, ?protocol, ?incarnation,
                    "registry entry without a protocol and the incarnation of a server: not a server of ours, ignored{more}"
                );
            }
            return;
        }
        let state = service.meta(meta_key::SERVICE_STATE);
        if state.is_some_and(|state| ServiceState::parse(state).as_str() != state)
            && let Some(more) = self.limit.allow(&format!("state {id}"))
        {
            tracing::warn!(
                service = name, entry = ?id, ?state,
                "registry entry in a state that is not known, taken for young{more}"
            );
        }
    }

    fn tell_maintenance(&self, instances: &[Instance]) {
        let now = in_maintenance(instances).map(|it| it.service.id.clone()).collect();
        let mut told = self.in_maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *told, now);
        for id in told.difference(&before) {
            self.maintenance(true, id);
        }
        for id in before.difference(&told) {
            self.maintenance(false, id);
        }
    }

    fn maintenance(&self, begins: bool, id: &str) {
        let Some(more) = self.limit.allow(&format!("maintenance {begins} {id}")) else { return };
        match begins {
            true => {
                tracing::info!(peer = ?id, "maintenance begins: nothing new for this server{more}")
            }
            false => tracing::info!(peer = ?id, "maintenance ends{more}"),
        }
    }

    /// Tells that a server vanished from the registry while its link is alive.
    pub(super) fn vanished(&self, server: &ServiceId) {
        if let Some(more) = self.limit.allow(&format!("vanished {server}")) {
            tracing::warn!(%server, "not in the registry any more, but its link is alive: keeping it{more}");
        }
    }

    /// Tells of a read that failed.
    pub(super) fn failed(&self, error: &dyn Display, what: &'static str) {
        metrics::registry_error();
        if let Some(more) = self.limit.allow(what) {
            tracing::warn!(%error, "{what}{more}");
        }
    }
}

/// Instances that an operator has put into maintenance.
pub(super) fn in_maintenance(instances: &[Instance]) -> impl Iterator<Item = &Instance> {
    instances.iter().filter(|instance| instance.health == Health::Maintenance)
}
