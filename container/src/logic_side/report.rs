//! What the monitor port tells of a running logic server.

use std::{iter, sync::Arc, time::Duration};

use imago_naming::Snapshot;
use imago_proto::ServiceId;
use tokio::sync::mpsc;

use super::{gateways::Gateways, trouble::TroubleCell};
use crate::{
    monitor::{MonitorSource, PeerReport, PeersReport},
    promotion::{Fitness, LogicCore, LogicEvent, LogicPhase},
    runtime::{
        Failures,
        report::{CommonReport, View, add_failures},
    },
};

/// A logic server's report.
pub(crate) struct LogicReport {
    pub(super) common: CommonReport,
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
    /// The gateway dials, so it knows more; what it dials is known here too.
    fn why_not_linked(&self, gateway: &ServiceId) -> Option<String> {
        let failure = self.failures.of(gateway);
        let report = PeerReport { id: gateway.to_string(), failure, ..PeerReport::default() };
        let failed = report.no_link().map_or_else(String::new, |why| format!("; {why}"));
        Some(format!("it is to dial {}{failed}", self.common.address))
    }

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
            return Err("this server waits for no gateway".to_owned());
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
