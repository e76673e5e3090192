//! The directory in Redis: all logic servers can locate the sessions that a link tells one of them.
//!
//! Links feed every logic server as they do without Redis, and outrank it. A session that a link has told is
//! located even if Redis does not have it yet, and one that a link has ended is not located even if Redis still
//! has it. Redis adds the sessions of gateways with which this server has no link, or whose link is behind. A
//! loss of Redis takes away only those.
//!
//! One server at a time, the holder of a gateway's lease, [writes](keeper) the gateway's sessions, so that each
//! change is written once. Entries count as long as the lease names their gateway's incarnation. Entries that
//! are not refreshed expire.

mod commands;
mod ended;
mod entry;
mod keeper;
mod link;
mod options;
mod shared;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use imago_container::{PeerId, SyncBatch};
use imago_proto::{Account, App, Incarnation, ServiceId, SessionId};
use parking_lot::{Mutex, MutexGuard};
use redis::Value;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::options::RedisOptions;
use self::{
    ended::Ended,
    entry::Keys,
    keeper::{Change, Keeper},
    link::{Link, Lost},
    shared::Shared,
};
use super::{DevicePolicy, Kick, Replicated, Session, SessionDirectory};
use crate::metrics;

/// Accounts that are read by one pipeline.
const READ_BATCH: usize = 256;

/// The directory in Redis.
pub struct RedisDirectory {
    shared: Arc<Shared>,
    /// Overflow policy: dropped and counted; then everything is written again.
    changes: mpsc::Sender<Change>,
    ended: Mutex<Ended>,
}

// === impl RedisDirectory ===

impl RedisDirectory {
    /// Starts to keep the sessions of a cluster in Redis, until `stop`. It connects, and connects again after a
    /// loss, in the background.
    pub fn start(
        options: RedisOptions,
        policy: DevicePolicy,
        cluster: &str,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (changes, waiting) = mpsc::channel(options.queue);
        let shared = Shared::new(options, Keys::new(cluster), Replicated::new(policy));
        let shared = Arc::new(shared);
        tasks.spawn(Keeper::new(shared.clone(), waiting).run(stop.clone()));
        Self { shared, changes, ended: Mutex::default() }
    }

    /// Returns whether Redis has all sessions and can be read.
    pub fn is_up(&self) -> bool {
        self.shared.reader().is_some()
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock()
    }

    /// Queues a session to be written or removed, by what links tell at that time.
    fn touch(&self, session: &Session) {
        // A gateway's first sync is written at its end.
        if !self.shared.local.read(|core| core.is_told(&session.gateway)) {
            return;
        }
        if self.changes.try_send(Change::of(session)).is_err() {
            metrics::directory_write_dropped();
            self.shared.overflowed.store(true, Ordering::SeqCst);
        }
        metrics::directory_pending_writes(self.changes.max_capacity() - self.changes.capacity());
    }

    fn end(&self, session: &Session) {
        self.ended().insert(&session.gateway, session.id);
        self.touch(session);
    }

    /// Adds the sessions that only Redis knows.
    async fn add(
        &self,
        link: &Link,
        located: &mut Vec<Arc<Session>>,
        app: &App,
        accounts: &[Account],
    ) -> Result<(), Lost> {
        let mut added = self.read(link, app, accounts).await?;
        let told: HashSet<(&PeerId, SessionId)> =
            located.iter().map(|session| (&session.gateway, session.id)).collect();
        added.retain(|session| !told.contains(&(&session.gateway, session.id)));
        {
            let ended = self.ended();
            added.retain(|session| !ended.contains(&session.gateway, session.id));
        }
        if !added.is_empty() {
            let alive = self.leases(link, &added).await?;
            added.retain(|session| {
                alive.get(&session.gateway.service_id) == Some(&session.gateway.incarnation)
            });
        }
        located.extend(added.into_iter().map(Arc::new));
        Ok(())
    }

