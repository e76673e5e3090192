//! A gateway's links: dials each registered logic server, and again after every loss.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use dashmap::DashMap;
use imago_proto::{
    LinkFrame, ServiceId, SessionId, Stamp,
    link::{ServerState, SessionsUp, State, SyncBegin, SyncEnd, frame::Kind},
};
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use super::{
    dial::{DialError, Place},
    forward::Forwarder,
    roster::Roster,
};
use crate::{
    GatewayRole, LinkConfig, PeerId,
    claim::Refusal,
    hlc::Hlc,
    link::{
        self, Credentials, Established, FrameSink, HandshakeError, Identity, Link, Queue,
        frame_name,
    },
    metrics,
    promotion::GatewayEvent,
    runtime::{Failures, LinkError, Told, freeze::Trust},
};
use imago_kit::unix_nanos;

/// How long the sync of a new link may wait for room before the link counts as stuck.
const SYNC_PATIENCE: Duration = Duration::from_secs(10);
/// A link that lived this long was a good one: the next dial starts without a long wait.
const GOOD_LINK: Duration = Duration::from_secs(5);

/// Where a logic server is, and how it is to be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) peer: PeerId,
    pub(crate) place: Place,
    pub(crate) zone: Arc<str>,
    pub(crate) weight: u32,
}

/// All logic servers that this gateway has a link with, or dials.
pub(crate) struct Links {
    pub(crate) forwarder: Arc<Forwarder>,
    /// What every new link is told.
    pub(crate) roster: Roster,
    /// Orders the logins.
    pub(super) clock: Hlc,
    pub(super) trust: Trust,
    pub(crate) config: LinkConfig,
    pub(crate) identity: Identity,
    pub(crate) credentials: Credentials,
    mailboxes: Mailboxes,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    role: OnceLock<Arc<dyn GatewayRole>>,
    links: DashMap<ServiceId, Arc<Link>>,
    dialling: Mutex<HashMap<ServiceId, Dialling>>,
    pub(super) failures: Failures,
    /// Servers in maintenance.
    resting: Mutex<BTreeSet<ServiceId>>,
    /// Our own state, told to every link.
    state: Mutex<State>,
}

/// Where links tell what happens.
pub(crate) struct Mailboxes {
    pub(crate) events: mpsc::Sender<GatewayEvent>,
    /// What concerns the own id.
    pub(crate) told: mpsc::Sender<Told>,
}

/// A server that is dialled for as long as this is kept.
struct Dialling {
    target: watch::Sender<Target>,
    stop: CancellationToken,
}

