//! Runs a gateway's side of the cluster: registration, dialling, promotion, drain.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use imago_naming::{
    Instance, Naming, ServiceRegistration, ServiceState, Snapshot, Subscription, meta_key,
};
use imago_proto::{
    ServiceId,
    link::{ServerState, State},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    GatewayReport,
    dial::Place,
    links::{Links, Target},
};
use crate::{
    ContainerConfig, Error, GatewayRole, ServerInfo,
    claim::ClashLog,
    link::Link,
    metrics,
    promotion::{GatewayAction, GatewayCore, GatewayEvent, GatewayPhase, LogicRecord},
    runtime::{
        Claimant, Claimed, Departure, Lost, Registrar, RegistryLog, TICK, Told, critical_since,
        excluded_of, freeze::Pulse, in_maintenance, ours, registration, subscribe,
    },
};

/// How much longer than it was told a role may take to drain.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long a closing link may take to hand the last session changes to its socket.
const FLUSH: Duration = Duration::from_secs(1);

/// A gateway's container.
pub(crate) struct GatewayRuntime {
    pub(crate) info: ServerInfo,
    pub(crate) config: ContainerConfig,
    pub(crate) naming: Arc<dyn Naming>,
    /// Name of the logic servers' service.
    pub(crate) logic_service: String,
    /// Port of the first client listener.
    pub(crate) port: u16,
    /// What the clients' listeners speak, for example `ws,tcp`.
    pub(crate) protocol: String,
    pub(crate) health_url: Option<String>,
    pub(crate) events: mpsc::Receiver<GatewayEvent>,
    pub(crate) links: Arc<Links>,
    pub(crate) report: Arc<GatewayReport>,
    pub(crate) registry_log: RegistryLog,
    /// Taken when it runs.
    pub(crate) claimant: Option<Claimant>,
    /// What links tell of this gateway's id. Taken when it runs.
    pub(crate) told: Option<mpsc::Receiver<Told>>,
    pub(crate) lost: Lost,
    pub(crate) clashes: ClashLog,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl GatewayRuntime {
    /// Runs until `shutdown`, then drains. Nothing of it is left running after that.
    ///
    /// # Errors
    /// When another server holds the id: at the start, or after a drain.
    pub(crate) async fn run(
        mut self,
        role: Arc<dyn GatewayRole>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        self.links.set_role(role.clone());
        let claimed = match self.claimant.take() {
            Some(claimant) => claimant.claim(&shutdown).await,
            None => Ok(None),
        };
        let ran = match claimed {
            Ok(Some(claimed)) => self.run_claimed(claimed, &*role, &shutdown).await,
            Ok(None) => Ok(()),
            Err(clash) => Err(clash.into()),
        };
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        ran
    }

    /// From the registration to its end.
    async fn run_claimed(
        &mut self,
        claimed: Claimed,
        role: &dyn GatewayRole,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let (registered, registrations) = mpsc::channel(4);
        let young = self.entry(ServiceState::Young);
        let young = young.with_meta(meta_key::GENERATION, claimed.generation().to_string());
        let registrar =
            Registrar::start(self.naming.clone(), young, registered, &self.tasks, &self.stop);
        self.tasks.spawn(tick_forwarder(self.links.clone(), self.stop.clone()));
        let end = shutdown.child_token();
        if let Some(told) = self.told.take() {
            let kept = claimed.keep(registrar.rewriter(), told, self.lost.clone(), end.clone());
            self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(kept));
        }

        let mut core = GatewayCore::new(self.info.id.clone(), self.config.timing);
        let subscription = self.grow(&mut core, &registrar, registrations, role, &end).await;
        core.on(GatewayEvent::Leave, Instant::now());
        self.report.leave();
        self.drain(core, subscription, registrar, role).await;
        self.lost.get().map_or(Ok(()), |clash| Err(clash.into()))
    }

    fn entry(&self, state: ServiceState) -> ServiceRegistration {
        registration(&self.info, self.port, &self.protocol, self.health_url.as_deref(), state)
    }

