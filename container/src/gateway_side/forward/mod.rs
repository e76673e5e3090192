//! Forwards requests to logic servers, and sees to it that each is answered.

mod core;
mod lane;
mod servers;
#[cfg(test)]
mod tests;

use std::{
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use imago_kit::LogLimit;
use imago_proto::{
    SessionId,
    link::{Drained, Missing, Redeliver, Reply, ServerState, frame::Kind},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use self::core::{LaneCore, Servers};
pub use self::lane::Lane;
use crate::{
    ForwardConfig, LaneOwner, PeerId, Route,
    link::{Link, admission::Bounds},
    metrics,
    promotion::Fitness,
    selector::Selector,
};

/// How often late answers of one server are logged.
const LATE_LOG: Duration = Duration::from_secs(10);
/// Deadline of a lane without requests.
const NEVER: u64 = u64::MAX;

/// The lanes of all sessions of a gateway.
pub(crate) struct Forwarder {
    config: ForwardConfig,
    selector: Arc<dyn Selector>,
    /// Links that take requests, sorted by service id.
    usable: ArcSwap<Vec<Arc<Link>>>,
    /// Held while that list is made: one made earlier must not replace one made later.
    listing: Mutex<()>,
    /// Links by peer, usable or not.
    links: DashMap<PeerId, Arc<Link>, RandomState>,
    lanes: DashMap<SessionId, Weak<LaneShared>, RandomState>,
    next_request: AtomicU64,
    held: AtomicUsize,
    /// Redeliveries asked for so far.
    redeliveries: AtomicUsize,
    started: Instant,
    /// No lane's deadline is before this, so that lanes need not be looked at until then.
    earliest: AtomicU64,
    /// Milliseconds since the start at which the last tick was.
    ticked: AtomicU64,
    late: LogLimit,
}

struct LaneShared {
    forwarder: Arc<Forwarder>,
    session: SessionId,
    route: Route,
    owner: Arc<dyn LaneOwner>,
    core: Mutex<LaneCore>,
    changed: Notify,
    /// Milliseconds since the forwarder's start at which a request is overdue.
    deadline: AtomicU64,
    /// The interval in which it was last found to have sent more than its window for too long.
    overfull: AtomicU64,
}

impl Forwarder {
    pub(crate) fn new(config: ForwardConfig, selector: Arc<dyn Selector>) -> Arc<Self> {
        Arc::new(Self {
            config,
            selector,
            usable: ArcSwap::default(),
            listing: Mutex::default(),
            links: DashMap::default(),
            lanes: DashMap::default(),
            next_request: AtomicU64::new(1),
            held: AtomicUsize::new(0),
            redeliveries: AtomicUsize::new(0),
            started: Instant::now(),
            earliest: AtomicU64::new(NEVER),
            ticked: AtomicU64::new(0),
            late: LogLimit::every(LATE_LOG),
        })
    }

    pub(crate) fn open_lane(
        self: &Arc<Self>,
        session: SessionId,
        route: Route,
        owner: Arc<dyn LaneOwner>,
    ) -> Lane {
        let shared = Arc::new(LaneShared {
            forwarder: self.clone(),
            session,
            route,
            owner,
            core: Mutex::new(LaneCore::new(self.config.clone())),
            changed: Notify::new(),
            deadline: AtomicU64::new(NEVER),
            overfull: AtomicU64::new(NEVER),
        });
        self.lanes.insert(session, Arc::downgrade(&shared));
        Lane { shared }
    }

    pub(crate) fn has_usable(&self) -> bool {
        self.usable.load().iter().any(|link| link.is_usable())
    }

    /// Whether some link's server takes requests and can do its work.
    fn has_fit(&self) -> bool {
        self.usable.load().iter().any(|link| link.fitness() == Some(Fitness::Fit))
    }

    /// Asks a server that takes requests, another one each time, for what sessions miss. False where
    /// there is none, or it has no room.
    pub(crate) fn redeliver(&self, missing: Vec<Missing>) -> bool {
        let usable = self.usable.load();
        let links = fittest(&usable);
        let turn = self.redeliveries.fetch_add(1, Ordering::Relaxed);
        let Some(link) = links.get(turn % links.len().max(1)) else { return false };
        link.try_send(Kind::Redeliver(Redeliver { missing })).is_ok()
    }

    pub(crate) fn link_up(&self, link: &Arc<Link>) {
        self.links.insert(link.peer.clone(), link.clone());
    }

    /// A link became usable, or ceased to be: held requests may go now.
    pub(crate) fn links_changed(&self) {
        self.list_usable();
        // There are as many lanes as clients; whoever holds a request looks again afterwards.
        if self.held.load(Ordering::SeqCst) > 0 {
            let now = Instant::now();
            self.for_each_lane(|lane| {
                lane.with(|core, servers, owner| core.pump(servers, owner, now));
            });
        }
        for link in &self.links {
            send_drained_if_idle(link.value());
        }
    }

    fn list_usable(&self) {
        let _listing = self.listing.lock();
        let mut usable: Vec<_> = self
            .links
            .iter()
            .filter(|link| link.is_usable())
            .map(|link| link.value().clone())
            .collect();
        usable.sort_by(|a, b| a.peer.cmp(&b.peer));
        self.usable.store(Arc::new(usable));
    }

    /// What the link's server has not answered goes to others.
    pub(crate) fn link_down(&self, link: &Arc<Link>) {
        self.links.remove_if(&link.peer, |_, current| Arc::ptr_eq(current, link));
        self.links_changed();
        let now = Instant::now();
        self.for_each_lane(|lane| {
            lane.with(|core, servers, owner| core.lost(&link.peer, servers, owner, now));
        });
    }

    /// An answer came over a link. Late ones, already given up on, are dropped.
    pub(crate) fn answered(&self, reply: Reply, packet: Bytes) {
        let lane = self.lanes.get(&SessionId(reply.session)).and_then(|lane| lane.upgrade());
        let Some(lane) = lane else { return };
        let now = Instant::now();
        lane.with(|core, servers, owner| match core.answered(reply.request, servers, now) {
            Some(request) => {
                owner.answered(&request, reply, packet);
                core.pump(servers, owner, now);
            }
            None => metrics::late_answer(),
        });
    }

    /// Answers what is overdue, and reconsiders how much each server may owe. Called a few times a
    /// second.
    pub(crate) fn tick(&self) {
        let now = Instant::now();
        let millis = self.millis(now);
        let elapsed = millis.saturating_sub(self.ticked.swap(millis, Ordering::Relaxed));
        self.look_at_servers(Duration::from_millis(elapsed));
        if self.earliest.load(Ordering::SeqCst) > millis {
            return;
        }
        // Lanes that get an earlier deadline meanwhile lower it again.
        self.earliest.store(NEVER, Ordering::SeqCst);
        self.for_each_lane(|lane| {
            if lane.deadline.load(Ordering::SeqCst) <= millis {
                lane.with(|core, servers, owner| core.tick(servers, owner, now));
            }
            self.expect(lane.deadline.load(Ordering::SeqCst));
        });
    }

    /// A lane has this deadline from now on.
    fn expect(&self, deadline: u64) {
        // Mostly it is later than others: a look is cheaper than a change.
        if deadline < self.earliest.load(Ordering::SeqCst) {
            self.earliest.fetch_min(deadline, Ordering::SeqCst);
        }
    }

    /// Nothing was done for this long, so nothing was late: what is under way gets the time anew.
    pub(crate) fn stood_still(&self, still: Duration) {
        // Nor did servers owe answers meanwhile.
        self.ticked.store(self.millis(Instant::now()), Ordering::Relaxed);
        self.for_each_lane(|lane| lane.with(|core, _, _| core.postpone(still)));
        self.links_changed();
    }

    fn look_at_servers(&self, elapsed: Duration) {
        let bounds = self.bounds();
        for link in &self.links {
            let (peer, owed) = (&link.peer, link.pending());
            let Some(refuses) = link.admission.look(elapsed, owed, bounds) else { continue };
            let Some(more) = self.late.allow(&format!("{peer} {refuses}")) else { continue };
            match refuses {
                true => {
                    tracing::warn!(%peer, owed, "answers are late: refusing what would be too much{more}")
                }
                false => tracing::info!(%peer, owed, "refusing nothing any more{more}"),
            }
        }
    }

    /// How long requests may wait. Half of the timeout is left to what the bounds do not know of.
    fn bounds(&self) -> Bounds {
        let ForwardConfig { delay, patience, timeout, .. } = self.config;
        Bounds { delay, patience: patience.min(timeout / 2).max(delay) }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(NEVER)
    }

    /// Lanes are collected first: a lane may be dropped, and taken out of the map, meanwhile.
    fn for_each_lane(&self, visit: impl Fn(&LaneShared)) {
        let lanes: Vec<_> = self.lanes.iter().filter_map(|lane| lane.upgrade()).collect();
        for lane in lanes {
            visit(&lane);
        }
    }
}

/// Links whose servers may get something: unfit ones, which answer at once that they are, only where none
/// is fit.
fn fittest(usable: &[Arc<Link>]) -> Vec<&Arc<Link>> {
    let best = usable.iter().filter_map(|link| link.fitness()).max();
    usable.iter().filter(|link| best.is_some() && link.fitness() == best).collect()
}

/// Those of these links that a session may go over which `last` served: servers in maintenance keep their
/// sessions, and get no others unless all are in maintenance.
fn offered<'a>(links: Vec<&'a Arc<Link>>, last: Option<&PeerId>) -> Vec<&'a Arc<Link>> {
    let is_offered = |link: &Arc<Link>| !link.is_resting() || last == Some(&link.peer);
    if links.iter().all(|link| is_offered(link)) {
        return links;
    }
    let some: Vec<_> = links.iter().copied().filter(|link| is_offered(link)).collect();
    if some.is_empty() { links } else { some }
}