    async fn read(
        &self,
        link: &Link,
        app: &App,
        accounts: &[Account],
    ) -> Result<Vec<Session>, Lost> {
        let Shared { keys, options, .. } = &*self.shared;
        let mut found = Vec::new();
        for accounts in accounts.chunks(READ_BATCH) {
            let commands: Vec<_> =
                accounts.iter().map(|account| commands::read(keys, app, account)).collect();
            let answers = link.run(&commands, options.timeout).await?;
            for (account, answer) in accounts.iter().zip(answers) {
                let fields: Vec<(String, Vec<u8>)> =
                    redis::from_redis_value(answer).map_err(redis::RedisError::from)?;
                let sessions =
                    fields.iter().filter_map(|(field, value)| entry::decode(field, value));
                found.extend(
                    sessions.filter(|session| session.app == *app && session.account == *account),
                );
            }
        }
        Ok(found)
    }

    /// Returns the incarnation of each gateway by its lease.
    async fn leases(
        &self,
        link: &Link,
        sessions: &[Session],
    ) -> Result<HashMap<ServiceId, Incarnation>, Lost> {
        let Shared { keys, options, .. } = &*self.shared;
        let gateways: HashSet<ServiceId> =
            sessions.iter().map(|session| session.gateway.service_id.clone()).collect();
        let commands: Vec<_> =
            gateways.iter().map(|gateway| commands::lease(keys, gateway)).collect();
        let answers = link.run(&commands, options.timeout).await?;
        let leases = gateways.into_iter().zip(answers).filter_map(|(gateway, answer)| {
            let Value::BulkString(lease) = answer else { return None };
            let incarnation = entry::incarnation(std::str::from_utf8(&lease).ok()?)?;
            Some((gateway, incarnation))
        });
        Ok(leases.collect())
    }
}

#[async_trait]
impl SessionDirectory for RedisDirectory {
    fn sync_begin(&self, gateway: &PeerId) {
        self.shared.local.sync_begin(gateway);
    }

    fn session_up(&self, session: Session) -> Vec<Kick> {
        let local = &self.shared.local;
        if local.session(&session.gateway, session.id).is_some() {
            // The sync has told a known session again.
            return local.session_up(session);
        }
        self.ended().remove(&session.gateway, session.id);
        let (gateway, id) = (session.gateway.clone(), session.id);
        let kicks = local.session_up(session);
        if let Some(session) = local.session(&gateway, id) {
            self.touch(&session);
        }
        for kick in &kicks {
            self.end(&kick.loser);
        }
        kicks
    }

    fn sessions_up(&self, batch: SyncBatch<'_>) -> Vec<Kick> {
        let local = &self.shared.local;
        let (gateway, sessions) = (batch.gateway(), batch.packed());
        if local.read(|core| core.is_told(gateway)) {
            let sessions = sessions.iter().map(|told| Session::told(gateway, &told.view()));
            return sessions.flat_map(|session| self.session_up(session)).collect();
        }
        // A first sync, which is written as a whole, at its end.
        {
            let mut ended = self.ended();
            sessions.iter().for_each(|session| ended.remove(gateway, SessionId(session.id)));
        }
        let kicks = local.sessions_up(batch);
        for kick in &kicks {
            self.end(&kick.loser);
        }
        kicks
    }

    fn session_down(&self, gateway: &PeerId, id: SessionId) {
        if let Some(session) = self.shared.local.change(|core| core.session_down(gateway, id)) {
            self.end(&session);
        }
    }

    fn sync_end(&self, gateway: &PeerId) {
        for session in self.shared.local.change(|core| core.sync_end(gateway)) {
            self.end(&session);
        }
        self.shared.gateways_changed.notify_one();
    }

    fn gateway_gone(&self, gateway: &PeerId) {
        self.shared.local.gateway_gone(gateway);
        self.shared.gateways_changed.notify_one();
    }

    fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        self.shared.local.session(gateway, id)
    }

    fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        self.shared.local.sessions_of(gateway)
    }

    fn len(&self) -> usize {
        self.shared.local.len()
    }

    async fn locate_all(&self, app: &App, accounts: &[Account]) -> Vec<Arc<Session>> {
        let reader = self.shared.reader();
        let mut located = self.shared.local.locate_all(app, accounts).await;
        if let Some((link, generation)) = reader
            && let Err(lost) = self.add(&link, &mut located, app, accounts).await
        {
            self.shared.reader_failed(generation, &lost);
        }
        located
    }
}

#[cfg(test)]
mod tests;
