//! What the monitor port tells of any running container.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use imago_kit::authority;
use imago_naming::{Health, Instance, Snapshot, meta_key};
use imago_proto::{ServiceId, link::ServerState};
use parking_lot::{Mutex, MutexGuard};

use super::{Failures, peer_of};
use crate::{
    ServerInfo,
    link::Link,
    monitor::{PeerReport, SelfReport, Waiting},
};

/// The core's state after its last event.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) state: &'static str,
    pub(crate) knows_peers: bool,
    pub(crate) waiting: BTreeMap<ServiceId, Instant>,
    pub(crate) excluded: Vec<String>,
    /// Since when a gateway has no server that takes requests.
    pub(crate) alone: Option<Instant>,
    pub(crate) snapshot: Snapshot,
}

/// What both kinds of server tell.
pub(crate) struct CommonReport {
    pub(crate) info: ServerInfo,
    pub(crate) address: String,
    pub(crate) started: Instant,
    view: Mutex<View>,
}

impl CommonReport {
    pub(crate) fn new(info: ServerInfo, port: u16) -> Self {
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

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock()
    }

    pub(crate) fn own(
        &self,
        role: &str,
        sessions: Option<u64>,
        trouble: Option<String>,
    ) -> SelfReport {
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
    pub(crate) fn peers(&self, links: &[Arc<Link>]) -> Vec<PeerReport> {
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
    pub(crate) fn reasons(&self, detail: impl Fn(&ServiceId) -> Option<String>) -> Vec<String> {
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

/// Adds to peers without a link why there is none.
pub(crate) fn add_failures(peers: &mut [PeerReport], failures: &Failures) {
    for peer in peers.iter_mut().filter(|peer| !peer.linked) {
        peer.failure = failures.of(&ServiceId::from(peer.id.as_str()));
    }
}
