//! What the runtimes of both sides share: registration, claims of ids, reports, and how they notice
//! that the process stood still.

mod claimant;
mod entries;
mod failures;
pub(crate) mod freeze;
mod registrar;
mod registry_log;
pub(crate) mod report;

use std::{sync::Arc, time::Duration};

use imago_naming::Naming;
use imago_proto::link::Role;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{
    claimant::{Claimant, Claimed, Lost, Told},
    entries::{critical_since, excluded_of, ours, peer_of, registration, subscribe},
    failures::{Failures, LinkError},
    registrar::{Departure, Registrar},
    registry_log::{RegistryLog, in_maintenance},
};
use crate::{
    ContainerConfig, ServerInfo,
    link::{Credentials, Identity},
};

/// How often the cores are told that time has passed, and lanes are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Events that may wait for a core. Overflow policy: the sender waits.
pub(crate) const MAILBOX: usize = 1024;
/// What links tell of this server's id, and may wait. Overflow policy: dropped, since they tell it again.
pub(crate) const TOLD: usize = 16;

/// What both kinds of server are put together from.
pub(crate) struct Common {
    pub(crate) info: ServerInfo,
    pub(crate) config: ContainerConfig,
    pub(crate) credentials: Credentials,
    pub(crate) naming: Arc<dyn Naming>,
    pub(crate) peer_service: String,
    pub(crate) health_url: Option<String>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Common {
    pub(crate) fn identity(&self, role: Role) -> Identity {
        Identity { service: self.info.service.as_str().into(), peer: self.info.peer(), role }
    }

    pub(crate) fn claimant(&self, role: Role, port: u16) -> Claimant {
        Claimant {
            info: self.info.clone(),
            port,
            naming: self.naming.clone(),
            identity: self.identity(role),
            credentials: self.credentials.clone(),
            drain_timeout: self.config.drain_timeout,
        }
    }
}
