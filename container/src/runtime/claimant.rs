//! Claims a server's id before it registers, and watches that it keeps it: the shell around
//! [`ClaimCore`].

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use imago_kit::authority;
use imago_naming::{Naming, Snapshot, Subscription};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    TICK,
    freeze::Pulse,
    registrar::{Departure, Rewriter},
    subscribe,
};
use crate::{
    ServerInfo,
    claim::{Claim, ClaimCore, Clash, Listed, Prober, Refusal, Rival, Step, is_alive},
    link::{Credentials, Identity},
};

/// A process that stands still for longer may have been taken for dead: a quarter of the time that it has
/// to answer those who ask.
const STILL: Duration = Duration::from_millis(500);
/// How often a server looks whether the one that leaves is gone.
const LEAVING_LOOK: Duration = Duration::from_millis(250);
/// How much longer than it may drain a leaving server is waited for.
const LEAVING_GRACE: Duration = Duration::from_secs(5);

/// What links tell of the id.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// A peer holds a link with another life of it.
    Refused(Refusal),
    /// No peer can be reached.
    CutOff,
}

/// Who claims, and where.
pub(crate) struct Claimant {
    pub(crate) info: ServerInfo,
    pub(crate) port: u16,
    pub(crate) naming: Arc<dyn Naming>,
    pub(crate) identity: Identity,
    pub(crate) credentials: Credentials,
    pub(crate) drain_timeout: Duration,
}

/// An id that no other living process holds, as far as could be found out.
pub(crate) struct Claimed {
    claimant: Claimant,
    subscription: Subscription,
    core: ClaimCore,
}

/// The clash that a server ends of, once there is one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost(Arc<OnceLock<Clash>>);

// === impl Lost ===

impl Lost {
    pub(crate) fn get(&self) -> Option<Clash> {
        self.0.get().cloned()
    }

    /// How the server's entry is taken out.
    pub(crate) fn departure(&self) -> Departure {
        if self.0.get().is_some() { Departure::LosesId } else { Departure::Leaves }
    }
}

// === impl Claimant ===

impl Claimant {
    /// Reads what stands under the id, and asks whether it lives. One that is leaving is waited for.
    /// `None` once stopped.
    ///
    /// # Errors
    /// When another server lives under the id.
    pub(crate) async fn claim(self, stop: &CancellationToken) -> Result<Option<Claimed>, Clash> {
        let subscribed = subscribe(&self.naming, &self.info.service, stop).await;
        let Some(mut subscription) = subscribed else { return Ok(None) };
        let patience = Instant::now() + self.drain_timeout + LEAVING_GRACE;
        loop {
            let listed = self.listed(&subscription.current_and_seen());
            let living = tokio::select! {
                living = self.living(&listed) => living,
                () = stop.cancelled() => return Ok(None),
            };
            let Some(rival) = living else {
                let core = ClaimCore::new(self.info.incarnation, &listed.rivals);
                return Ok(Some(Claimed { claimant: self, subscription, core }));
            };
            if !rival.is_leaving || Instant::now() > patience {
                return Err(self.clash(rival));
            }
            tracing::info!(
                service = %self.info.id, leaving = %rival.claim.incarnation, address = rival.address,
                "another server of this id is leaving: waiting for its end"
            );
            tokio::select! {
                () = tokio::time::sleep(LEAVING_LOOK) => {}
                () = stop.cancelled() => return Ok(None),
            }
        }
    }

    fn listed(&self, snapshot: &Snapshot) -> Listed {
        Listed::of(&snapshot.instances, &self.info.id, self.info.incarnation)
    }

    /// A rival that answers, one that stays before one that leaves.
    async fn living(&self, listed: &Listed) -> Option<Rival> {
        let prober = Prober { identity: &self.identity, credentials: &self.credentials };
        let alive = is_alive(&prober, &listed.rivals).await;
        let living = listed.rivals.iter().zip(alive).filter(|(_, is_alive)| *is_alive);
        living.map(|(rival, _)| rival.clone()).min_by_key(|rival| rival.is_leaving)
    }

    fn clash(&self, rival: Rival) -> Clash {
        let port = if self.info.port == 0 { self.port } else { self.info.port };
        Clash {
            own: self.info.peer(),
            own_address: authority(&self.info.address, port),
            rival,
            registry: self.naming.location(),
        }
    }
}

// === impl Claimed ===

impl Claimed {
    /// What is to stand in the entry.
    pub(crate) fn generation(&self) -> u64 {
        self.core.generation()
    }

    /// Keeps the id until `end`. Where another life holds it, tells `lost`, and cancels `end`.
    pub(crate) async fn keep(
        mut self,
        rewriter: Rewriter,
        mut told: mpsc::Receiver<Told>,
        lost: Lost,
        end: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(TICK);
        let mut pulse = Pulse::new(STILL, Instant::now());
        let losing = loop {
            let event = tokio::select! {
                snapshot = self.subscription.changed() => Event::Snapshot(snapshot),
                Some(told) = told.recv() => Event::Told(told),
                _ = tick.tick() => Event::Tick,
                () = end.cancelled() => return,
            };
            let now = Instant::now();
            if pulse.beat(now).is_some() {
                self.core.cut_off(now);
            }
            if let Some(rival) = self.on(event, &rewriter, now) {
                break rival;
            }
        };
        let clash = self.claimant.clash(losing);
        tracing::error!(error = %clash, "another server holds this one's id, leaving");
        // No other source tells of one.
        let _ = lost.0.set(clash);
        end.cancel();
    }

    /// The rival that holds the id.
    fn on(&mut self, event: Event, rewriter: &Rewriter, now: Instant) -> Option<Rival> {
        match event {
            Event::Tick => None,
            Event::Told(Told::CutOff) => {
                self.core.cut_off(now);
                None
            }
            Event::Told(Told::Refused(refusal)) => {
                let is_over = self.core.refused(&refusal, now);
                is_over.then(|| holder(refusal))
            }
            Event::Snapshot(snapshot) => {
                if snapshot.error.is_some() {
                    self.core.cut_off(now);
                }
                match self.core.see(&self.claimant.listed(&snapshot), now) {
                    Step::Stay => None,
                    Step::End(rival) => Some(rival),
                    Step::Write(rival) => {
                        self.write(&rival, rewriter);
                        None
                    }
                }
            }
        }
    }

    fn write(&self, rival: &Rival, rewriter: &Rewriter) {
        let own = self.claimant.clash(rival.clone());
        tracing::warn!(
            service = %own.own.service_id,
            own = %own.own.incarnation,
            own_address = own.own_address,
            other = %rival.claim.incarnation,
            other_address = rival.address,
            registry = own.registry,
            "another server has registered with this one's service.id: writing the own entry again; if it \
             lives, it ends"
        );
        rewriter.write(self.core.generation());
    }
}

/// What is known of the life that a peer names.
fn holder(refusal: Refusal) -> Rival {
    let claim = Claim { generation: 0, incarnation: refusal.holder };
    Rival { claim, address: refusal.address, health_url: None, is_leaving: false }
}

enum Event {
    Tick,
    Told(Told),
    Snapshot(Snapshot),
}
