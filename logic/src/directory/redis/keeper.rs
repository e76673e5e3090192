//! The keeper of leases. It writes the sessions of the gateways whose lease this server holds.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use imago_container::PeerId;
use imago_proto::{Account, App, Incarnation, SessionId};
use redis::Cmd;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    commands::{self, Claim, Evidence},
    link::{Link, Lost},
    shared::Shared,
};
use crate::{Session, SessionDirectory as _, metrics};

/// Commands that are sent in one go, and how long they may take.
const BATCH: usize = 256;
const BATCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Renewals of a lease within its time to live.
const RENEWALS: u32 = 3;
/// How many leases an entry outlives the last refresh, and how many rounds of renewal are between
/// two: an entry counts only with its gateway's lease, so it may be refreshed seldom.
const ENTRY_LEASES: u32 = 6;
const REFRESH_ROUNDS: u32 = 2 * RENEWALS;
/// Bounds of the pause before the next try to connect: the cap doubles, all of it is jitter.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Time to leave the leases to others when this server leaves.
const FAREWELL: Duration = Duration::from_secs(1);

/// A session that has begun or ended; which of the two, the links' view says when it is written.
#[derive(Debug)]
pub(super) struct Change {
    app: App,
    account: Account,
    gateway: PeerId,
    id: SessionId,
}

impl Change {
    pub(super) fn of(session: &Session) -> Self {
        Self {
            app: session.app.clone(),
            account: session.account.clone(),
            gateway: session.gateway.clone(),
            id: session.id,
        }
    }
}

/// The task that writes.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    changes: mpsc::Receiver<Change>,
    /// Name of this run of the server in leases.
    writer: Incarnation,
    link: Option<Link>,
    /// Gateways that were claimed before: their links may be old.
    seen: HashSet<PeerId>,
    /// Gateways whose lease we have.
    held: HashSet<PeerId>,
    /// Sessions that are written even if they have not changed.
    backlog: VecDeque<Arc<Session>>,
}

