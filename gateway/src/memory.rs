//! Bounds on what all clients of a gateway hold together: packets that have not arrived in whole, and
//! what waits to be sent.
//!
//! Each connection has a [`Footprint`], which changes in steps of some KiB: so a client that sends and
//! takes what is usual changes nothing here, and no lock is in the way of a message. Only where a total
//! passes its limit are all connections looked through, and those who hold the most, or for the longest,
//! are ended until an eighth of the limit is free.

use std::{
    cmp::Reverse,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::metrics;

/// Bytes that a connection may hold unaccounted.
const UNACCOUNTED: usize = 2 << 10;
/// A footprint is a multiple of this.
const STEP: usize = 4 << 10;
/// The index of a footprint that is not listed.
const UNLISTED: u32 = u32::MAX;

/// What all connections hold together.
#[derive(Debug)]
pub(crate) struct Memory {
    input: Total,
    output: Total,
    holders: Mutex<Holders>,
    /// Held while connections are ended.
    relieving: Mutex<()>,
    start: Instant,
}

#[derive(Debug)]
struct Total {
    /// Below zero for a moment, where two threads change the same part of it.
    used: AtomicI64,
    limit: i64,
    report: fn(f64),
}

/// All connections, at the indices that their footprints know.
#[derive(Debug, Default)]
struct Holders {
    entries: Vec<Option<Weak<dyn Holder>>>,
    free: Vec<u32>,
}

/// A connection that can be ended so that it gives back what it holds.
pub(crate) trait Holder: fmt::Debug + Send + Sync {
    /// What it holds.
    fn footprint(&self) -> &Footprint;
    /// Bytes that wait to be sent to it, whether others hold them too or not.
    fn queued(&self) -> usize;
    /// Ends it because it has waited too long for the rest of a packet.
    fn end_input(&self);
    /// Ends it because too much waits for it.
    fn end_output(&self);
}

/// What a connection holds.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// None where nothing is counted.
    memory: Option<Arc<Memory>>,
    index: AtomicU32,
    /// Bytes of a packet that has not arrived in whole.
    input: AtomicU32,
    /// Since when, in milliseconds of the gateway's life.
    since: AtomicU32,
    /// Bytes that wait to be sent, and that no other connection holds.
    output: AtomicU32,
}

/// A packet that many connections hold, counted once.
struct Common {
    packet: Box<[u8]>,
    memory: Arc<Memory>,
}

/// The tables stay whole whatever panicked while they were locked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Memory ===

impl Memory {
    /// Limits of bytes of packets that have not arrived in whole, and of bytes that wait to be sent.
    pub(crate) fn new(input: usize, output: usize) -> Arc<Self> {
        Arc::new(Self {
            input: Total::new(input, metrics::input_bytes),
            output: Total::new(output, metrics::queued_bytes),
            holders: Mutex::default(),
            relieving: Mutex::default(),
            start: Instant::now(),
        })
    }

    /// Lists a connection among those that may be ended, for as long as its footprint lives.
    pub(crate) fn list(&self, holder: &Arc<dyn Holder>) {
        let mut holders = lock(&self.holders);
        let listed = Some(Arc::downgrade(holder));
        let index = match holders.free.pop() {
            Some(index) => index,
            None => u32::try_from(holders.entries.len()).unwrap_or(UNLISTED),
        };
        match holders.entries.get_mut(index as usize) {
            Some(free) => *free = listed,
            None => holders.entries.push(listed),
        }
        holder.footprint().index.store(index, Ordering::Relaxed);
    }

    /// A packet for many connections, counted until the last of them has let go of it. No connection's
    /// queue may be locked.
    pub(crate) fn share(self: &Arc<Self>, packet: &[u8]) -> Bytes {
        if self.output.change(0, packet.len()) {
            self.relieve_output();
        }
        // A copy: the packet keeps all that was read from its link together with it.
        Bytes::from_owner(Common { packet: packet.into(), memory: self.clone() })
    }

    /// Bytes that are accounted of packets that have not arrived in whole.
    #[cfg(test)]
    pub(crate) fn input(&self) -> i64 {
        self.input.used.load(Ordering::Relaxed)
    }

    fn now(&self) -> u32 {
        // Wraps after 49 days: only differences count.
        self.start.elapsed().as_millis() as u32
    }

    /// Ends those who have waited the longest for the rest of a packet.
    #[cold]
    fn relieve_input(&self) {
        let now = self.now();
        let age = |holder: &dyn Holder| {
            let footprint = holder.footprint();
            let holds = footprint.input.load(Ordering::Relaxed) > 0;
            holds.then(|| now.wrapping_sub(footprint.since.load(Ordering::Relaxed)))
        };
        self.relieve(&self.input, age, |holder| {
            metrics::input_evicted();
            holder.end_input();
            holder.footprint().release_input()
        });
    }

    /// Cuts those off for whom the most waits.
    #[cold]
    fn relieve_output(&self) {
        let queued = |holder: &dyn Holder| Some(holder.queued()).filter(|queued| *queued > 0);
        self.relieve(&self.output, queued, |holder| {
            metrics::queue_evicted();
            let queued = holder.queued();
            holder.end_output();
            queued
        });
    }