impl Links {
    pub(crate) fn new(
        forwarder: Arc<Forwarder>,
        config: LinkConfig,
        identity: Identity,
        credentials: Credentials,
        mailboxes: Mailboxes,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            forwarder,
            roster: Roster::new(identity.peer.service_id.as_str()),
            clock: Hlc::default(),
            trust: Trust::new(config.ping_timeout, Instant::now()),
            config,
            identity,
            credentials,
            mailboxes,
            tasks,
            stop,
            role: OnceLock::new(),
            links: DashMap::new(),
            dialling: Mutex::default(),
            failures: Failures::default(),
            resting: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Must be called before the first link.
    pub(crate) fn set_role(&self, role: Arc<dyn GatewayRole>) {
        // A second role would be ours alone to blame: the container sets one, once.
        let _ = self.role.set(role);
    }

    pub(crate) fn role(&self) -> Option<&Arc<dyn GatewayRole>> {
        self.role.get()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.links.iter().map(|link| link.value().clone()).collect()
    }

    pub(crate) fn get(&self, server: &ServiceId) -> Option<Arc<Link>> {
        self.links.get(server).map(|link| link.value().clone())
    }

    /// Tells every logic server our state.
    pub(crate) fn announce(&self, state: &State) {
        *self.state.lock() = state.clone();
        for link in self.all() {
            // No room at all: the registry and the end of the link tell it too.
            let _ = link.try_send_urgent(Kind::State(state.clone()));
        }
    }

    /// These servers, and no others, get no new sessions from now on.
    pub(super) fn rest(&self, servers: BTreeSet<ServiceId>) {
        *self.resting.lock() = servers;
        for link in self.all() {
            self.mark_resting(&link);
        }
    }

    fn mark_resting(&self, link: &Link) {
        let resting = self.resting.lock();
        link.set_resting(resting.contains(&link.peer.service_id));
    }

    /// Dials a server until told to stop; a new address or life is used from the next dial on.
    pub(crate) fn dial(self: &Arc<Self>, target: Target) {
        let mut dialling = self.dialling.lock();
        if let Some(known) = dialling.get(&target.peer.service_id) {
            known.target.send_replace(target);
            return;
        }
        let stop = self.stop.child_token();
        let id = target.peer.service_id.clone();
        let (sender, receiver) = watch::channel(target);
        dialling.insert(id.clone(), Dialling { target: sender, stop: stop.clone() });
        let span = tracing::info_span!("link", peer = %id);
        self.tasks.spawn(self.clone().keep_linked(receiver, stop).instrument(span));
    }

    /// Dials a server no more; a link that is up stays.
    pub(crate) fn stop_dialling(&self, server: &ServiceId) {
        let known = self.dialling.lock().remove(server);
        if let Some(known) = known {
            known.stop.cancel();
        }
        self.failures.over(server);
    }

    async fn keep_linked(
        self: Arc<Self>,
        mut target: watch::Receiver<Target>,
        stop: CancellationToken,
    ) {
        let mut backoff =
            imago_kit::Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let mut before: Option<Target> = None;
        while !stop.is_cancelled() {
            let wanted = target.borrow_and_update().clone();
            if before.as_ref() != Some(&wanted) {
                // Another life, or at another address: what became of the last one says nothing.
                self.failures.over(&wanted.peer.service_id);
                before = Some(wanted.clone());
            }
            // Up since before the registry forgot this life for a while: a second one would be
            // refused.
            let up = self.get(&wanted.peer.service_id).filter(|link| link.peer == wanted.peer);
            if let Some(link) = up {
                tokio::select! {
                    () = link.ended() => {}
                    _ = target.changed() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            let opened = Instant::now();
            // A link that is up ends by itself or by `close`: dialling alone stops here.
            match self.connect(&wanted, &stop).await {
                Some(Ok((stream, established))) => self.run(stream, established, &wanted).await,
                Some(Err(error)) => self.dial_failed(&wanted, error),
                None => return,
            }
            if opened.elapsed() > GOOD_LINK {
                backoff.reset();
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                _ = target.changed() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// No server can be reached: others may have taken our id over.
    pub(super) fn cut_off(&self) {
        // No room: as much was told before.
        let _ = self.mailboxes.told.try_send(Told::CutOff);
    }

    /// `None` once stopped.
    async fn connect(
        &self,
        target: &Target,
        stop: &CancellationToken,
    ) -> Option<Result<(TcpStream, Established), DialError>> {
        let within = self.config.dial_timeout;
        let dialled = target.place.dial(within, &self.identity, &self.credentials, &target.peer);
        stop.run_until_cancelled(dialled).await
    }

    fn dial_failed(&self, target: &Target, error: DialError) {
        metrics::dial_failed(error.label());
        if matches!(&error, DialError::Handshake(error) if error.is_refusal()) {
            metrics::handshake_refused(error.label());
        }
        self.failures.failed(&target.peer.service_id, &target.place.address(), &error);
        if let DialError::Handshake(error) = error {
            self.tell_of_holder(error);
        }
    }

    /// Tells the runtime where another life holds this gateway's id, if the refusal says so.
    fn tell_of_holder(&self, error: HandshakeError) {
        if let HandshakeError::RefusedByPeer { holder: Some((holder, address)), .. } = error {
            let has_links = !self.links.is_empty();
            // No room: the next attempt is refused as well.
            let _ =
                self.mailboxes.told.try_send(Told::Refused(Refusal { holder, address, has_links }));
        }
    }

    async fn run(self: &Arc<Self>, stream: TcpStream, established: Established, target: &Target) {
        let Established { peer, state, received } = established;
        self.failures.over(&peer.service_id);
        let queue = Arc::new(Queue::new(self.config.queue_frames, self.config.queue_bytes));
        let mut link = Link::new(peer.clone(), queue, self.stop.child_token());
        link.zone = target.zone.clone();
        link.weight = target.weight;
        let link = Arc::new(link);
        link.set_state(state);
        metrics::link_up();
        let remote: Option<SocketAddr> = stream.peer_addr().ok();
        tracing::info!(?remote, incarnation = %link.peer.incarnation, ?state, "link up");
        // The first frames of every link; from here on changes of sessions follow.
        let own = self.state.lock().clone();
        for kind in [Kind::State(own.clone()), Kind::SyncBegin(SyncBegin {})] {
            if link.try_send(kind).is_err() {
                link.close();
            }
        }
        if let Some(old) = self.links.insert(peer.service_id.clone(), link.clone()) {
            old.close();
        }
        self.mark_resting(&link);
        // What was announced before the link was in its place.
        let now = self.state.lock().clone();
        if now != own && link.try_send(Kind::State(now)).is_err() {
            link.close();
        }
        self.forwarder.link_up(&link);
        self.tell(GatewayEvent::LinkUp(peer.clone(), state)).await;
        let sync = self.clone().sync(link.clone());
        self.tasks.spawn(sync.in_current_span());

        let why = link::run(stream, received, &link, &self.config, &**self).await;
        metrics::link_down();
        tracing::info!(why, "link down");
        self.links.remove_if(&peer.service_id, |_, current| Arc::ptr_eq(current, &link));
        self.forwarder.link_down(&link);
        self.tell(GatewayEvent::LinkDown(peer)).await;
        link.end();
    }

    /// Streams all sessions to a new link. What changes meanwhile is sent beside it, and may
    /// overtake the batch that a session is in.
    async fn sync(self: Arc<Self>, link: Arc<Link>) {
        let (mut position, mut sessions) = (self.roster.begin(), 0);
        while let Some((some, left)) = self.roster.next(&mut position) {
            sessions += some.sessions as u64;
            let (left, now) = (left as u64, unix_nanos());
            let head = SessionsUp { left, now, stamp: self.stamp().0 };
            if link.send(some.frame(head), SYNC_PATIENCE).await.is_err() {
                return;
            }
            // The link's writer has something to do, and others may wait for this thread.
            tokio::task::yield_now().await;
        }
        // Lost meanwhile: the next link syncs again.
        let _ = link.send(Kind::SyncEnd(SyncEnd { sessions }), SYNC_PATIENCE).await;
    }

    /// What a server says of itself; lanes are told only where it makes a difference to them.
    fn change(&self, link: &Link, change: impl FnOnce(&Link)) {
        let before = link.fitness();
        change(link);
        if link.fitness() != before || link.state() == ServerState::Leaving {
            self.forwarder.links_changed();
        }
    }

    async fn tell(&self, event: GatewayEvent) {
        // The runtime is gone only when the gateway ends.
        let _ = self.mailboxes.events.send(event).await;
    }
}

#[async_trait]
impl FrameSink for Links {
    async fn frame(&self, link: &Arc<Link>, frame: LinkFrame) {
        let Some(role) = self.role() else { return };
        match frame.kind {
            Kind::Reply(reply) => self.forwarder.answered(reply, frame.payload),
            Kind::Push(push) => {
                if let Some(behind) = role.push(push, frame.payload) {
                    behind.await;
                }
            }
            Kind::Redelivered(done) => role.redelivered(done),
            Kind::Owed(owed) => role.owed(&owed.sessions, Duration::ZERO),
            Kind::Kick(kick) => role.kick(SessionId(kick.session), frame.payload),
            Kind::SyncAck(ack) => {
                self.heard(Stamp(ack.stamp));
                if !link.is_doubted() {
                    self.trust.confirm();
                }
                self.change(link, Link::set_synced);
                self.tell(GatewayEvent::LinkSynced(link.peer.clone())).await;
            }
            Kind::State(state) => {
                self.change(link, |link| link.set_state(state.state()));
                let (peer, state) = (link.peer.clone(), state.state());
                self.tell(GatewayEvent::LinkState { peer, state }).await;
            }
            Kind::Refused(refused) => {
                let error = HandshakeError::by_peer(refused);
                metrics::handshake_refused(error.label());
                self.failures.failed(&link.peer.service_id, "its link", &error);
                self.tell_of_holder(error);
                link.close();
            }
            other => {
                tracing::warn!(frame = frame_name(&other), "unexpected frame, closing the link");
                link.close();
            }
        }
    }

    fn stamp(&self) -> Stamp {
        self.clock.tick(unix_nanos())
    }

    fn heard(&self, stamp: Stamp) {
        self.clock.observe(stamp, unix_nanos());
    }

    fn confirmed(&self, link: &Arc<Link>) {
        tracing::info!(peer = %link.peer, "the peer is there");
        self.trust.confirm();
        self.forwarder.links_changed();
    }
}