// === impl Keeper ===

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, changes: mpsc::Receiver<Change>) -> Self {
        Self {
            shared,
            changes,
            writer: Incarnation(rand::random()),
            link: None,
            seen: HashSet::new(),
            held: HashSet::new(),
            backlog: VecDeque::new(),
        }
    }

    /// Connects, and connects again, until `stop` or the directory is dropped; then leaves
    /// the leases to others.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = stop.cancelled() => {}
        }
        self.leave().await;
    }

    async fn keep(&mut self) {
        let mut failures = 0;
        loop {
            let mut was_found = false;
            let Err(lost) = self.connected(&mut was_found).await else { return };
            self.link = None;
            self.shared.lost(&lost);
            failures = if was_found { 0 } else { failures + 1 };
            sleep(pause(failures).mul_f64(rand::random())).await;
        }
    }

    /// Serves one connection until it is lost, or the directory is dropped.
    async fn connected(&mut self, was_found: &mut bool) -> Result<(), Lost> {
        let link = Link::connect(&self.shared.options).await?;
        self.link = Some(link.clone());
        // What Redis has kept meanwhile is unknown.
        self.held.clear();
        self.backlog.clear();
        let mut rounds = interval(self.shared.options.lease / RENEWALS);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round: u32 = 0;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                _ = rounds.tick() => {
                    self.renew(&link).await?;
                    round = round.wrapping_add(1);
                    let overflowed = self.shared.overflowed.swap(false, Ordering::SeqCst);
                    if overflowed || round.is_multiple_of(REFRESH_ROUNDS) {
                        self.refresh();
                    }
                }
                () = self.shared.gateways_changed.notified() => self.renew(&link).await?,
                received = self.changes.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Ok(());
                    }
                    self.write(&link, &mut batch).await?;
                }
                () = std::future::ready(()), if !self.backlog.is_empty() => {
                    self.write_backlog(&link).await?;
                }
                () = self.shared.reader_lost.notified(), if *was_found => {
                    // The failure of a reader of an earlier connection is ignored.
                    if self.shared.reader().is_none() {
                        return Err(Lost::Reader);
                    }
                }
            }
            if !*was_found && round > 0 && self.backlog.is_empty() {
                self.shared.found(Link::connect(&self.shared.options).await?);
                *was_found = true;
            }
        }
    }

    /// Renews the leases that we have, tries to take the others, and gives back those of gateways
    /// that are gone.
    async fn renew(&mut self, link: &Link) -> Result<(), Lost> {
        let Shared { keys, options, local, .. } = &*self.shared;
        let told = local.read(|core| core.told());
        let known: HashSet<&PeerId> = told.iter().collect();
        self.seen.retain(|gateway| known.contains(gateway));
        let gone: Vec<PeerId> = self.held.extract_if(|held| !known.contains(held)).collect();
        for some in gone.chunks(BATCH) {
            let give: Vec<Cmd> =
                some.iter().map(|gone| commands::release(keys, gone, self.writer)).collect();
            link.run(&give, BATCH_TIMEOUT).await?;
        }
        for some in told.chunks(BATCH) {
            let claim = |gateway: &PeerId| {
                let is_old = self.seen.contains(gateway);
                let evidence = if is_old { Evidence::Old } else { Evidence::Fresh };
                commands::claim(keys, gateway, self.writer, options.lease, evidence)
            };
            let claims: Vec<Cmd> = some.iter().map(claim).collect();
            let answers = link.run(&claims, BATCH_TIMEOUT).await?;
            for (gateway, answer) in some.iter().zip(&answers) {
                self.seen.insert(gateway.clone());
                let is_new = match Claim::of(answer) {
                    Claim::Taken => true,
                    Claim::Renewed => !self.held.contains(gateway),
                    Claim::Others => {
                        self.held.remove(gateway);
                        continue;
                    }
                };
                self.held.insert(gateway.clone());
                if is_new {
                    self.backlog.extend(local.sessions_of(gateway));
                }
            }
        }
        metrics::directory_leases(self.held.len());
        Ok(())
    }

    /// Queues everything to be written again, before it expires.
    fn refresh(&mut self) {
        let local = &self.shared.local;
        self.backlog = self.held.iter().flat_map(|gateway| local.sessions_of(gateway)).collect();
    }

    /// Writes changes. Those of gateways whose lease another server has are its to write.
    async fn write(&self, link: &Link, changes: &mut Vec<Change>) -> Result<(), Lost> {
        let Shared { keys, local, .. } = &*self.shared;
        let command = |change: Change| {
            let Change { app, account, gateway, id } = change;
            if !self.held.contains(&gateway) {
                return None;
            }
            Some(match local.session(&gateway, id) {
                Some(session) => commands::put(keys, &session, self.entry_ttl()),
                None => commands::remove(keys, &app, &account, &gateway, id),
            })
        };
        let commands: Vec<Cmd> = changes.drain(..).filter_map(command).collect();
        metrics::directory_pending_writes(self.changes.len());
        self.send(link, &commands).await
    }

    async fn write_backlog(&mut self, link: &Link) -> Result<(), Lost> {
        let some: Vec<_> = self.backlog.drain(..self.backlog.len().min(BATCH)).collect();
        let Shared { keys, local, .. } = &*self.shared;
        let commands: Vec<Cmd> = some
            .iter()
            .filter(|session| self.held.contains(&session.gateway))
            .filter_map(|session| local.session(&session.gateway, session.id))
            .map(|session| commands::put(keys, &session, self.entry_ttl()))
            .collect();
        self.send(link, &commands).await
    }

    async fn send(&self, link: &Link, commands: &[Cmd]) -> Result<(), Lost> {
        link.run(commands, BATCH_TIMEOUT).await?;
        metrics::directory_written(commands.len());
        Ok(())
    }

    fn entry_ttl(&self) -> Duration {
        self.shared.options.lease * ENTRY_LEASES
    }

    /// Leaves the leases to other servers, which need not wait until they expire.
    async fn leave(self) {
        let Some(link) = self.link else { return };
        let keys = &self.shared.keys;
        let give: Vec<Cmd> =
            self.held.iter().map(|held| commands::leave(keys, held, self.writer)).collect();
        if let Err(lost) = link.run(&give, FAREWELL).await {
            tracing::debug!(error = %lost, "leases are left to expire");
        }
    }
}

/// Returns the longest pause after this number of failures in a row.
fn pause(failures: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap() {
        let pauses: Vec<_> = (0..9).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}
