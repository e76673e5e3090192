//! What the monitor port tells of a running gateway.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use imago_naming::{Instance, Snapshot};

use super::links::Links;
use crate::{
    ServerInfo,
    monitor::{MonitorSource, PeersReport},
    promotion::{GatewayCore, GatewayPhase},
    runtime::{
        in_maintenance,
        report::{CommonReport, View},
    },
};

/// A gateway's report.
pub(crate) struct GatewayReport {
    pub(super) common: CommonReport,
    pub(super) links: Arc<Links>,
    /// Name of the logic servers' service.
    pub(super) logic_service: String,
    /// An operator keeps new clients away, as the registry says.
    in_maintenance: AtomicBool,
}

impl GatewayReport {
    pub(super) fn new(info: ServerInfo, port: u16, links: Arc<Links>, service: &str) -> Self {
        let (common, logic_service) = (CommonReport::new(info, port), service.to_owned());
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
