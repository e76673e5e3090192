//! What the monitor port tells of a running container.

use std::{
    collections::BTreeMap,
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use imago_kit::authority;
use imago_naming::{Health, Instance, ServiceRegistration, Snapshot, meta_key};
use imago_proto::{ServiceId, link::ServerState};
use tokio::sync::mpsc;

mod why;

use self::why::add_failures;
use super::{
    failures::Failures, gateway_dial::Links, logic_links::Gateways, peer_of,
    registry_log::in_maintenance, trouble::TroubleCell,
};
use crate::{
    ServerInfo,
    link::Link,
    monitor::{MonitorSource, PeerReport, PeersReport, SelfReport, Waiting},
    promotion::{Fitness, GatewayCore, GatewayPhase, LogicCore, LogicEvent, LogicPhase},
};

/// Gateways that a registered logic server was promoted without.
pub(super) fn excluded_of(entry: &ServiceRegistration) -> impl Iterator<Item = ServiceId> {
    let ids = entry.meta(meta_key::EXCLUDED).unwrap_or_default().split(',');
    ids.filter(|id| !id.is_empty()).map(ServiceId::from)
}

/// The core's state after its last event.
#[derive(Debug)]
struct View {
    state: &'static str,
    knows_peers: bool,
    waiting: BTreeMap<ServiceId, Instant>,
    excluded: Vec<String>,
    /// Since when a gateway has no server that takes requests.
    alone: Option<Instant>,
    snapshot: Snapshot,
}

/// What both kinds of server tell.
pub(super) struct Common {
    info: ServerInfo,
    address: String,
    started: Instant,
    view: Mutex<View>,
}

impl Common {
    pub(super) fn new(info: ServerInfo, port: u16) -> Self {
        let port = if info.port == 0 { port } else { info.port };
        let address = authority(&info.address, port);
        let view = View {
            state: "young",
            knows_peers: false,
            waiting: BTreeMap::new(),
            excluded: Vec::new(),
            alone: None,
            snapshot: Snapshot::default(),
        };
        Self { info, address, started: Instant::now(), view: Mutex::new(view) }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self, role: &str, sessions: Option<u64>, trouble: Option<String>) -> SelfReport {
        let view = self.view();
        let now = Instant::now();
        SelfReport {
            service: self.info.service.clone(),
            id: self.info.id.to_string(),
            incarnation: self.info.incarnation.to_string(),
            role: role.to_owned(),
            state: view.state.to_owned(),
            zone: self.info.zone.clone(),
            address: self.address.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            waiting_for: view
                .waiting
                .iter()
                .map(|(id, since)| Waiting {
                    id: id.to_string(),
                    since_seconds: now.saturating_duration_since(*since).as_secs_f64(),
                })
                .collect(),
            excluded: view.excluded.clone(),
            sessions,
            trouble,
            registry_error: view.snapshot.error.as_deref().map(ToOwned::to_owned),
        }
    }

    /// Registered peers, and linked ones that the registry does not know.
    fn peers(&self, links: &[Arc<Link>]) -> Vec<PeerReport> {
        let snapshot = self.view().snapshot.clone();
        let mut peers: BTreeMap<String, PeerReport> = snapshot
            .instances
            .iter()
            .filter(|instance| instance.service.id != self.info.id.as_str())
            .map(|instance| (instance.service.id.clone(), registered(instance)))
            .collect();
        for link in links {
            let peer =
                peers.entry(link.peer.service_id.to_string()).or_insert_with(|| PeerReport {
                    id: link.peer.service_id.to_string(),
                    health: "unregistered".to_owned(),
                    ..PeerReport::default()
                });
            add_link(peer, link);
        }
        peers.into_values().collect()
    }

    /// Reasons for not being ready that both kinds of server share; `detail` is what more is known
    /// of a peer that is waited for.
    fn reasons(&self, detail: impl Fn(&ServiceId) -> Option<String>) -> Vec<String> {
        let (knows_peers, waiting) = {
            let view = self.view();
            (view.knows_peers, view.waiting.clone())
        };
        let mut reasons = Vec::new();
        if !knows_peers {
            reasons.push("waiting for the registry: see the log for its errors".to_owned());
        }
        for (id, since) in &waiting {
            let since = since.elapsed().as_secs_f64();
            let detail = detail(id).map_or_else(String::new, |detail| format!(": {detail}"));
            reasons.push(format!("waiting for the link with {id} for {since:.1} s{detail}"));
        }
        reasons
    }
}

fn registered(instance: &Instance) -> PeerReport {
    let service = &instance.service;
    let monitor = service.meta(meta_key::HEALTH_URL).and_then(|url| url.strip_suffix("/health"));
    PeerReport {
        service: service.name.clone(),
        id: service.id.clone(),
        incarnation: peer_of(service).map(|peer| peer.incarnation.to_string()).unwrap_or_default(),
        state: service.state().as_str().to_owned(),
        address: authority(&service.address, service.port),
        monitor: monitor.map(ToOwned::to_owned),
        health: match instance.health {
            Health::Passing => "passing",
            Health::Warning => "warning",
            Health::Maintenance => "maintenance",
            Health::Critical { .. } => "critical",
        }
        .to_owned(),
        ..PeerReport::default()
    }
}

fn add_link(peer: &mut PeerReport, link: &Link) {
    let (frames, bytes) = link.queue().depth();
    peer.incarnation = link.peer.incarnation.to_string();
    peer.state = match link.state() {
        ServerState::Young => "young",
        ServerState::Adult => "adult",
        ServerState::Leaving => "leaving",
        ServerState::Unfit => "unfit",
    }
    .to_owned();
    peer.linked = true;
    peer.synced = link.is_synced();
    peer.link_age_seconds = Some(link.opened.elapsed().as_secs_f64());
    (peer.queue_frames, peer.queue_bytes) = (frames, bytes);
    peer.pending = link.pending();
}

/// A logic server's report.
pub(crate) struct LogicReport {
    pub(super) common: Common,
    pub(super) gateways: Arc<Gateways>,
    pub(super) events: mpsc::Sender<LogicEvent>,
    pub(super) trouble: TroubleCell,
    pub(super) failures: Failures,
}

impl LogicReport {
    /// Time since the start.
    pub(super) fn age(&self) -> Duration {
        self.common.started.elapsed()
    }

    pub(super) fn update(&self, core: &LogicCore, snapshot: &Snapshot) {
        *self.common.view() = View {
            state: match (core.phase(), core.fitness()) {
                (LogicPhase::Young, _) => "young",
                (LogicPhase::Adult, Fitness::Fit) => "adult",
                (LogicPhase::Adult, Fitness::Unfit) => "unfit",
                (LogicPhase::Leaving, _) => "leaving",
            },
            knows_peers: core.knows_gateways(),
            waiting: core.waiting_for().clone(),
            excluded: core.excluded().iter().map(ToString::to_string).collect(),
            alone: None,
            snapshot: snapshot.clone(),
        };
    }

    pub(super) fn leave(&self) {
        self.common.view().state = "leaving";
    }
}

impl LogicReport {
    fn trouble(&self) -> Option<String> {
        self.trouble.get().map(|trouble| trouble.text())
    }
}

impl MonitorSource for LogicReport {
    fn ready(&self) -> Result<(), Vec<String>> {
        let state = self.common.view().state;
        if state == "adult" {
            return Ok(());
        }
        let mut reasons = match (state, self.trouble()) {
            ("unfit", Some(trouble)) => return Err(vec![format!("unfit: {trouble}")]),
            (state, trouble) => {
                let reasons = iter::once(format!("{state}: takes no traffic"));
                reasons.chain(trouble).collect::<Vec<_>>()
            }
        };
        if state == "young" {
            reasons.extend(self.common.reasons(|gateway| self.why_not_linked(gateway)));
        }
        Err(reasons)
    }

    fn peers(&self) -> PeersReport {
        let mut peers = self.common.peers(&self.gateways.links());
        for peer in peers.iter_mut().filter(|peer| !peer.linked) {
            let parked = self.gateways.queue_depth(&ServiceId::from(peer.id.as_str()));
            (peer.queue_frames, peer.queue_bytes) = parked;
        }
        add_failures(&mut peers, &self.failures);
        PeersReport { own: self.common.own("logic", None, self.trouble()), peers }
    }

    fn exclude(&self, gateway: &str) -> Result<(), String> {
        let id = ServiceId::from(gateway);
        if self.common.view().state != "young" {
            return Err("this server waits for nobody".to_owned());
        }
        if self.gateways.link_with(&id).is_some() {
            return Err(format!("{gateway} is linked: there is no need to exclude it"));
        }
        if !self.common.view().waiting.contains_key(&id) {
            return Err(format!("{gateway} is not waited for, see /ready"));
        }
        self.events.try_send(LogicEvent::Exclude(id)).map_err(|_| "busy, try again".to_owned())
    }
}

/// A gateway's report.
pub(crate) struct GatewayReport {
    common: Common,
    links: Arc<Links>,
    /// Name of the logic servers' service.
    logic_service: String,
    /// An operator keeps new clients away, as the registry says.
    in_maintenance: AtomicBool,
}

impl GatewayReport {
    pub(super) fn new(info: ServerInfo, port: u16, links: Arc<Links>, service: &str) -> Self {
        let (common, logic_service) = (Common::new(info, port), service.to_owned());
        Self { common, links, logic_service, in_maintenance: AtomicBool::new(false) }
    }

    /// Notes whether this gateway is among those in maintenance, and logs where that changes.
    pub(super) fn set_maintenance(&self, instances: &[Instance]) {
        let own = self.common.info.id.as_str();
        let is_now = in_maintenance(instances).any(|instance| instance.service.id == own);
        if self.in_maintenance.swap(is_now, Ordering::SeqCst) == is_now {
            return;
        }
        match is_now {
            true => tracing::info!(
                "maintenance begins for this gateway: not ready for new clients, serving those that it has"
            ),
            false => tracing::info!("maintenance ends for this gateway"),
        }
    }

    /// Time since the start.
    pub(super) fn age(&self) -> Duration {
        self.common.started.elapsed()
    }

    pub(super) fn update(&self, core: &GatewayCore, snapshot: &Snapshot) {
        *self.common.view() = View {
            state: match core.phase() {
                GatewayPhase::Young => "young",
                GatewayPhase::Adult => "adult",
                GatewayPhase::Fenced => "fenced",
                GatewayPhase::Isolated => "isolated",
                GatewayPhase::Leaving => "leaving",
            },
            knows_peers: core.knows_servers(),
            waiting: core.waiting_for().clone(),
            excluded: Vec::new(),
            alone: core.alone_since(),
            snapshot: snapshot.clone(),
        };
    }

    pub(super) fn leave(&self) {
        self.common.view().state = "leaving";
    }
}

impl GatewayReport {
    /// What keeps it from serving the clients that it has.
    fn trouble(&self) -> Option<String> {
        let view = self.common.view();
        let since = view.alone.filter(|_| ["adult", "isolated"].contains(&view.state))?;
        Some(format!("no logic server linked for {:.1} s", since.elapsed().as_secs_f64()))
    }
}

impl MonitorSource for GatewayReport {
    fn ready(&self) -> Result<(), Vec<String>> {
        let state = self.common.view().state;
        let mut reasons = match (state, self.trouble()) {
            ("adult", trouble) => trouble.into_iter().collect(),
            ("isolated", Some(trouble)) => {
                vec![format!("isolated: {trouble}, clients are handed over")]
            }
            (state, _) => vec![format!("{state}: accepts no clients")],
        };
        if self.in_maintenance.load(Ordering::SeqCst) {
            reasons.push("maintenance: an operator keeps new clients away".to_owned());
        }
        if state != "leaving" {
            let peers = self.linked_and_not();
            reasons.extend(
                self.common.reasons(|server| {
                    peers.iter().find(|peer| peer.id == server.as_str())?.no_link()
                }),
            );
            // Right after the wake, this may be asked before the first beat.
            self.links.beat(Instant::now());
            if let Some(still) = self.links.unconfirmed() {
                let still = still.as_secs_f64();
                reasons.push(format!(
                    "stood still for {still:.1} s, and no logic server has answered since"
                ));
            }
        }
        let needs_one = !["adult", "leaving"].contains(&state) || self.trouble().is_some();
        if needs_one && self.common.view().knows_peers {
            reasons.extend(self.why_none_is_adult());
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn peers(&self) -> PeersReport {
        let sessions = Some(self.links.roster.len() as u64);
        let own = self.common.own("gateway", sessions, self.trouble());
        PeersReport { own, peers: self.linked_and_not() }
    }

    fn exclude(&self, _: &str) -> Result<(), String> {
        Err("this is a gateway: ask the logic server that waits for the gateway".to_owned())
    }
}
