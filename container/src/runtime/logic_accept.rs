//! Accepts links from gateways, and runs each until it ends.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use imago_kit::LogLimit;
use imago_proto::link::RefusedReason;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{
    backoff::Backoff,
    logic_links::{Gateways, Parked},
};
use crate::{
    LinkConfig, PeerId,
    link::{self, Credentials, FrameSink, HandshakeError, Identity, Link},
    metrics,
    promotion::LogicEvent,
    slots::{Slot, Slots},
};

/// How long the link of another life of a gateway may take to answer a ping. A process that stands still
/// for longer notices that, see [`claimant`](super::claimant).
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// Refused peers that are remembered so as to be logged once. Overflow policy: logged again.
const REFUSED_MAX: usize = 1024;

/// Accepts links until it is stopped.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) links: LinkServer,
}

/// What the links of a logic server share.
#[derive(Clone)]
pub(crate) struct LinkServer {
    pub(crate) identity: Identity,
    pub(crate) credentials: Credentials,
    pub(crate) config: LinkConfig,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) events: mpsc::Sender<LogicEvent>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) refused: RefusedLog,
    /// Limits what is logged of ids that two gateways have.
    pub(crate) held: Arc<LogLimit>,
}

impl Acceptor {
    pub(crate) async fn run(self) {
        // Without grace: a gateway says hello at once, and needs no time for anything else.
        let handshakes =
            Slots::new(self.links.config.handshakes, Duration::ZERO, metrics::handshakes_open);
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.links.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    backoff.reset();
                    let span = tracing::info_span!("link", %remote, peer = tracing::field::Empty);
                    let (links, slot) = (self.links.clone(), handshakes.enter(remote.ip()).await);
                    self.links.tasks.spawn(links.serve(stream, remote, slot).instrument(span));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a link");
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_delay()) => {}
                        () = self.links.stop.cancelled() => return,
                    }
                }
            }
        }
    }
}

impl LinkServer {
    async fn serve(self, mut stream: TcpStream, remote: SocketAddr, slot: Slot) {
        // Without it a small answer waits for the next one (Nagle's algorithm).
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let state = self.gateways.state().state();
        let handshake =
            link::handshake_listen(&mut stream, &self.identity, &self.credentials, state);
        let shaken = tokio::select! {
            shaken = timeout(self.config.dial_timeout, handshake) => shaken,
            () = slot.evicted() => {
                metrics::handshake_evicted();
                return tracing::debug!("handshake broken off, newer ones need the room");
            }
            () = self.stop.cancelled() => return,
        };
        let established = match shaken {
            Ok(Ok(established)) => established,
            Ok(Err(error)) => return self.refused.log(&remote.ip().to_string(), &error),
            Err(_) => return tracing::debug!("no handshake in time"),
        };
        drop(slot);
        let peer = established.peer;
        tracing::Span::current().record("peer", tracing::field::display(&peer));
        if let Some(holder) = self.holder(&peer).await {
            return self.refuse_for(&mut stream, &peer, &holder).await;
        }
        let Some(link) = self.gateways.admit(&peer, self.stop.child_token()) else {
            let detail = format!("a link with {peer} is already up");
            metrics::handshake_refused("duplicate");
            tracing::debug!(%peer, "second link of the same life, refused");
            link::refuse(&mut stream, RefusedReason::Duplicate, &detail).await;
            return;
        };
        // A new link: nobody has said before where it comes from.
        let _ = link.remote.set(remote);
        self.run(stream, established.received, &link).await;
    }

    /// The link of another life of this gateway, where that lives: it has one, and answers on it.
    async fn holder(&self, peer: &PeerId) -> Option<Arc<Link>> {
        let patience = ANSWER_PATIENCE.min(self.config.dial_timeout / 2);
        let mut silent: Option<Arc<Link>> = None;
        loop {
            let link = self.gateways.link_with(&peer.service_id)?;
            let was_asked = silent.as_ref().is_some_and(|silent| Arc::ptr_eq(silent, &link));
            if was_asked || link.peer == *peer {
                return None;
            }
            if link.answers(|| self.gateways.stamp(), patience).await {
                return Some(link);
            }
            silent = Some(link);
        }
    }

    async fn refuse_for(&self, stream: &mut TcpStream, peer: &PeerId, holder: &Link) {
        let address = self.gateways.address_of_linked(holder);
        metrics::handshake_refused(reason_label(RefusedReason::Held));
        if let Some(more) = self.held.allow(peer.service_id.as_str()) {
            let remote = || stream.peer_addr().map(|remote| remote.to_string()).ok();
            tracing::warn!(
                linked = %holder.peer,
                linked_address = address,
                refused = %peer,
                refused_address = self.gateways.address_of(peer).or_else(remote),
                "two gateways have one service.id: the one that is linked answers, refusing the other one{more}"
            );
        }
        link::refuse_for(stream, &holder.peer, &address).await;
    }

    async fn run(&self, stream: TcpStream, received: bytes::BytesMut, link: &Arc<Link>) {
        let peer = &link.peer;
        tracing::info!("link up");
        metrics::link_up();
        let why = link::run(stream, received, link, &self.config, &*self.gateways).await;
        metrics::link_down();
        tracing::info!(why, "link down");
        // Before the place is free: else the next link could be told of first. The runtime is gone
        // only when the server ends.
        let _ = self.events.send(LogicEvent::LinkDown(peer.clone())).await;
        if let Some(parked) = self.gateways.lost(link) {
            self.park(parked);
        }
    }

    /// Keeps the gateway's sessions and pushes for a while.
    fn park(&self, parked: Parked) {
        let (gateways, park, stop) = (self.gateways.clone(), self.config.park, self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(park) => gateways.forget(&parked),
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Logs refused handshakes, at `warn` once a peer, and counts them all.
#[derive(Clone, Default)]
pub(crate) struct RefusedLog {
    seen: Arc<Mutex<HashSet<(String, &'static str)>>>,
}

impl RefusedLog {
    pub(crate) fn log(&self, peer: &str, error: &HandshakeError) {
        let reason = match error {
            HandshakeError::Refused { reason, .. }
            | HandshakeError::RefusedByPeer { reason, .. } => reason_label(*reason),
            HandshakeError::Io(error) => return tracing::debug!(%error, "handshake broke off"),
        };
        metrics::handshake_refused(reason);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REFUSED_MAX {
            seen.clear();
        }
        if seen.insert((peer.to_owned(), reason)) {
            tracing::warn!(peer, reason, %error, "no link with this peer");
        } else {
            tracing::debug!(peer, reason, %error, "no link with this peer");
        }
    }
}

/// A bounded label for metrics.
pub(crate) fn reason_label(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::Unknown => "unknown",
        RefusedReason::Cluster => "cluster",
        RefusedReason::Version => "version",
        RefusedReason::Mac => "mac",
        RefusedReason::Role => "role",
        RefusedReason::Duplicate => "duplicate",
        RefusedReason::Malformed => "malformed",
        RefusedReason::Identity => "identity",
        RefusedReason::Held => "held",
    }
}
