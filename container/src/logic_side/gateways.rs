//! A logic server's links: one place for each gateway, which outlives a lost link for a while.

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use imago_proto::{
    LinkFrame, ServiceId, SessionId, Stamp,
    link::{ServerState, State, SyncAck, frame::Kind},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

mod addresses;
mod owed;

use super::told::tell_sessions;
use crate::{
    LogicRole, PeerId,
    hlc::Hlc,
    link::{FrameSink, Link, LinkConfig, Queue, Rejected, frame_name},
    metrics,
    promotion::LogicEvent,
};
use imago_kit::unix_nanos;

/// How long an answer may wait for room before the link counts as stuck.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);

/// A stamp that is ahead of this server's clock by more than this is told to all gateways at once: more
/// than clocks differ that are set over a network.
const TELL_AHEAD: Duration = Duration::from_millis(50);

/// One life of one gateway. Its queue waits for the next link when one is lost.
struct Place {
    peer: PeerId,
    queue: Arc<Queue>,
    link: Mutex<Option<Arc<Link>>>,
    /// How many links it has had.
    links: AtomicU64,
    /// Pushes were dropped: once there is room, the gateway's sessions need a redelivery.
    overflowed: AtomicBool,
    /// While we leave: it has nothing in flight with us any more.
    drained: AtomicBool,
}

impl Place {
    fn new(peer: PeerId, config: &LinkConfig) -> Self {
        Self {
            peer,
            queue: Arc::new(Queue::new(config.queue_frames, config.queue_bytes)),
            link: Mutex::new(None),
            links: AtomicU64::new(0),
            overflowed: AtomicBool::new(false),
            drained: AtomicBool::new(false),
        }
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().clone()
    }

    fn set_link(&self, link: Option<Arc<Link>>) {
        *self.link.lock() = link;
    }
}

/// A place that waits for its gateway's next link.
pub(crate) struct Parked {
    place: Arc<Place>,
    links: u64,
}

/// All gateways that this logic server has, or lately had, a link with.
pub(crate) struct Gateways {
    config: LinkConfig,
    places: DashMap<ServiceId, Arc<Place>, RandomState>,
    /// Held while a link comes, ends, or its place goes, so that no gateway is forgotten in the
    /// moment in which it comes back.
    membership: Mutex<()>,
    role: OnceLock<Arc<dyn LogicRole>>,
    events: mpsc::Sender<LogicEvent>,
    state: Mutex<State>,
    addresses: Mutex<addresses::Addresses>,
    /// After all logins that this server has been told of.
    clock: Hlc,
    changed: Notify,
}

impl Gateways {
    pub(crate) fn new(config: LinkConfig, events: mpsc::Sender<LogicEvent>) -> Self {
        Self {
            config,
            places: DashMap::default(),
            membership: Mutex::default(),
            role: OnceLock::new(),
            events,
            state: Mutex::default(),
            addresses: Mutex::default(),
            clock: Hlc::default(),
            changed: Notify::new(),
        }
    }

    /// Must be called before the first link.
    pub(crate) fn set_role(&self, role: Arc<dyn LogicRole>) {
        // A second role would be ours alone to blame: the container sets one, once.
        let _ = self.role.set(role);
    }

    pub(crate) fn role(&self) -> Option<&Arc<dyn LogicRole>> {
        self.role.get()
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Tells every linked gateway the new state; never waits, so that one that is stuck keeps none
    /// of the others waiting.
    pub(crate) fn announce(&self, state: &State) {
        *self.state.lock() = state.clone();
        for link in self.links() {
            if link.try_send_urgent(Kind::State(state.clone())) == Err(Rejected::Full) {
                tracing::warn!(peer = %link.peer, "link takes no frames, closing it; its next one begins with the state");
                link.close();
            }
        }
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.places.iter().filter_map(|place| place.link()).collect()
    }

    pub(crate) fn has_links(&self) -> bool {
        self.places.iter().any(|place| place.link().is_some())
    }

    /// Asks every linked gateway whether it is there.
    pub(crate) fn doubt(&self) {
        self.links().iter().for_each(|link| link.doubt(self.stamp()));
    }

    pub(crate) fn link_with(&self, gateway: &ServiceId) -> Option<Arc<Link>> {
        self.places.get(gateway).and_then(|place| place.link())
    }

    /// Frames and bytes that wait for a gateway, linked or not.
    pub(crate) fn queue_depth(&self, gateway: &ServiceId) -> (usize, usize) {
        self.places.get(gateway).map_or((0, 0), |place| place.queue.depth())
    }

    fn place(&self, gateway: &PeerId) -> Option<Arc<Place>> {
        self.places
            .get(&gateway.service_id)
            .filter(|place| place.peer == *gateway)
            .map(|place| place.value().clone())
    }

    fn membership(&self) -> MutexGuard<'_, ()> {
        self.membership.lock()
    }

    /// Gives a handshaken peer its link. `None` where one of the same life has not ended.
    pub(crate) fn admit(&self, peer: &PeerId, closed: CancellationToken) -> Option<Arc<Link>> {
        let _membership = self.membership();
        let place = self.place_for(peer);
        if place.link().is_some() {
            return None;
        }
        // Answers to requests of the lost link are of no use: they went to other servers. Nor are parts
        // of a redelivery: what was before them may be lost with the link, and is asked for again.
        place.queue.retain(|frame| match &frame.kind {
            Kind::Push(push) => !push.again,
            kind => matches!(kind, Kind::Kick(_) | Kind::Owed(_)),
        });
        place.drained.store(false, Ordering::SeqCst);
        place.links.fetch_add(1, Ordering::SeqCst);
        let link = Arc::new(Link::new(peer.clone(), place.queue.clone(), closed));
        place.set_link(Some(link.clone()));
        // Read when the link is in its place, and written before anything else: what is announced
        // from now on comes after it.
        place.queue.begin_with(LinkFrame::new(Kind::State(self.state())));
        Some(link)
    }

    /// The gateway's place, in place of that of its earlier life.
    fn place_for(&self, peer: &PeerId) -> Arc<Place> {
        if let Some(place) = self.place(peer) {
            return place;
        }
        let place = Arc::new(Place::new(peer.clone(), &self.config));
        if let Some(old) = self.places.insert(peer.service_id.clone(), place.clone()) {
            match old.link() {
                // Its sessions go when its last frame is done, see `lost`.
                Some(link) => link.close(),
                None => self.gone(&old.peer),
            }
        }
        place
    }

    /// A gateway's life is over: its sessions go.
    fn gone(&self, peer: &PeerId) {
        tracing::info!(%peer, "gateway is gone, its sessions leave");
        if let Some(role) = self.role() {
            role.gateway_gone(peer);
        }
        self.changed.notify_waiters();
    }

    /// A link has ended, and nothing comes from it any more. Says what is kept where its gateway
    /// may come back in this life.
    pub(crate) fn lost(&self, link: &Arc<Link>) -> Option<Parked> {
        let membership = self.membership();
        let Some(place) = self.place(&link.peer) else {
            self.gone(&link.peer);
            return None;
        };
        if !place.link().is_some_and(|current| Arc::ptr_eq(&current, link)) {
            return None;
        }
        place.set_link(None);
        self.changed.notify_waiters();
        drop(membership);
        let parked = Parked { links: place.links.load(Ordering::SeqCst), place };
        if link.state() == ServerState::Leaving {
            self.forget(&parked);
            return None;
        }
        Some(parked)
    }

    /// The time for parking is over, unless the gateway has been back meanwhile.
    pub(crate) fn forget(&self, parked: &Parked) {
        let _membership = self.membership();
        let place = &parked.place;
        let removed = self.places.remove_if(&place.peer.service_id, |_, current| {
            Arc::ptr_eq(current, place)
                && place.link().is_none()
                && place.links.load(Ordering::SeqCst) == parked.links
        });
        if removed.is_some() {
            self.gone(&place.peer);
        }
    }

    pub(crate) async fn reply(&self, gateway: &PeerId, frame: LinkFrame) {
        if let Some(link) = self.place(gateway).and_then(|place| place.link()) {
            // Lost: the gateway asks another server.
            let _ = link.send(frame, REPLY_PATIENCE).await;
        }
    }

    /// Overflow policy: dropped, and redelivered once there is room.
    pub(crate) fn push(&self, gateway: &PeerId, frame: LinkFrame) {
        let Some(place) = self.place(gateway) else { return };
        match place.queue.try_push(frame) {
            Ok(()) if place.link().is_none() => metrics::push_parked(),
            Ok(()) => {}
            Err(Rejected::Full | Rejected::Closed) => {
                metrics::push_dropped();
                place.overflowed.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Overflow policy: at twice the queue's bounds the link is stuck and closed. On its next one
    /// the gateway tells of all its sessions, and is asked again to end this one.
    pub(crate) fn kick(&self, gateway: &PeerId, frame: LinkFrame) {
        let Some(place) = self.place(gateway) else { return };
        if place.queue.try_push_urgent(frame).is_ok() {
            return;
        }
        metrics::push_dropped();
        if let Some(link) = place.link() {
            tracing::warn!(peer = %gateway, "link has no room even for a kickout, closing it");
            link.close();
        }
    }

    /// Resolves when no linked gateway sends us requests any more.
    pub(crate) async fn drained(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let busy = self
                .places
                .iter()
                .any(|place| place.link().is_some() && !place.drained.load(Ordering::SeqCst));
            if !busy {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when everything queued is with the sockets.
    pub(crate) async fn flushed(&self) {
        for link in self.links() {
            tokio::select! {
                () = link.queue().flushed() => {}
                () = link.closed() => {}
            }
        }
    }

    fn set_drained(&self, gateway: &PeerId) {
        if let Some(place) = self.place(gateway) {
            place.drained.store(true, Ordering::SeqCst);
        }
        self.changed.notify_waiters();
    }

    async fn tell(&self, event: LogicEvent) {
        // The runtime is gone only when the process ends.
        let _ = self.events.send(event).await;
    }
}

#[async_trait]
impl FrameSink for Gateways {
    async fn frame(&self, link: &Arc<Link>, frame: LinkFrame) {
        let Some(role) = self.role() else { return };
        let peer = &link.peer;
        match frame.kind {
            Kind::SyncBegin(_) => role.sync_begin(peer),
            Kind::SessionUp(up) => {
                if let Some(session) = up.session {
                    self.heard(Stamp(session.order));
                    role.session_up(peer, session);
                }
            }
            Kind::SessionsUp(up) => {
                self.heard(Stamp(up.stamp));
                tell_sessions(link, &**role, &frame.payload, up).await;
            }
            Kind::SessionDown(down) => role.session_down(peer, SessionId(down.session)),
            Kind::SyncEnd(end) => {
                role.sync_end(peer);
                link.set_synced();
                metrics::link_synced(link.opened.elapsed());
                let stamp = self.stamp().0;
                let ack = Kind::SyncAck(SyncAck { sessions: end.sessions, stamp });
                // A link that takes no answer is closed, and synced again at its next life.
                let _ = link.send(ack, REPLY_PATIENCE).await;
                self.tell(LogicEvent::LinkSynced(peer.clone())).await;
            }
            Kind::Forward(request) => role.forward(peer, request, frame.payload),
            Kind::Redeliver(redeliver) => role.redeliver(peer, redeliver.missing),
            Kind::State(state) => link.set_state(state.state()),
            Kind::Drained(_) => self.set_drained(peer),
            other => {
                tracing::warn!(%peer, frame = frame_name(&other), "unexpected frame, closing the link");
                link.close();
            }
        }
    }

    fn stamp(&self) -> Stamp {
        self.clock.tick(unix_nanos())
    }

    /// A client whose login has this stamp may be back at another gateway soon, whose clock is not
    /// that far: it hears of the stamp now, and not only when it asks.
    fn heard(&self, stamp: Stamp) {
        if self.clock.observe(stamp, unix_nanos()) > TELL_AHEAD {
            self.links().iter().for_each(|link| link.tell(stamp));
        }
    }
}

#[cfg(test)]
mod tests;
