//! Bounds connections that have not shown yet who they are: a new one takes the place of an old one.
//!
//! Connections that are held open grow old, and real ones are done within milliseconds: so the oldest gives
//! way. The address with the most connections does first, so that one address cannot take the places of
//! others. Whether a connection has said something does not count: an attacker could say something, too,
//! and the youngest silent one would be the real one.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    future::poll_fn,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use foldhash::fast::RandomState;
use futures::task::AtomicWaker;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// A bounded number of places. Overflow policy: the oldest connection, of the address with the most, is
/// evicted once it is older than the grace; until then, the new one waits.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    grace: Duration,
    report: fn(usize),
    state: Mutex<State>,
    freed: Notify,
}

/// A connection's place, for as long as this lives.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    id: u64,
    eviction: Arc<Eviction>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    entries: HashMap<u64, Entry, RandomState>,
    order: Order,
}

#[derive(Debug)]
struct Entry {
    network: Network,
    since: Instant,
    eviction: Arc<Eviction>,
}

/// How a connection learns that it has to go.
#[derive(Debug, Default)]
struct Eviction {
    is_due: AtomicBool,
    waker: AtomicWaker,
}

/// What one party has for its own: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Network(IpAddr);

/// Connections in the order of their eviction.
#[derive(Debug, Default)]
struct Order {
    networks: HashMap<Network, BTreeSet<u64>, RandomState>,
    /// The last one goes first: the network with the most connections, and of equals the one with the
    /// oldest.
    ranks: BTreeSet<(usize, Reverse<u64>, Network)>,
}

// === impl Slots ===

impl Slots {
    /// Places for `limit` connections. `report` is told how many are taken, at each change.
    pub fn new(limit: usize, grace: Duration, report: fn(usize)) -> Arc<Self> {
        let (state, freed) = (Mutex::default(), Notify::new());
        Arc::new(Self { limit: limit.max(1), grace, report, state, freed })
    }

    /// The tables stay whole whatever panicked while they were locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Takes a place, and another connection's where none is free. Cancel safe.
    pub async fn enter(self: &Arc<Self>, remote: IpAddr) -> Slot {
        loop {
            match self.try_enter(remote) {
                Ok(slot) => return slot,
                // Either way there may be room.
                Err(due) => drop(timeout_at(due, self.freed.notified()).await),
            }
        }
    }

    /// Fails with the time at which the next connection may be evicted.
    fn try_enter(self: &Arc<Self>, remote: IpAddr) -> Result<Slot, Instant> {
        let mut state = self.lock();
        if state.entries.len() >= self.limit {
            let due = state.due(self.grace);
            if due > Instant::now() {
                return Err(due);
            }
            state.evict();
        }
        let slot = state.add(self, Network::of(remote));
        (self.report)(state.entries.len());
        Ok(slot)
    }

    /// Evicts the next connection, whatever its age. Says whether there was one.
    pub fn evict(&self) -> bool {
        let mut state = self.lock();
        let is_evicted = state.evict();
        (self.report)(state.entries.len());
        is_evicted
    }

    /// How many places are taken.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether no place is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// === impl State ===

impl State {
    fn add(&mut self, slots: &Arc<Slots>, network: Network) -> Slot {
        let (id, eviction) = (self.next, Arc::<Eviction>::default());
        self.next += 1;
        let since = Instant::now();
        self.order.insert(network, id);
        self.entries.insert(id, Entry { network, since, eviction: eviction.clone() });
        Slot { slots: slots.clone(), id, eviction }
    }

    /// When the next eviction is due.
    fn due(&self, grace: Duration) -> Instant {
        let victim = self.order.first().and_then(|id| self.entries.get(&id));
        victim.map_or_else(Instant::now, |entry| entry.since + grace)
    }

    fn evict(&mut self) -> bool {
        let Some(entry) = self.order.first().and_then(|id| self.remove(id)) else { return false };
        entry.eviction.is_due.store(true, Ordering::Release);
        entry.eviction.waker.wake();
        true
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.order.remove(entry.network, id);
        Some(entry)
    }
}

// === impl Order ===

impl Order {
    fn insert(&mut self, network: Network, id: u64) {
        self.change(network, |ids| ids.insert(id));
    }

    fn remove(&mut self, network: Network, id: u64) {
        self.change(network, |ids| ids.remove(&id));
    }

