//! Groups with accepted messages that were not pushed because their members could not be read.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use imago_proto::{Account, App, GroupId};
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::outlet::{self, Outlet};
use crate::{context::Services, store::Result};

/// Groups that are remembered. Overflow policy: every session of every gateway counts as owed.
const GROUPS_MAX: usize = 10_000;

/// Pause between tries to read the members, which the store may be away for.
const PAUSE: Duration = Duration::from_millis(500);

/// What is owed. A message itself needs not be remembered: it is in the store, and a gateway that is
/// told of a session asks for all that the session misses.
#[derive(Debug, Default)]
struct Owed {
    groups: HashSet<(App, GroupId)>,
    /// More groups than are remembered.
    everywhere: bool,
    is_served: bool,
}

/// Remembers such groups, and tells gateways of their members' sessions once these can be read.
#[derive(Clone)]
pub(super) struct Debts {
    owed: Arc<Mutex<Owed>>,
    outlet: Arc<dyn Outlet>,
    services: Arc<Services>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

// === impl Debts ===

impl Debts {
    pub(super) fn new(
        outlet: Arc<dyn Outlet>,
        services: Arc<Services>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { owed: Arc::default(), outlet, services, tasks, stop }
    }

    fn lock(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of this group has not been pushed.
    pub(super) fn remember(&self, app: &App, group: &GroupId) {
        let mut owed = self.lock();
        if owed.groups.len() < GROUPS_MAX {
            owed.groups.insert((app.clone(), group.clone()));
        } else {
            owed.everywhere = true;
        }
        if !mem::replace(&mut owed.is_served, true) {
            let debts = self.clone();
            self.tasks.spawn(async move {
                debts.stop.clone().run_until_cancelled(debts.serve()).await;
            });
        }
    }

    /// Tries until nothing is owed.
    async fn serve(&self) {
        loop {
            sleep(PAUSE).await;
            let Some(groups) = self.take() else { return };
            for (app, group) in groups {
                if let Err(error) = self.tell(&app, &group).await {
                    tracing::debug!(%group, %error, "members still cannot be read");
                    self.lock().groups.insert((app, group));
                    break;
                }
                self.lock().groups.remove(&(app, group));
            }
        }
    }

    /// What is owed now; `None` where that is nothing.
    fn take(&self) -> Option<Vec<(App, GroupId)>> {
        let mut owed = self.lock();
        if owed.groups.is_empty() {
            if mem::take(&mut owed.everywhere) {
                self.outlet.owed_everywhere();
            }
            owed.is_served = false;
            return None;
        }
        Some(owed.groups.iter().cloned().collect())
    }

    /// Tells the gateways of all sessions of a group's members.
    async fn tell(&self, app: &App, group: &GroupId) -> Result<()> {
        let Some(members) = self.services.store.members(app, group).await? else { return Ok(()) };
        let accounts: Vec<Account> =
            members.since.iter().map(|(account, _)| account.clone()).collect();
        let sessions = self.services.directory.locate_all(app, &accounts).await;
        let sessions = sessions.iter().map(|session| &**session);
        for (gateway, sessions) in outlet::by_gateway(sessions) {
            self.outlet.owed(gateway, sessions);
        }
        Ok(())
    }
}
