//! A logic server's links: one place for each gateway, which outlives a lost link for a while.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use dashmap::{DashMap, mapref::entry::Entry};
use futures::future::join_all;
use imago_proto::{
    LinkFrame, ServiceId, SessionId,
    link::{ServerState, State, SyncAck, frame::Kind},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    LogicRole, PeerId,
    link::{FrameSink, Link, LinkConfig, Queue, Rejected},
    metrics,
    promotion::LogicEvent,
};

/// How long an answer may wait for room before the link counts as stuck.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);

/// One life of one gateway. Its queue waits for the next link when one is lost.
struct Place {
    peer: PeerId,
    queue: Arc<Queue>,
    link: Mutex<Option<Arc<Link>>>,
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
            overflowed: AtomicBool::new(false),
            drained: AtomicBool::new(false),
        }
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_link(&self, link: Option<Arc<Link>>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

/// All gateways that this logic server has, or lately had, a link with.
pub(crate) struct Gateways {
    config: LinkConfig,
    places: DashMap<ServiceId, Arc<Place>>,
    role: OnceLock<Arc<dyn LogicRole>>,
    events: mpsc::Sender<LogicEvent>,
    state: Mutex<State>,
    changed: Notify,
}

impl Gateways {
    pub(crate) fn new(config: LinkConfig, events: mpsc::Sender<LogicEvent>) -> Self {
        Self {
            config,
            places: DashMap::new(),
            role: OnceLock::new(),
            events,
            state: Mutex::default(),
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells every linked gateway the new state, all at once: one that is stuck keeps none of the
    /// others waiting.
    pub(crate) async fn announce(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
        let links = self.links();
        // A link that takes no state is closed, and told at its next handshake.
        join_all(links.iter().map(|link| link.send(Kind::State(state.clone()), REPLY_PATIENCE)))
            .await;
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.places.iter().filter_map(|place| place.link()).collect()
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

    /// Gives a handshaken peer its link. `None` where one of the same life is already there.
    pub(crate) fn admit(&self, peer: &PeerId, closed: CancellationToken) -> Option<Arc<Link>> {
        let (place, replaced) = match self.places.entry(peer.service_id.clone()) {
            Entry::Occupied(mut entry) if entry.get().peer != *peer => {
                let place = Arc::new(Place::new(peer.clone(), &self.config));
                (place.clone(), Some(entry.insert(place)))
            }
            Entry::Occupied(entry) => (entry.get().clone(), None),
            Entry::Vacant(entry) => {
                let place = Arc::new(Place::new(peer.clone(), &self.config));
                (entry.insert(place).clone(), None)
            }
        };
        if let Some(old) = replaced {
            self.forget(&old);
        }
        let mut link = place.link.lock().unwrap_or_else(PoisonError::into_inner);
        if link.as_ref().is_some_and(|link| !link.is_closed()) {
            return None;
        }
        // Answers to requests of the lost link are of no use: they went to other servers.
        place.queue.retain(|frame| matches!(frame.kind, Kind::Push(_) | Kind::Kick(_)));
        place.drained.store(false, Ordering::SeqCst);
        let new = Arc::new(Link::new(peer.clone(), place.queue.clone(), closed));
        *link = Some(new.clone());
        // Read when the link is in its place, and written before anything else: what is announced
        // from now on comes after it.
        place.queue.begin_with(LinkFrame::new(Kind::State(self.state())));
        Some(new)
    }

    /// A gateway's life is over: its link, its parked pushes and its sessions go.
    fn forget(&self, place: &Place) {
        if let Some(link) = place.link() {
            link.close();
        }
        if let Some(role) = self.role() {
            role.gateway_gone(&place.peer);
        }
        self.changed.notify_waiters();
    }

    /// A link has ended. Says whether its gateway may come back in this life.
    pub(crate) fn lost(&self, link: &Arc<Link>) -> bool {
        let Some(place) = self.place(&link.peer) else { return false };
        if !place.link().is_some_and(|current| Arc::ptr_eq(&current, link)) {
            return false;
        }
        place.set_link(None);
        self.changed.notify_waiters();
        if link.state() == ServerState::Leaving {
            self.forget_if_unlinked(&link.peer);
            return false;
        }
        true
    }

    /// The time for parking is over.
    pub(crate) fn forget_if_unlinked(&self, peer: &PeerId) {
        let removed = self
            .places
            .remove_if(&peer.service_id, |_, place| place.peer == *peer && place.link().is_none());
        if let Some((_, place)) = removed {
            tracing::info!(peer = %place.peer, "gateway is gone, its sessions leave");
            self.forget(&place);
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

    /// Overflow policy: dropped at twice the queue's bounds. The session's requests are refused
    /// from now on, so that its client hears of it all the same.
    pub(crate) fn kick(&self, gateway: &PeerId, frame: LinkFrame) {
        let Some(place) = self.place(gateway) else { return };
        if place.queue.try_push_urgent(frame).is_err() {
            tracing::warn!(peer = %gateway, "queue is full beyond its reserve, a kickout is dropped");
            metrics::push_dropped();
        }
    }

    /// Has dropped pushes delivered again where there is room now.
    pub(crate) fn tick(&self) {
        for place in &self.places {
            let (frames, bytes) = place.queue.depth();
            let has_room =
                frames * 2 < self.config.queue_frames && bytes * 2 < self.config.queue_bytes;
            if has_room
                && place.link().is_some()
                && place.overflowed.swap(false, Ordering::SeqCst)
                && let Some(role) = self.role()
            {
                role.redeliver(&place.peer);
            }
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
                    role.session_up(peer, session);
                }
            }
            Kind::SessionDown(down) => role.session_down(peer, SessionId(down.session)),
            Kind::SyncEnd(end) => {
                role.sync_end(peer);
                link.set_synced();
                let ack = Kind::SyncAck(SyncAck { sessions: end.sessions });
                // A link that takes no answer is closed, and synced again at its next life.
                let _ = link.send(ack, REPLY_PATIENCE).await;
                self.tell(LogicEvent::LinkSynced(peer.clone())).await;
            }
            Kind::Forward(request) => role.forward(peer, request, frame.payload),
            Kind::Redeliver(_) => role.redeliver(peer),
            Kind::State(state) => link.set_state(state.state()),
            Kind::Drained(_) => self.set_drained(peer),
            other => {
                tracing::warn!(%peer, frame = frame_name(&other), "unexpected frame, closing the link");
                link.close();
            }
        }
    }
}

/// Name of a frame's kind for logs, without its content.
pub(crate) fn frame_name(kind: &Kind) -> String {
    let text = format!("{kind:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
