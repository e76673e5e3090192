//! What the directory's callers and its keeper share: the links' view, and the way to Redis.

use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    RedisOptions,
    entry::Keys,
    link::{Link, Lost},
};
use crate::{Replicated, metrics};

/// Between two warnings of one outage.
const WARN_EVERY: Duration = Duration::from_secs(30);

/// What callers and keeper share.
pub(super) struct Shared {
    pub(super) options: RedisOptions,
    pub(super) keys: Keys,
    /// What the links tell.
    pub(super) local: Replicated,
    /// Changes were dropped since everything was written.
    pub(super) overflowed: AtomicBool,
    /// Notified when the set of gateways changes.
    pub(super) gateways_changed: Notify,
    /// Notified when a reader has lost Redis.
    pub(super) reader_lost: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` while Redis is lost.
    reader: Option<Link>,
    /// Counts the readers, so that a late failure of an old one does not end the new one.
    generation: u64,
    warned: Option<Instant>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(options: RedisOptions, keys: Keys, local: Replicated) -> Self {
        metrics::show_redis();
        metrics::directory_redis_up(false);
        Self {
            options,
            keys,
            local,
            overflowed: AtomicBool::new(false),
            gateways_changed: Notify::new(),
            reader_lost: Notify::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns the link to Redis, unless it is lost.
    pub(super) fn reader(&self) -> Option<(Link, u64)> {
        let state = self.state();
        state.reader.clone().map(|reader| (reader, state.generation))
    }

    /// Records that Redis has all sessions.
    pub(super) fn found(&self, reader: Link) {
        let mut state = self.state();
        state.reader = Some(reader);
        state.generation += 1;
        state.warned = None;
        metrics::directory_redis_up(true);
        tracing::info!("session directory: Redis holds all sessions");
    }

    /// Records a loss of Redis. Readers do without it, and the log has a warning, at most once in a while.
    pub(super) fn lost(&self, why: &Lost) {
        metrics::directory_redis_error();
        metrics::directory_redis_up(false);
        let mut state = self.state();
        state.reader = None;
        let now = Instant::now();
        if state.warned.is_some_and(|warned| now - warned < WARN_EVERY) {
            return;
        }
        state.warned = Some(now);
        tracing::warn!(
            error = %why,
            "session directory: Redis is lost, going on with what the links tell until it is back"
        );
    }

    /// Records the failure of a reader of this generation.
    pub(super) fn reader_failed(&self, generation: u64, why: &Lost) {
        let is_current = {
            let state = self.state();
            state.reader.is_some() && state.generation == generation
        };
        if is_current {
            self.lost(why);
            self.reader_lost.notify_one();
        }
    }
}
