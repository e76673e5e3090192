//! The directory as a pure state machine, fed with what each gateway says of its sessions.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use imago_container::PeerId;
use imago_proto::{Account, App, SessionId};

use super::{DevicePolicy, Session};

/// A session that has to go because a newer login of the same account took its place, which by the
/// [`DevicePolicy`] only one of them may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kick {
    /// The older one.
    pub loser: Arc<Session>,
    /// The newer one.
    pub winner: Arc<Session>,
}

/// All sessions of all gateways.
#[derive(Debug, Default)]
pub struct DirectoryCore {
    policy: DevicePolicy,
    gateways: HashMap<PeerId, Held>,
    accounts: HashMap<(App, Account), Vec<Arc<Session>>>,
}

/// What one life of a gateway holds.
#[derive(Debug, Default)]
struct Held {
    sessions: HashMap<SessionId, Arc<Session>>,
    sync: Option<Sync>,
    /// A sync has come to its end: all sessions are known.
    is_told: bool,
}

/// A sync in progress.
#[derive(Debug, Default)]
struct Sync {
    /// Told since the begin; the others are gone at the end.
    seen: HashSet<SessionId>,
    /// Ended since the begin: the stream may still tell them as living.
    ended: HashSet<SessionId>,
}

impl DirectoryCore {
    /// A directory with nobody in it.
    pub fn new(policy: DevicePolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// A gateway begins to stream all of its sessions.
    pub fn sync_begin(&mut self, gateway: &PeerId) {
        self.gateways.entry(gateway.clone()).or_default().sync = Some(Sync::default());
    }

    /// A session lives. Says who has to go for it, or that it has to go itself. Gateways that are
    /// gone, or never began a sync, have none: what a dying link still tells is ignored.
    pub fn session_up(&mut self, session: Session) -> Vec<Kick> {
        let Some(held) = self.gateways.get_mut(&session.gateway) else { return Vec::new() };
        if let Some(sync) = &mut held.sync {
            if sync.ended.contains(&session.id) {
                return Vec::new();
            }
            sync.seen.insert(session.id);
        }
        if held.sessions.contains_key(&session.id) {
            return Vec::new();
        }
        let session = Arc::new(session);
        held.sessions.insert(session.id, session.clone());
        let key = (session.app.clone(), session.account.clone());
        let sessions = self.accounts.entry(key).or_default();
        sessions.push(session.clone());
        let place = self.policy.place(&session.device);
        let rivals = sessions.iter().filter(|other| self.policy.place(&other.device) == place);
        let rivals = rivals.cloned().collect();
        self.settle(rivals)
    }

    /// Of sessions in one place the newest stays; ties break by channel id, the same everywhere.
    fn settle(&mut self, rivals: Vec<Arc<Session>>) -> Vec<Kick> {
        let newest =
            rivals.iter().max_by_key(|session| (session.login_time, session.channel.clone()));
        let Some(winner) = newest.cloned() else { return Vec::new() };
        let losers = rivals.into_iter().filter(|session| !Arc::ptr_eq(session, &winner));
        let kicks: Vec<Kick> = losers.map(|loser| Kick { loser, winner: winner.clone() }).collect();
        for kick in &kicks {
            self.remove(&kick.loser.gateway, kick.loser.id);
        }
        kicks
    }

    /// A session has ended. Gives it where it was known.
    pub fn session_down(&mut self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        if let Some(sync) = self.gateways.get_mut(gateway).and_then(|held| held.sync.as_mut()) {
            sync.ended.insert(id);
        }
        self.remove(gateway, id)
    }

    /// All sessions have been streamed: the others are gone. Gives those.
    pub fn sync_end(&mut self, gateway: &PeerId) -> Vec<Arc<Session>> {
        let Some(held) = self.gateways.get_mut(gateway) else { return Vec::new() };
        let Some(sync) = held.sync.take() else { return Vec::new() };
        held.is_told = true;
        let gone: Vec<SessionId> =
            held.sessions.keys().filter(|id| !sync.seen.contains(id)).copied().collect();
        gone.into_iter().filter_map(|id| self.remove(gateway, id)).collect()
    }

    /// A life of a gateway is over.
    pub fn gateway_gone(&mut self, gateway: &PeerId) {
        let Some(held) = self.gateways.remove(gateway) else { return };
        for session in held.sessions.into_values() {
            self.forget_account(&session);
        }
    }

    fn remove(&mut self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        let session = self.gateways.get_mut(gateway)?.sessions.remove(&id)?;
        self.forget_account(&session);
        Some(session)
    }

    /// Only this very session: a newer one of the account stays.
    fn forget_account(&mut self, session: &Arc<Session>) {
        let key = (session.app.clone(), session.account.clone());
        let Some(sessions) = self.accounts.get_mut(&key) else { return };
        sessions.retain(|other| !Arc::ptr_eq(other, session));
        if sessions.is_empty() {
            self.accounts.remove(&key);
        }
    }

    /// All sessions of an account.
    pub fn locate(&self, app: &App, account: &Account) -> Vec<Arc<Session>> {
        self.accounts.get(&(app.clone(), account.clone())).cloned().unwrap_or_default()
    }

    /// A session by its number.
    pub fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        self.gateways.get(gateway)?.sessions.get(&id).cloned()
    }

    /// All sessions of a gateway.
    pub fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        let held = self.gateways.get(gateway);
        held.map(|held| held.sessions.values().cloned().collect()).unwrap_or_default()
    }

    /// Gateways that have told all of their sessions.
    pub fn told(&self) -> Vec<PeerId> {
        let told = self.gateways.iter().filter(|(_, held)| held.is_told);
        told.map(|(gateway, _)| gateway.clone()).collect()
    }

    /// Whether this life of a gateway has told all of its sessions.
    pub fn is_told(&self, gateway: &PeerId) -> bool {
        self.gateways.get(gateway).is_some_and(|held| held.is_told)
    }

    /// How many sessions are known.
    pub fn len(&self) -> usize {
        self.gateways.values().map(|held| held.sessions.len()).sum()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
