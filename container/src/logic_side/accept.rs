//! Accepts links from gateways, and runs each until it ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use imago_kit::LogLimit;
use imago_proto::{ServiceId, link::RefusedReason};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::gateways::{Gateways, Parked};
use crate::{
    LinkConfig, PeerId,
    link::{self, Credentials, FrameSink, HandshakeError, Identity, Link},
    metrics,
    promotion::LogicEvent,
    runtime::{Failures, LinkError},
    slots::{Slot, Slots},
};

/// How often an error of the listener is logged.
const ACCEPT_LOG: Duration = Duration::from_secs(60);
/// How long the link of another life of a gateway may take to answer a ping. A process that stands still
/// for longer notices that, see [`claimant`](crate::runtime::Claimant).
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

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
    pub(crate) failures: Failures,
    /// Limits what is logged of ids that two gateways have.
    pub(crate) held: Arc<LogLimit>,
}

/// Why a peer that connected has no link.
#[derive(Debug, thiserror::Error)]
enum ShakeError {
    #[error("no answer within {0:?} while shaking hands")]
    TimedOut(Duration),
    #[error(transparent)]
    Handshake(HandshakeError),
}

impl LinkError for ShakeError {
    fn label(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timeout",
            Self::Handshake(error) => error.label(),
        }
    }
}

impl Acceptor {
    pub(crate) async fn run(self) {
        // Without grace: a gateway says hello at once, and needs no time for anything else.
        let handshakes =
            Slots::new(self.links.config.handshakes, Duration::ZERO, metrics::handshakes_open);
        let mut backoff =
            imago_kit::Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let log = LogLimit::every(ACCEPT_LOG);
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
                    if let Some(more) = log.allow("accept") {
                        tracing::warn!(%error, "cannot accept a link{more}");
                    }
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
        let mut claimed = None;
        let handshake = link::handshake_listen(
            &mut stream,
            &self.identity,
            &self.credentials,
            state,
            &mut claimed,
        );
        let shaken = tokio::select! {
            shaken = timeout(self.config.dial_timeout, handshake) => shaken,
            () = slot.evicted() => {
                metrics::handshake_evicted();
                return tracing::debug!("handshake broken off, newer ones need the room");
            }
            () = self.stop.cancelled() => return,
        };
        let within = self.config.dial_timeout;
        let established = match shaken {
            Ok(Ok(established)) => established,
            Ok(Err(error)) => {
                return self.failed(claimed.as_ref(), remote, &ShakeError::Handshake(error));
            }
            Err(_) => {
                let error = ShakeError::TimedOut(within);
                return self.failed(claimed.as_ref(), remote, &error);
            }
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
        self.failures.over(&peer.service_id);
        // A new link: nothing has said before where it comes from.
        let _ = link.remote.set(remote);
        self.run(stream, established.received, &link).await;
    }

    /// A peer that ends without a word is mostly no gateway, but a health check.
    fn failed(&self, claimed: Option<&ServiceId>, remote: SocketAddr, error: &ShakeError) {
        let is_refusal = matches!(error, ShakeError::Handshake(error) if error.is_refusal());
        if is_refusal {
            metrics::handshake_refused(error.label());
        }
        match claimed {
            Some(peer) => self.failures.failed(peer, &remote.to_string(), error),
            None if is_refusal => self.failures.failed_unknown(remote, error),
            None => tracing::debug!(%error, "no link with an unknown peer"),
        }
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
        metrics::handshake_refused("held");
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