    /// Ends connections, those with the highest rank first, until an eighth of the limit is free. `end`
    /// says what it frees.
    fn relieve<R: Ord>(
        &self,
        total: &Total,
        rank: impl Fn(&dyn Holder) -> Option<R>,
        end: impl Fn(&dyn Holder) -> usize,
    ) {
        let _relieving = lock(&self.relieving);
        let used = total.used.load(Ordering::Relaxed);
        if used <= total.limit {
            return;
        }
        let excess = used - (total.limit - total.limit / 8);
        // The last share in a connection unlists it: the list is not locked when it is let go.
        let listed: Vec<_> =
            lock(&self.holders).entries.iter().flatten().filter_map(Weak::upgrade).collect();
        let ranked = listed.into_iter().filter_map(|holder| Some((rank(&*holder)?, holder)));
        let mut ranked: Vec<_> = ranked.map(|(rank, holder)| (Reverse(rank), holder)).collect();
        ranked.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let (mut freed, mut ended) = (0, 0);
        for (_, holder) in ranked {
            if freed >= excess {
                break;
            }
            freed += end(&*holder) as i64;
            ended += 1;
        }
        let limit = total.limit;
        tracing::warn!(used, limit, freed, ended, "clients hold too much together, ended some");
    }
}

// === impl Total ===

impl Total {
    fn new(limit: usize, report: fn(f64)) -> Self {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Self { used: AtomicI64::new(0), limit, report }
    }

    /// A part of the total changes from `old` to `new`. Returns whether it grows beyond the limit.
    fn change(&self, old: usize, new: usize) -> bool {
        let by = new as i64 - old as i64;
        if by == 0 {
            return false;
        }
        let used = self.used.fetch_add(by, Ordering::Relaxed) + by;
        (self.report)(by as f64);
        by > 0 && used > self.limit
    }
}

// === impl Footprint ===

impl Default for Footprint {
    fn default() -> Self {
        let (index, none) = (AtomicU32::new(UNLISTED), AtomicU32::default);
        Self { memory: None, index, input: none(), since: none(), output: none() }
    }
}

impl Footprint {
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        let mut footprint = Self::default();
        footprint.memory = Some(memory.clone());
        footprint
    }

    /// The connection holds this many bytes of a packet that has not arrived in whole. `is_another`: a
    /// packet has arrived in whole since the last time. Nothing may be locked that ending a connection
    /// locks.
    pub(crate) fn set_input(&self, bytes: usize, is_another: bool) {
        let Some(memory) = &self.memory else { return };
        let (old, new) = (self.input.load(Ordering::Relaxed), accounted(bytes));
        if new > 0 && (old == 0 || is_another) {
            self.since.store(memory.now(), Ordering::Relaxed);
        }
        if old == new {
            return;
        }
        // It may have been released meanwhile.
        let old = self.input.swap(new, Ordering::Relaxed);
        if memory.input.change(old as usize, new as usize) {
            memory.relieve_input();
        }
    }

    /// What is accounted of a packet that has not arrived in whole.
    #[cfg(test)]
    pub(crate) fn input(&self) -> usize {
        self.input.load(Ordering::Relaxed) as usize
    }

    /// Returns what the connection has held of a packet, which is not counted any more: it ends.
    fn release_input(&self) -> usize {
        let old = self.input.swap(0, Ordering::Relaxed) as usize;
        if let Some(memory) = &self.memory {
            memory.input.change(old, 0);
        }
        old
    }

    /// This many bytes wait to be sent that no other connection holds. For one caller at a time. Returns
    /// whether too much waits for all connections together: then
    /// [`relieve_output`](Self::relieve_output) has to follow.
    #[must_use]
    pub(crate) fn set_output(&self, bytes: usize) -> bool {
        let (old, new) = (self.output.load(Ordering::Relaxed), accounted(bytes));
        if old == new {
            return false;
        }
        self.output.store(new, Ordering::Relaxed);
        self.memory.as_ref().is_some_and(|it| it.output.change(old as usize, new as usize))
    }

    /// Cuts connections off, if there is still too much. No connection's queue may be locked.
    pub(crate) fn relieve_output(&self) {
        if let Some(memory) = &self.memory {
            memory.relieve_output();
        }
    }
}

impl Drop for Footprint {
    fn drop(&mut self) {
        let Some(memory) = &self.memory else { return };
        let index = *self.index.get_mut();
        if index != UNLISTED {
            let mut holders = lock(&memory.holders);
            if let Some(listed) = holders.entries.get_mut(index as usize) {
                *listed = None;
                holders.free.push(index);
            }
        }
        memory.input.change(*self.input.get_mut() as usize, 0);
        memory.output.change(*self.output.get_mut() as usize, 0);
    }
}

/// What is accounted for this many bytes.
fn accounted(bytes: usize) -> u32 {
    if bytes <= UNACCOUNTED {
        return 0;
    }
    u32::try_from(bytes.next_multiple_of(STEP)).unwrap_or(u32::MAX)
}

// === impl Common ===

impl AsRef<[u8]> for Common {
    fn as_ref(&self) -> &[u8] {
        &self.packet
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        self.memory.output.change(self.packet.len(), 0);
    }
}

#[cfg(test)]
mod tests;
