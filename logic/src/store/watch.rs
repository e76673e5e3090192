//! Watches whether the message store works, and reports each change.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use imago_container::{LogicHandle, Trouble};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{MessageStore, Result, StoreError};
use crate::metrics;

/// Pause between two probes. A store that has just written is not probed.
const INTERVAL: Duration = Duration::from_millis(500);

/// The health of a message store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Health {
    /// Reads and writes succeed.
    #[default]
    Well,
    /// Only reads succeed: a full disk, a lock that another process keeps, a standby.
    Unwritable,
    /// Neither reads nor writes succeed.
    Away,
}

/// What a request needs of the message store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It is answered without.
    Nothing,
    /// It only reads.
    Reading,
    /// It writes.
    Writing,
}

/// The health of the message store by the last probes.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    /// A [`Health`].
    health: AtomicU8,
    changed: Notify,
}

// === impl StoreState ===

impl StoreState {
    /// Returns whether the store cannot serve this need.
    pub(crate) fn lacks(&self, need: Need) -> bool {
        let health = self.health.load(Ordering::Relaxed);
        match need {
            Need::Nothing => false,
            Need::Reading => health >= Health::Away as u8,
            Need::Writing => health >= Health::Unwritable as u8,
        }
    }

    /// Resolves once the store cannot serve this need.
    pub(crate) async fn lost(&self, need: Need) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.lacks(need) {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn set(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// Takes the trouble of a server: see [`LogicHandle::set_trouble`].
#[async_trait]
pub(crate) trait TroubleSink: Send + Sync + 'static {
    async fn set_trouble(&self, trouble: Option<Trouble>);
}

#[async_trait]
impl TroubleSink for LogicHandle {
    async fn set_trouble(&self, trouble: Option<Trouble>) {
        Self::set_trouble(self, trouble).await;
    }
}

/// The part of a [`MessageStore`] that is watched.
#[async_trait]
pub(crate) trait Probed: Send + Sync {
    async fn probe(&self) -> Result<()>;
    async fn probe_reading(&self) -> Result<()>;
    fn last_write(&self) -> Option<Instant>;
}

#[async_trait]
impl<S: MessageStore + ?Sized> Probed for S {
    async fn probe(&self) -> Result<()> {
        MessageStore::probe(self).await
    }

    async fn probe_reading(&self) -> Result<()> {
        MessageStore::probe_reading(self).await
    }

    fn last_write(&self) -> Option<Instant> {
        MessageStore::last_write(self)
    }
}

/// Watches a store.
pub(crate) struct StoreWatch<S: ?Sized> {
    pub(crate) store: Arc<S>,
    pub(crate) state: Arc<StoreState>,
    /// How long the store may fail before it counts as away, and how long a probe may take.
    pub(crate) patience: Duration,
    pub(crate) sink: Arc<dyn TroubleSink>,
}

// === impl StoreWatch ===

impl<S: Probed + ?Sized> StoreWatch<S> {
    /// Probes until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut judge = Judge::new(self.patience, Instant::now());
        let mut before = Health::Well;
        loop {
            let probed = async {
                sleep(INTERVAL).await;
                self.probe().await
            };
            let Some(result) = stop.run_until_cancelled(probed).await else { return };
            let (health, trouble) = judge.on(result, self.store.last_write(), Instant::now());
            if health != before {
                self.change(health, trouble.as_ref());
            }
            if health.max(before) > Health::Well {
                self.sink.set_trouble(trouble).await;
            }
            before = health;
        }
    }

    /// Probes the store, unless a write has just succeeded.
    async fn probe(&self) -> ProbeResult {
        if self.store.last_write().is_some_and(|last| last.elapsed() < INTERVAL) {
            return ProbeResult { written: Ok(()), read: Ok(()) };
        }
        let late = |_| Err(StoreError::Failed(format!("no answer within {:?}", self.patience)));
        let (written, read) = tokio::join!(
            timeout(self.patience, self.store.probe()),
            timeout(self.patience, self.store.probe_reading()),
        );
        ProbeResult { written: written.unwrap_or_else(late), read: read.unwrap_or_else(late) }
    }

    fn change(&self, health: Health, trouble: Option<&Trouble>) {
        metrics::store_fit(health == Health::Well);
        self.state.set(health);
        let why = trouble.map(|trouble| trouble.why.as_str()).unwrap_or_default();
        match health {
            Health::Well => tracing::warn!("fit again: the message store is back"),
            Health::Unwritable => tracing::warn!(
                why,
                "unfit: until the store can be written, requests that write are answered 300, or go to \
                 other servers; those that read are answered"
            ),
            Health::Away => tracing::warn!(
                why,
                "unfit: requests are answered 300, or go to other servers, until the store is back"
            ),
        }
    }
}

/// The outcome of a probe.
#[derive(Debug)]
struct ProbeResult {
    written: Result<()>,
    read: Result<()>,
}

/// Judges a store by the outcomes of its probes.
#[derive(Debug)]
struct Judge {
    patience: Duration,
    /// When the store last wrote.
    good: Instant,
}

// === impl Judge ===

impl Judge {
    fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, good: now }
    }

    /// Takes the result of a probe and the time of the last write. Returns the health, with the trouble of a
    /// store that could not be written for longer than the patience.
    fn on(
        &mut self,
        ProbeResult { written, read }: ProbeResult,
        last_write: Option<Instant>,
        now: Instant,
    ) -> (Health, Option<Trouble>) {
        let good = if written.is_ok() { Some(now) } else { last_write };
        self.good = self.good.max(good.unwrap_or(self.good));
        let failed = now.saturating_duration_since(self.good);
        let Some(error) = written.err().filter(|_| failed >= self.patience) else {
            return (Health::Well, None);
        };
        let why = match error {
            StoreError::Failed(text) => text,
            other => other.to_string(),
        };
        let (health, what) = match read {
            Ok(()) => (Health::Unwritable, "cannot be written, only read"),
            Err(_) => (Health::Away, "cannot be written or read"),
        };
        let why = format!("message store {what}: {why}");
        (health, Some(Trouble { why, since: self.good }))
    }
}

#[cfg(test)]
mod tests;
