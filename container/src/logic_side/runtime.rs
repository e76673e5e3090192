//! Runs a logic server: accepts links, promotes, drains.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use imago_naming::{Naming, ServiceRegistration, ServiceState, Snapshot, meta_key};
use imago_proto::{
    ServiceId,
    link::{ServerState, State},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Acceptor, LogicReport, gateways::Gateways};
use crate::{
    ContainerConfig, Error, LogicRole, ServerInfo,
    claim::ClashLog,
    metrics,
    promotion::{Fitness, GatewayRecord, LogicAction, LogicCore, LogicEvent, LogicPhase},
    runtime::{
        Claimant, Claimed, Departure, Lost, Registrar, RegistryLog, TICK, TOLD, Told,
        critical_since, excluded_of, freeze::Pulse, ours, registration, subscribe,
    },
};

/// How long a read of the registry may take.
const REGISTRY_READ: Duration = Duration::from_secs(10);

/// A logic server's container.
pub(crate) struct LogicRuntime {
    pub(crate) info: ServerInfo,
    pub(crate) config: ContainerConfig,
    pub(crate) naming: Arc<dyn Naming>,
    /// Name of the gateways' service.
    pub(crate) gateway_service: String,
    /// Port of the link listener.
    pub(crate) port: u16,
    pub(crate) health_url: Option<String>,
    pub(crate) events: mpsc::Receiver<LogicEvent>,
    pub(crate) events_in: mpsc::Sender<LogicEvent>,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) report: Arc<LogicReport>,
    pub(crate) registry_log: Arc<RegistryLog>,
    /// Taken when it runs.
    pub(crate) claimant: Option<Claimant>,
    pub(crate) lost: Lost,
    pub(crate) clashes: ClashLog,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl LogicRuntime {
    /// Runs until `shutdown`, then drains. Nothing of it is left running after that.
    ///
    /// # Errors
    /// When another server holds the id: at the start, or after a drain.
    pub(crate) async fn run(
        mut self,
        acceptor: Acceptor,
        role: Arc<dyn LogicRole>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        self.gateways.set_role(role.clone());
        self.tasks.spawn(acceptor.run());
        let claimed = match self.claimant.take() {
            Some(claimant) => claimant.claim(&shutdown).await,
            None => Ok(None),
        };
        let ran = match claimed {
            Ok(Some(claimed)) => self.run_claimed(claimed, &*role, &shutdown).await,
            Ok(None) => Ok(()),
            Err(clash) => Err(clash.into()),
        };
        self.events.close();
        self.stop.cancel();
        for link in self.gateways.links() {
            link.close();
        }
        self.tasks.close();
        self.tasks.wait().await;
        ran
    }

    /// From the registration to its end.
    async fn run_claimed(
        &mut self,
        claimed: Claimed,
        role: &dyn LogicRole,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let young = self.entry(ServiceState::Young, &BTreeSet::new());
        let young = young.with_meta(meta_key::GENERATION, claimed.generation().to_string());
        let (registered, registrations) = mpsc::channel(4);
        let registrar =
            Registrar::start(self.naming.clone(), young, registered, &self.tasks, &self.stop);
        let end = shutdown.child_token();
        let (told_in, told) = mpsc::channel(TOLD);
        let kept = claimed.keep(registrar.rewriter(), told, self.lost.clone(), end.clone());
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(kept));

        self.grow(&registrar, registrations, &told_in, &end).await;
        // They are not read any more: senders must not wait for room.
        self.events.close();
        self.report.leave();
        self.drain(role, registrar).await;
        self.lost.get().map_or(Ok(()), |clash| Err(clash.into()))
    }

    fn entry(&self, state: ServiceState, excluded: &BTreeSet<ServiceId>) -> ServiceRegistration {
        let entry =
            registration(&self.info, self.port, "imago-link", self.health_url.as_deref(), state);
        if excluded.is_empty() {
            return entry;
        }
        let ids: Vec<&str> = excluded.iter().map(ServiceId::as_str).collect();
        entry.with_meta(meta_key::EXCLUDED, ids.join(","))
    }

    /// From registration to promotion, and on until `shutdown`.
    async fn grow(
        &mut self,
        registrar: &Registrar,
        mut registrations: mpsc::Receiver<ServiceRegistration>,
        told_in: &mpsc::Sender<Told>,
        shutdown: &CancellationToken,
    ) {
        let mut core = LogicCore::new(self.config.timing);
        tokio::select! {
            _ = registrations.recv() => {}
            () = shutdown.cancelled() => return,
        }
        core.on(LogicEvent::Visible, Instant::now());
        let subscribed = subscribe(&self.naming, &self.gateway_service, shutdown).await;
        let Some(mut subscription) = subscribed else { return };
        let mut snapshot = subscription.current_and_seen();
        let mut tick = tokio::time::interval(TICK);
        let mut event = Some(self.seen(&snapshot));
        let mut warned = Instant::now();
        let mut pulse = Pulse::new(self.config.link.ping_timeout, warned);
        let mut is_linked = false;
        loop {
            if let Some(event) = event.take() {
                let now = Instant::now();
                let woken = pulse.beat(now).map(|still| self.stood_still(still));
                for event in woken.into_iter().chain([event]) {
                    for action in core.on(event, now) {
                        self.act(action, registrar);
                    }
                }
                self.report.update(&core, &snapshot);
            }
            tokio::select! {
                changed = subscription.changed() => {
                    snapshot = changed;
                    event = Some(self.seen(&snapshot));
                }
                Some(entry) = registrations.recv() => {
                    event = flag_of(&entry).map(|excluded| LogicEvent::FlagVisible { excluded });
                }
                Some(told) = self.events.recv() => event = Some(told),
                _ = tick.tick() => {
                    self.gateways.tick();
                    let was_linked = std::mem::replace(&mut is_linked, self.gateways.has_links());
                    if was_linked && !is_linked {
                        // No room: as much was told before.
                        let _ = told_in.try_send(Told::CutOff);
                    }
                    self.warn_when_waiting(&core, &mut warned);
                    event = Some(LogicEvent::Tick);
                }
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Links that are gone on their other side end as soon as something is sent over them.
    fn stood_still(&self, still: Duration) -> LogicEvent {
        metrics::stood_still();
        tracing::warn!(?still, "this process stood still: asking its peers whether they are there");
        self.gateways.doubt();
        LogicEvent::StoodStill(still)
    }

    fn seen(&self, snapshot: &Snapshot) -> LogicEvent {
        self.registry_log.look(snapshot, &self.info.id);
        self.clashes.look(&snapshot.instances);
        self.gateways.set_addresses(&snapshot.instances);
        LogicEvent::Snapshot(gateway_records(&snapshot.instances, &self.info.id))
    }

    fn act(&self, action: LogicAction, registrar: &Registrar) {
        match action {
            LogicAction::RaiseFlag { excluded } => {
                registrar.want(self.entry(ServiceState::Adult, &excluded));
            }
            LogicAction::Reread => {
                self.tasks.spawn(reread(
                    self.naming.clone(),
                    self.gateway_service.clone(),
                    self.info.id.clone(),
                    self.events_in.clone(),
                    self.registry_log.clone(),
                    self.stop.clone(),
                ));
            }
            LogicAction::AnnounceAdult { fitness, excluded } => {
                let links = self.gateways.links();
                let linked = links.iter().map(|link| link.opened.elapsed()).max();
                tracing::info!(
                    after = ?self.report.age(),
                    ?linked,
                    links = links.len(),
                    excluded = ?excluded,
                    "adult: taking traffic"
                );
                metrics::promoted(self.report.age(), linked);
                if let Some(role) = self.gateways.role() {
                    role.promoted();
                }
                self.announce(fitness, &excluded);
            }
            LogicAction::AnnounceFitness { fitness, excluded } => {
                tracing::info!(?fitness, "telling the gateways");
                self.announce(fitness, &excluded);
            }
            LogicAction::Excluded(gateways) => tracing::warn!(
                ?gateways,
                "promoting without gateways that have no link with us; they fence themselves until they reach us"
            ),
        }
    }

    fn announce(&self, fitness: Fitness, excluded: &BTreeSet<ServiceId>) {
        let excluded = excluded.iter().map(ToString::to_string).collect();
        self.gateways.announce(&State { state: fitness.state().into(), excluded });
    }

    fn warn_when_waiting(&self, core: &LogicCore, warned: &mut Instant) {
        let now = Instant::now();
        if core.phase() != LogicPhase::Young || now - *warned < self.config.warn_after {
            return;
        }
        *warned = now;
        for (gateway, since) in core.waiting_for() {
            tracing::warn!(%gateway, since = ?(now - *since), "still young: waiting for this gateway's link");
        }
    }

    /// Leaves without losing anything (docs/promotion.md, "Leaving").
    async fn drain(&self, role: &dyn LogicRole, registrar: Registrar) {
        tracing::info!("leaving: no new requests, finishing what is in flight");
        let departure = self.lost.departure();
        if departure == Departure::Leaves {
            registrar.want(self.entry(ServiceState::Leaving, &BTreeSet::new()));
        }
        self.gateways.announce(&State { state: ServerState::Leaving.into(), excluded: Vec::new() });
        let drained = timeout(self.config.drain_timeout, async {
            self.gateways.drained().await;
            role.idle().await;
            self.gateways.flushed().await;
        });
        if drained.await.is_err() {
            tracing::warn!(timeout = ?self.config.drain_timeout, "drain took too long, leaving anyway");
        }
        registrar.leave(departure).await;
    }
}

/// The exclusions of an entry whose flag is up.
fn flag_of(entry: &ServiceRegistration) -> Option<BTreeSet<ServiceId>> {
    (entry.state() == ServiceState::Adult).then(|| excluded_of(entry).collect())
}

fn gateway_records(instances: &[imago_naming::Instance], own: &ServiceId) -> Vec<GatewayRecord> {
    ours(instances, own)
        .map(|(peer, instance)| GatewayRecord {
            peer,
            leaving: instance.service.state() == ServiceState::Leaving,
            critical_since: critical_since(instance.health),
        })
        .collect()
}

/// The look after the flag. A failed one is told after a pause, so that it is not tried in a spin.
async fn reread(
    naming: Arc<dyn Naming>,
    service: String,
    own: ServiceId,
    events: mpsc::Sender<LogicEvent>,
    log: Arc<RegistryLog>,
    stop: CancellationToken,
) {
    let read = tokio::select! {
        read = timeout(REGISTRY_READ, naming.instances(&service)) => read,
        () = stop.cancelled() => return,
    };
    let gateways = match read {
        Ok(Ok(instances)) => Some(gateway_records(&instances, &own)),
        failed => {
            let error = failed.ok().and_then(Result::err);
            let error = error.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
            log.failed(&error, "cannot read the gateways once more before promotion");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = stop.cancelled() => return,
            }
            None
        }
    };
    // The runtime is gone only when the server ends.
    let _ = events.send(LogicEvent::Reread(gateways)).await;
}
