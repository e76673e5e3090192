//! Groups with stored messages that were not pushed because their members could not be read.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use imago_proto::{Account, App, GroupId};
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::outlet::{self, Outlet};
use crate::{context::Services, store::Result};

/// Groups that are remembered. Overflow policy: every session of every gateway is owed messages.
const GROUPS_MAX: usize = 10_000;

/// Pause between tries to read the members: the store may be away.
const PAUSE: Duration = Duration::from_millis(500);

/// The groups. Their messages need not be remembered: they are in the store, and a gateway that is told of
/// a session asks for everything that the session misses.
#[derive(Debug, Default)]
struct Owed {
    groups: HashSet<(App, GroupId)>,
    /// There were more groups than are remembered.
    everywhere: bool,
    is_served: bool,
}

/// Remembers the groups, and tells gateways of the sessions of their members once these can be read.
#[derive(Clone)]
pub(super) struct UnpushedGroups {
    owed: Arc<Mutex<Owed>>,
    outlet: Arc<dyn Outlet>,
    services: Arc<Services>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

// === impl UnpushedGroups ===

impl UnpushedGroups {
    pub(super) fn new(
        outlet: Arc<dyn Outlet>,
        services: Arc<Services>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { owed: Arc::default(), outlet, services, tasks, stop }
    }

    /// Remembers a group of which a message was not pushed.
    pub(super) fn remember(&self, app: &App, group: &GroupId) {
        let mut owed = self.owed.lock();
        if owed.groups.len() < GROUPS_MAX {
            owed.groups.insert((app.clone(), group.clone()));
        } else {
            owed.everywhere = true;
        }
        if !mem::replace(&mut owed.is_served, true) {
            let groups = self.clone();
            self.tasks.spawn(async move {
                groups.stop.clone().run_until_cancelled(groups.serve()).await;
            });
        }
    }

    /// Tries until no group is left.
    async fn serve(&self) {
        loop {
            sleep(PAUSE).await;
            let Some(groups) = self.take() else { return };
            for (app, group) in groups {
                if let Err(error) = self.tell(&app, &group).await {
                    tracing::debug!(%group, %error, "members still cannot be read");
                    self.owed.lock().groups.insert((app, group));
                    break;
                }
                self.owed.lock().groups.remove(&(app, group));
            }
        }
    }

    /// Returns the groups; `None` where none is left.
    fn take(&self) -> Option<Vec<(App, GroupId)>> {
        let mut owed = self.owed.lock();
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