    fn change(&mut self, network: Network, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let ids = self.networks.entry(network).or_default();
        if let Some(oldest) = ids.first() {
            self.ranks.remove(&(ids.len(), Reverse(*oldest), network));
        }
        change(ids);
        match ids.first() {
            Some(oldest) => {
                self.ranks.insert((ids.len(), Reverse(*oldest), network));
            }
            None => {
                self.networks.remove(&network);
            }
        }
    }

    fn first(&self) -> Option<u64> {
        self.ranks.last().map(|(_, Reverse(oldest), _)| *oldest)
    }
}

// === impl Network ===

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(ip) => Self(IpAddr::V6((ip.to_bits() & (!0 << 64)).into())),
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

// === impl Slot ===

impl Slot {
    /// Whether another connection has taken this place.
    pub fn is_evicted(&self) -> bool {
        self.eviction.is_due.load(Ordering::Acquire)
    }

    /// Ready once another connection has taken this place. For one task at a time.
    pub fn poll_evicted(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_evicted() {
            return Poll::Ready(());
        }
        self.eviction.waker.register(cx.waker());
        if self.is_evicted() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Resolves once another connection has taken this place. For one task at a time.
    pub async fn evicted(&self) {
        poll_fn(|cx| self.poll_evicted(cx)).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        // An evicted one has been removed.
        if state.remove(self.id).is_some() {
            (self.slots.report)(state.entries.len());
            self.slots.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    async fn enter(slots: &Arc<Slots>, last: u8) -> Slot {
        slots.enter(address(last)).await
    }

    fn slots(limit: usize, grace: Duration) -> Arc<Slots> {
        Slots::new(limit, grace, |_| {})
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way_and_no_more_places_are_taken_than_there_are() {
        let slots = slots(3, Duration::ZERO);
        let mut held = Vec::new();
        for entered in 1..=1000 {
            held.push(enter(&slots, 1).await);
            assert_eq!(slots.len(), entered.min(3));
        }
        let evicted: Vec<_> = held.iter().map(Slot::is_evicted).collect();
        assert_eq!(evicted.iter().position(|is| !is), Some(997));
        held[996].evicted().await;
        drop(held);
        assert!(slots.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_the_most_gives_way_before_the_oldest_of_all() {
        let slots = slots(4, Duration::ZERO);
        let lone = enter(&slots, 1).await;
        let crowd = [enter(&slots, 2).await, enter(&slots, 2).await, enter(&slots, 2).await];
        let next = enter(&slots, 3).await;
        assert!(!lone.is_evicted() && crowd[0].is_evicted());
        let last = enter(&slots, 4).await;
        assert!(!lone.is_evicted() && crowd[1].is_evicted());
        // Now each has one: the oldest goes.
        let _ = enter(&slots, 5).await;
        assert!(lone.is_evicted() && !crowd[2].is_evicted());
        assert!(!next.is_evicted() && !last.is_evicted());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_party_has_one_network_whatever_its_last_bits() {
        let slots = slots(3, Duration::ZERO);
        let lone = slots.enter("2001:db8:0:1::1".parse().unwrap()).await;
        let crowd = slots.enter("2001:db8:0:2::1".parse().unwrap()).await;
        let _more = slots.enter("2001:db8:0:2:ffff::2".parse().unwrap()).await;
        let _next = slots.enter("::ffff:192.0.2.1".parse().unwrap()).await;
        assert!(crowd.is_evicted() && !lone.is_evicted());
    }

    #[tokio::test(start_paused = true)]
    async fn within_the_grace_the_new_one_waits_for_a_free_place_or_for_the_end_of_the_grace() {
        let slots = slots(1, SECOND);
        let first = enter(&slots, 1).await;
        assert!(enter(&slots, 1).now_or_never().is_none());
        let begun = Instant::now();
        let second = enter(&slots, 1).await;
        assert!(first.is_evicted() && begun.elapsed() >= SECOND);

        let freed = {
            let slots = slots.clone();
            tokio::spawn(async move { enter(&slots, 1).await })
        };
        tokio::task::yield_now().await;
        let begun = Instant::now();
        drop(second);
        freed.await.unwrap();
        assert!(begun.elapsed() < SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn an_eviction_wakes_who_waits_for_it() {
        let slots = slots(8, SECOND);
        let slot = enter(&slots, 1).await;
        let waiting = tokio::spawn(async move { slot.evicted().await });
        tokio::task::yield_now().await;
        assert!(slots.evict());
        waiting.await.unwrap();
        assert!(!slots.evict(), "none is left");
    }
}
