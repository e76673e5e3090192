//! The shell around the pure cores: sockets, timers, tasks, registry.

mod claimant;
mod dial;
mod failures;
pub(crate) mod freeze;
mod gateway;
mod gateway_dial;
mod gateway_handle;
mod gateway_hearing;
mod logic;
mod logic_accept;
mod logic_handle;
mod logic_links;
mod logic_told;
mod redelivery;
mod registrar;
mod registry_log;
mod report;
#[cfg(test)]
mod tests;
mod trouble;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use imago_kit::LogLimit;
use imago_naming::{
    Health, Instance, Naming, ServiceRegistration, ServiceState, Subscription, meta_key,
};
use imago_proto::{Incarnation, ServiceId, link::Role};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use claimant::{Claimant, Claimed, Lost, Told};
pub(crate) use gateway::GatewayRuntime;
pub use gateway_handle::GatewayHandle;
pub(crate) use logic::LogicRuntime;
pub(crate) use logic_accept::Acceptor;
pub use logic_handle::LogicHandle;
pub use redelivery::Redelivery;
pub use trouble::Trouble;

use self::{
    failures::Failures,
    gateway_dial::{Links, Mailboxes},
    logic_accept::LinkServer,
    registry_log::RegistryLog,
    report::{GatewayReport, LogicReport},
    trouble::TroubleCell,
};
use crate::{
    ContainerConfig, Error, PeerId, ServerInfo,
    claim::{ClashLog, claim_of},
    forward::Forwarder,
    link::{Credentials, Identity},
    metrics,
    selector::Selector,
};