/// A leaving server waits for this before it goes.
fn send_drained_if_idle(link: &Link) {
    if link.state() == ServerState::Leaving && link.pending() == 0 {
        // No room at all: the server's drain is bounded anyway.
        let _ = link.try_send_urgent(Kind::Drained(Drained {}));
    }
}

impl LaneShared {
    /// A panic while the lock was held can only come from the owner; the lane itself is whole.
    fn lock(&self) -> MutexGuard<'_, LaneCore> {
        self.core.lock()
    }

    /// The link with the server of the requests in flight, or of the last ones.
    fn link_of(&self, core: &LaneCore) -> Option<Arc<Link>> {
        let link = self.forwarder.links.get(core.server()?)?;
        Some(link.value().clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut LaneCore, &dyn Servers, &dyn LaneOwner) -> T) -> T {
        let mut core = self.lock();
        let result = act(&mut core, self, &*self.owner);
        let deadline = core.deadline().map_or(NEVER, |at| self.forwarder.millis(at));
        self.deadline.store(deadline, Ordering::SeqCst);
        self.forwarder.expect(deadline);
        drop(core);
        self.changed.notify_waiters();
        result
    }

    async fn until(&self, reached: impl Fn(usize) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if reached(self.lock().len()) {
                return;
            }
            changed.await;
        }
    }
}
