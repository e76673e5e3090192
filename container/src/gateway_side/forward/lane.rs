//! One session's way to the logic servers, as its connection holds it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use imago_proto::Status;

use super::{LaneShared, core::BUSY};
use crate::{Request, link::admission, metrics};

/// Ordered requests of one session. Each submitted request is answered once through its
/// [`LaneOwner`](crate::LaneOwner), unless the lane is dropped before.
pub struct Lane {
    pub(super) shared: Arc<LaneShared>,
}

// === impl Lane ===

impl Lane {
    /// Hands a request over.
    pub fn submit(&self, request: Request) {
        let id = self.shared.forwarder.next_request.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.shared.with(|core, servers, owner| core.submit(id, request, servers, owner, now));
    }

    /// Answers a request "busy" in place of handing it over, because what the client sent beyond
    /// its window has waited for too long.
    pub fn refuse(&self, request: &Request) {
        metrics::forward_refused();
        self.count_overfull();
        self.shared.owner.refused(request, Status::SystemException, BUSY);
    }

    /// Tells the server's admission how much is owed to this session, once in an interval.
    fn count_overfull(&self) {
        let ticked = self.shared.forwarder.ticked.load(Ordering::Relaxed);
        let interval = u128::from(ticked) / admission::OVERFULL_EVERY.as_millis();
        let interval = u64::try_from(interval).unwrap_or(u64::MAX);
        if self.shared.overfull.swap(interval, Ordering::Relaxed) != interval {
            let core = self.shared.lock();
            if let Some(link) = self.shared.link_of(&core) {
                link.admission.overfull(core.len());
            }
        }
    }

    /// Requests that are not answered.
    pub fn in_flight(&self) -> usize {
        self.shared.lock().len()
    }

    /// Whether fewer requests than the window are unanswered.
    pub fn has_room(&self) -> bool {
        self.in_flight() < self.shared.forwarder.config.window
    }

    /// Whether the server of its requests owes so many answers that it may be behind: who waits for
    /// it then, waits for what others sent.
    pub fn is_crowded(&self) -> bool {
        let link = self.shared.link_of(&self.shared.lock());
        link.is_some_and(|link| link.pending() > admission::LEAST)
    }

    /// The shortest that [`patience`](Self::patience) may be.
    pub fn delay(&self) -> Duration {
        self.shared.forwarder.config.delay
    }

    /// How long what the client sent beyond its window may wait before it is better refused.
    pub fn patience(&self) -> Duration {
        let most = self.shared.forwarder.bounds().patience;
        let link = self.shared.link_of(&self.shared.lock());
        link.map_or(most, |link| link.admission.unread(most))
    }

    /// Resolves when fewer requests than the window are unanswered: until then no more should be
    /// read from the client.
    pub async fn room(&self) {
        let window = self.shared.forwarder.config.window;
        self.shared.until(|len| len < window).await;
    }

    /// Resolves when every request is answered.
    pub async fn idle(&self) {
        self.shared.until(|len| len == 0).await;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Only this very lane: another one of the session stays.
        let own = Arc::downgrade(&self.shared);
        let lanes = &self.shared.forwarder.lanes;
        lanes.remove_if(&self.shared.session, |_, lane| lane.ptr_eq(&own));
        self.shared.with(|core, servers, _| core.abandon(servers));
    }
}