    /// From registration to promotion, and on until `shutdown`.
    async fn grow(
        &mut self,
        core: &mut GatewayCore,
        registrar: &Registrar,
        mut registrations: mpsc::Receiver<ServiceRegistration>,
        role: &dyn GatewayRole,
        shutdown: &CancellationToken,
    ) -> Option<Subscription> {
        tokio::select! {
            _ = registrations.recv() => {}
            () = shutdown.cancelled() => return None,
        }
        core.on(GatewayEvent::Visible, Instant::now());
        self.tasks.spawn(follow_own(
            self.naming.clone(),
            self.info.service.clone(),
            self.report.clone(),
            self.stop.clone(),
        ));
        let mut subscription = subscribe(&self.naming, &self.logic_service, shutdown).await?;
        let mut snapshot = subscription.current_and_seen();
        let mut tick = tokio::time::interval(TICK);
        let mut event = Some(self.seen(&snapshot));
        let mut warned = Instant::now();
        let mut pulse = Pulse::new(self.config.link.ping_timeout, warned);
        loop {
            if let Some(event) = event.take() {
                let now = Instant::now();
                let woken = pulse.beat(now).map(GatewayEvent::StoodStill);
                for event in woken.into_iter().chain([event]) {
                    for action in core.on(event, now) {
                        self.act(action, &snapshot, registrar, role);
                    }
                }
                self.report.update(core, &snapshot);
            }
            tokio::select! {
                changed = subscription.changed() => {
                    snapshot = changed;
                    event = Some(self.seen(&snapshot));
                }
                // Only the first registration matters; the channel must be emptied all the same.
                Some(_) = registrations.recv() => {}
                Some(told) = self.events.recv() => event = Some(told),
                _ = tick.tick() => {
                    self.warn_when_waiting(core, &mut warned);
                    event = Some(GatewayEvent::Tick);
                }
                () = shutdown.cancelled() => return Some(subscription),
            }
        }
    }

    fn seen(&self, snapshot: &Snapshot) -> GatewayEvent {
        self.registry_log.look(snapshot, &self.info.id);
        self.clashes.look(&snapshot.instances);
        let resting = in_maintenance(&snapshot.instances);
        self.links.rest(resting.map(|it| ServiceId::from(it.service.id.as_str())).collect());
        let records = logic_records(&snapshot.instances, &self.info.id);
        match snapshot.error {
            None => GatewayEvent::Snapshot(records),
            Some(_) => GatewayEvent::StaleSnapshot(records),
        }
    }

    fn act(
        &self,
        action: GatewayAction,
        snapshot: &Snapshot,
        registrar: &Registrar,
        role: &dyn GatewayRole,
    ) {
        match action {
            GatewayAction::Dial(peer) => {
                let found = ours(&snapshot.instances, &self.info.id).find(|(id, _)| *id == peer);
                if let Some((peer, instance)) = found {
                    self.links.dial(target(peer, instance));
                }
            }
            GatewayAction::StopDialling(server) => self.links.stop_dialling(&server),
            GatewayAction::CloseStale(peer) => {
                if let Some(link) =
                    self.links.get(&peer.service_id).filter(|link| link.peer == peer)
                {
                    tracing::info!(%peer, "server was replaced by a new life, closing its link");
                    link.close();
                }
            }
            GatewayAction::OpenDoors => self.open_doors(registrar, role),
            GatewayAction::Fence(servers) => {
                tracing::warn!(
                    ?servers,
                    "fenced: these logic servers work without this gateway; handing its clients over until it reaches them"
                );
                metrics::fenced();
                role.fence();
                registrar.want(self.entry(ServiceState::Young));
            }
            GatewayAction::Isolate => {
                let after = self.config.timing.isolated;
                tracing::warn!(
                    ?after,
                    "isolated: no logic server linked; handing the clients over until one is"
                );
                metrics::isolated();
                self.links.cut_off();
                role.fence();
                registrar.want(self.entry(ServiceState::Young));
            }
            GatewayAction::Redeliver => role.owed(&[], self.config.redeliver_jitter),
            GatewayAction::Vanished(server) => {
                metrics::registry_vanished();
                self.registry_log.vanished(&server);
            }
        }
    }

    fn open_doors(&self, registrar: &Registrar, role: &dyn GatewayRole) {
        let links = self.links.all();
        let linked = links.iter().map(|link| link.opened.elapsed()).max();
        tracing::info!(
            after = ?self.report.age(),
            ?linked,
            links = links.len(),
            "adult: accepting clients"
        );
        metrics::promoted(self.report.age(), linked);
        role.open_doors();
        self.links.announce(&State { state: ServerState::Adult.into(), excluded: Vec::new() });
        registrar.want(self.entry(ServiceState::Adult));
    }

