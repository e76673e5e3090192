//! Entries of the registry: a server's own, and those of the servers that it works with.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use imago_naming::{
    Health, Instance, Naming, ServiceRegistration, ServiceState, Subscription, meta_key,
};
use imago_proto::{Incarnation, ServiceId};
use tokio_util::sync::CancellationToken;

use super::registry_log;
use crate::{PeerId, ServerInfo, claim::claim_of, metrics};

/// The registry's entry for this process.
pub(crate) fn registration(
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
pub(crate) fn peer_of(service: &ServiceRegistration) -> Option<PeerId> {
    service.meta(meta_key::PROTOCOL).filter(|protocol| !protocol.is_empty())?;
    let incarnation = service.meta(meta_key::INCARNATION)?.parse::<Incarnation>().ok()?;
    Some(PeerId { service_id: ServiceId::from(service.id.as_str()), incarnation })
}

/// Entries of other servers that are ours to talk to, one for each id. Of several with one id it is the
/// one that stays, see [`claim`](crate::claim).
pub(crate) fn ours<'a>(
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
pub(crate) fn critical_since(health: Health) -> Option<Instant> {
    let Health::Critical { since } = health else { return None };
    let ago = SystemTime::now().duration_since(since).unwrap_or_default();
    Some(Instant::now().checked_sub(ago).unwrap_or_else(Instant::now))
}

/// Subscribes, however often the registry fails; `None` once stopped.
pub(crate) async fn subscribe(
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

/// Gateways that a registered logic server was promoted without.
pub(crate) fn excluded_of(entry: &ServiceRegistration) -> impl Iterator<Item = ServiceId> {
    let ids = entry.meta(meta_key::EXCLUDED).unwrap_or_default().split(',');
    ids.filter(|id| !id.is_empty()).map(ServiceId::from)
}