/// How often the cores are told that time has passed, and lanes are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Events that may wait for a core. Overflow policy: the sender waits.
const MAILBOX: usize = 1024;
/// What links tell of this server's id, and may wait. Overflow policy: dropped, since they tell it again.
const TOLD: usize = 16;
/// How often it is logged that two gateways have one id.
const HELD_LOG: Duration = Duration::from_secs(60);
/// How long a read of the registry may take.
const REGISTRY_READ: Duration = Duration::from_secs(10);

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
    fn identity(&self, role: Role) -> Identity {
        Identity { service: self.info.service.as_str().into(), peer: self.info.peer(), role }
    }

    fn claimant(&self, role: Role, port: u16) -> Claimant {
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

/// Puts a gateway's runtime together.
pub(crate) fn gateway(
    common: Common,
    port: u16,
    protocol: String,
    selector: Arc<dyn Selector>,
) -> (GatewayRuntime, GatewayHandle) {
    let (events_in, events) = tokio::sync::mpsc::channel(MAILBOX);
    let identity = common.identity(Role::Gateway);
    let claimant = common.claimant(Role::Gateway, port);
    let (told_in, told) = tokio::sync::mpsc::channel(TOLD);
    let mailboxes = Mailboxes { events: events_in, told: told_in };
    let links = Arc::new(Links::new(
        Forwarder::new(common.config.forward.clone(), selector),
        common.config.link,
        identity,
        common.credentials,
        mailboxes,
        common.tasks.clone(),
        common.stop.clone(),
    ));
    let report = Arc::new(GatewayReport::new(
        common.info.clone(),
        port,
        links.clone(),
        &common.peer_service,
    ));
    let handle = GatewayHandle { own: common.info.peer(), links: links.clone() };
    let runtime = GatewayRuntime {
        info: common.info,
        config: common.config,
        naming: common.naming,
        logic_service: common.peer_service,
        port,
        protocol,
        health_url: common.health_url,
        events,
        links,
        report,
        registry_log: RegistryLog::default(),
        claimant: Some(claimant),
        told: Some(told),
        lost: Lost::default(),
        clashes: ClashLog::default(),
        tasks: common.tasks,
        stop: common.stop,
    };
    (runtime, handle)
}

/// Puts a logic server's runtime together.
pub(crate) fn logic(
    common: Common,
    listener: TcpListener,
) -> Result<(LogicRuntime, Acceptor, LogicHandle), Error> {
    let port = listener.local_addr().map_err(Error::Listener)?.port();
    let (events_in, events) = tokio::sync::mpsc::channel(MAILBOX);
    let identity = common.identity(Role::Logic);
    let claimant = common.claimant(Role::Logic, port);
    let gateways = Arc::new(logic_links::Gateways::new(common.config.link, events_in.clone()));
    let trouble = TroubleCell::default();
    let report = LogicReport {
        common: report::Common::new(common.info.clone(), port),
        gateways: gateways.clone(),
        events: events_in.clone(),
        trouble: trouble.clone(),
        failures: Failures::default(),
    };
    let failures = report.failures.clone();
    let links = LinkServer {
        identity,
        credentials: common.credentials,
        config: common.config.link,
        gateways: gateways.clone(),
        events: events_in.clone(),
        tasks: common.tasks.clone(),
        stop: common.stop.clone(),
        failures,
        held: Arc::new(LogLimit::every(HELD_LOG)),
    };
    let handle = LogicHandle {
        own: common.info.peer(),
        gateways: gateways.clone(),
        trouble,
        events: events_in.clone(),
    };
    let runtime = LogicRuntime {
        info: common.info,
        config: common.config,
        naming: common.naming,
        gateway_service: common.peer_service,
        port,
        health_url: common.health_url,
        events,
        events_in,
        gateways,
        report: Arc::new(report),
        registry_log: Arc::default(),
        claimant: Some(claimant),
        lost: Lost::default(),
        clashes: ClashLog::default(),
        tasks: common.tasks,
        stop: common.stop,
    };
    Ok((runtime, Acceptor { listener, links }, handle))
}

/// The registry's entry for this process.
fn registration(
    info: &ServerInfo,
    port: u16,
    protocol: &str,
    health_url: Option<&str>,
    state: ServiceState,
) -> ServiceRegistration {
    let mut registration = ServiceRegistration::new(
        info.id.as_str(),
        info.service.clone(),
        info.address.clone(),
        if info.port == 0 { port } else { info.port },
    )
    .with_meta(meta_key::PROTOCOL, protocol)
    .with_meta(meta_key::SERVICE_STATE, state.as_str())
    .with_meta(meta_key::INCARNATION, info.incarnation.to_string());
    registration.tags.clone_from(&info.tags);
    if let Some(url) = health_url {
        registration = registration.with_meta(meta_key::HEALTH_URL, url);
    }
    if !info.zone.is_empty() {
        registration = registration.with_meta(meta_key::ZONE, info.zone.clone());
    }
    if !info.domain.is_empty() {
        registration = registration.with_meta(meta_key::DOMAIN, info.domain.clone());
    }
    if info.weight != 1 {
        registration = registration.with_meta(meta_key::WEIGHT, info.weight.to_string());
    }
    registration
}

/// Which life of which server an entry stands for; `None` for an entry that is not one of ours.
fn peer_of(service: &ServiceRegistration) -> Option<PeerId> {
    service.meta(meta_key::PROTOCOL).filter(|protocol| !protocol.is_empty())?;
    let incarnation = service.meta(meta_key::INCARNATION)?.parse::<Incarnation>().ok()?;
    Some(PeerId { service_id: ServiceId::from(service.id.as_str()), incarnation })
}

/// Entries of other servers that are ours to talk to, one for each id. Of several with one id it is the
/// one that stays, see [`claim`](crate::claim).
fn ours<'a>(
    instances: &'a [Instance],
    own: &ServiceId,
) -> impl Iterator<Item = (PeerId, &'a Instance)> {
    let mut ours: BTreeMap<&str, (PeerId, &Instance)> = BTreeMap::new();
    for instance in instances.iter().filter(|instance| instance.service.id != own.as_str()) {
        let Some(peer) = peer_of(&instance.service) else { continue };
        let claim = claim_of(&instance.service);
        let outranks = |other: &Instance| {
            claim.zip(claim_of(&other.service)).is_some_and(|(claim, other)| claim.outranks(other))
        };
        match ours.entry(&instance.service.id) {
            Entry::Vacant(free) => drop(free.insert((peer, instance))),
            Entry::Occupied(mut taken) if outranks(taken.get().1) => {
                taken.insert((peer, instance));
            }
            Entry::Occupied(_) => {}
        }
    }
    ours.into_values()
}

/// A moment of the wall clock on the clock that the cores use.
fn critical_since(health: Health) -> Option<Instant> {
    let Health::Critical { since } = health else { return None };
    let ago = SystemTime::now().duration_since(since).unwrap_or_default();
    Some(Instant::now().checked_sub(ago).unwrap_or_else(Instant::now))
}

/// Subscribes, however often the registry fails; `None` once stopped.
async fn subscribe(
    naming: &Arc<dyn Naming>,
    service: &str,
    stop: &CancellationToken,
) -> Option<Subscription> {
    let mut backoff = imago_kit::Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let log = registry_log::of_retries();
    loop {
        let subscribed = tokio::select! {
            subscribed = naming.subscribe(service) => subscribed,
            () = stop.cancelled() => return None,
        };
        match subscribed {
            Ok(subscription) => return Some(subscription),
            Err(error) => {
                metrics::registry_error();
                let delay = backoff.next_delay();
                if let Some(more) = log.allow(service) {
                    tracing::warn!(service, %error, ?delay, "cannot read the registry, trying again{more}");
                }
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = stop.cancelled() => return None,
                }
            }
        }
    }
}