    fn warn_when_waiting(&self, core: &GatewayCore, warned: &mut Instant) {
        let now = Instant::now();
        if now - *warned < self.config.warn_after {
            return;
        }
        *warned = now;
        let is_young = core.phase() == GatewayPhase::Young;
        for (server, since) in core.waiting_for() {
            let since = now - *since;
            if is_young {
                tracing::warn!(%server, ?since, "still young: waiting for the link with this logic server");
            } else {
                tracing::warn!(%server, ?since, "degraded: no link with this logic server");
            }
        }
        if is_young && core.waiting_for().is_empty() && core.knows_servers() {
            for why in self.report.why_none_is_adult() {
                tracing::warn!(why, "still young: no logic server to work with");
            }
        }
    }

    /// Leaves without losing anything (docs/promotion.md, "Leaving"). Links and their events are
    /// served meanwhile.
    async fn drain(
        &mut self,
        mut core: GatewayCore,
        subscription: Option<Subscription>,
        registrar: Registrar,
        role: &dyn GatewayRole,
    ) {
        tracing::info!("leaving: accepting nobody, handing the clients over");
        let departure = self.lost.departure();
        if departure == Departure::Leaves {
            registrar.want(self.entry(ServiceState::Leaving));
        }
        self.links.announce(&State { state: ServerState::Leaving.into(), excluded: Vec::new() });
        let snapshot = subscription.as_ref().map(Subscription::current).unwrap_or_default();
        let within = self.config.drain_timeout;
        let drained = timeout(within + DRAIN_GRACE, role.drain(within));
        tokio::pin!(drained);
        let mut pending = Vec::new();
        loop {
            tokio::select! {
                drained = &mut drained => {
                    if drained.is_err() {
                        tracing::warn!(?within, "clients are still there, leaving anyway");
                    }
                    break;
                }
                Some(event) = self.events.recv() => pending.extend(core.on(event, Instant::now())),
            }
            for action in pending.drain(..) {
                self.act(action, &snapshot, &registrar, role);
            }
        }
        // They are not read any more: senders must not wait for room.
        self.events.close();
        registrar.leave(departure).await;
        let links = self.links.all();
        join_all(links.iter().map(|link| flush_and_close(link))).await;
    }
}

/// The last session changes still go out.
async fn flush_and_close(link: &Link) {
    let flushed = timeout(FLUSH, link.queue().flushed());
    tokio::select! {
        _ = flushed => {}
        () = link.closed() => {}
    }
    link.close();
}

fn target(peer: crate::PeerId, instance: &Instance) -> Target {
    let service = &instance.service;
    let weight = service.meta(meta_key::WEIGHT).and_then(|weight| weight.parse().ok());
    Target {
        peer,
        place: Place { host: service.address.clone(), port: service.port },
        zone: service.meta(meta_key::ZONE).unwrap_or_default().into(),
        weight: weight.unwrap_or(1),
    }
}

fn logic_records(instances: &[Instance], own: &ServiceId) -> Vec<LogicRecord> {
    ours(instances, own)
        .map(|(peer, instance)| LogicRecord {
            peer,
            flag_up: instance.service.state() == ServiceState::Adult,
            leaving: instance.service.state() == ServiceState::Leaving,
            critical_since: critical_since(instance.health),
            excluded: excluded_of(&instance.service).collect(),
        })
        .collect()
}

/// Follows the gateway's own entry: its maintenance is told to the gateway by the registry alone.
async fn follow_own(
    naming: Arc<dyn Naming>,
    service: String,
    report: Arc<GatewayReport>,
    stop: CancellationToken,
) {
    let Some(mut subscription) = subscribe(&naming, &service, &stop).await else { return };
    let mut snapshot = subscription.current_and_seen();
    loop {
        report.set_maintenance(&snapshot.instances);
        snapshot = tokio::select! {
            changed = subscription.changed() => changed,
            () = stop.cancelled() => return,
        };
    }
}

async fn tick_forwarder(links: Arc<Links>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                links.beat(Instant::now());
                links.forwarder.tick();
            }
            () = stop.cancelled() => return,
        }
    }
}
