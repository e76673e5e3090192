//! Watches whether the message store can be used, and tells of each change.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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

/// Pause between two probes of a store to which nothing is written.
const INTERVAL: Duration = Duration::from_millis(500);

/// Whether the message store can be used, as the last probes found.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    is_away: AtomicBool,
    changed: Notify,
}

// === impl StoreState ===

impl StoreState {
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Resolves once the store cannot be used.
    pub(crate) async fn away(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_away() {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// Hears whether the server can do its work: see [`LogicHandle::set_trouble`].
#[async_trait]
pub(crate) trait Hearer: Send + Sync + 'static {
    async fn set_trouble(&self, trouble: Option<Trouble>);
}

#[async_trait]
impl Hearer for LogicHandle {
    async fn set_trouble(&self, trouble: Option<Trouble>) {
        Self::set_trouble(self, trouble).await;
    }
}

/// What is watched of a store: see [`MessageStore`].
#[async_trait]
pub(crate) trait Watched: Send + Sync {
    async fn probe(&self) -> Result<()>;
    fn last_write(&self) -> Option<Instant>;
}

#[async_trait]
impl<S: MessageStore + ?Sized> Watched for S {
    async fn probe(&self) -> Result<()> {
        MessageStore::probe(self).await
    }

    fn last_write(&self) -> Option<Instant> {
        MessageStore::last_write(self)
    }
}

/// The watch over a store.
pub(crate) struct StoreWatch<S: ?Sized> {
    pub(crate) store: Arc<S>,
    pub(crate) state: Arc<StoreState>,
    /// How long the store may fail before it counts as away, and how long a probe may take.
    pub(crate) patience: Duration,
    pub(crate) hearer: Arc<dyn Hearer>,
}

// === impl StoreWatch ===

impl<S: Watched + ?Sized> StoreWatch<S> {
    /// Probes until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut judge = Judge::new(self.patience, Instant::now());
        let mut was_away = false;
        loop {
            let looked = async {
                sleep(INTERVAL).await;
                self.look().await
            };
            let Some(outcome) = stop.run_until_cancelled(looked).await else { return };
            let trouble = judge.on(outcome, self.store.last_write(), Instant::now());
            let is_away = trouble.is_some();
            if is_away != was_away {
                self.change(trouble.as_ref());
            }
            if is_away || was_away {
                self.hearer.set_trouble(trouble).await;
            }
            was_away = is_away;
        }
    }

    /// A write that has just succeeded says as much as a probe.
    async fn look(&self) -> Result<()> {
        if self.store.last_write().is_some_and(|last| last.elapsed() < INTERVAL) {
            return Ok(());
        }
        let late = |_| Err(StoreError::Failed(format!("no answer within {:?}", self.patience)));
        timeout(self.patience, self.store.probe()).await.unwrap_or_else(late)
    }

    fn change(&self, trouble: Option<&Trouble>) {
        metrics::store_fit(trouble.is_none());
        self.state.set_away(trouble.is_some());
        match trouble {
            Some(Trouble { why, .. }) => tracing::warn!(
                why,
                "unfit: requests are answered 300, or go to other servers, until the store is back"
            ),
            None => tracing::warn!("fit again: the message store is back"),
        }
    }
}

/// Judges a store by the outcomes of its probes.
#[derive(Debug)]
struct Judge {
    patience: Duration,
    /// When it was last well.
    good: Instant,
}

// === impl Judge ===

impl Judge {
    fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, good: now }
    }

    /// Takes an outcome and when something was last written. Tells the trouble of a store that has
    /// failed for longer than the patience.
    fn on(
        &mut self,
        outcome: Result<()>,
        written: Option<Instant>,
        now: Instant,
    ) -> Option<Trouble> {
        let good = if outcome.is_ok() { Some(now) } else { written };
        self.good = self.good.max(good.unwrap_or(self.good));
        let error = outcome.err()?;
        let failed = now.saturating_duration_since(self.good);
        let why = match error {
            StoreError::Failed(text) => text,
            other => other.to_string(),
        };
        (failed >= self.patience).then(|| Trouble {
            why: format!("message store cannot be written or read: {why}"),
            since: self.good,
        })
    }
}

#[cfg(test)]
mod tests;
