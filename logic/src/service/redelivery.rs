//! Pushes again what a gateway's sessions have not acknowledged, after something broke.

use std::{collections::HashMap, sync::Arc, time::Duration};

use dashmap::{DashMap, mapref::entry::Entry};
use imago_container::PeerId;
use imago_proto::{Account, App, LogicPacket, command};
use prost::Message;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::outlet::{self, Outlet};
use crate::{
    Session, SessionDirectory, handlers, metrics,
    store::{MessageStore, Stored, Target},
};

/// Messages older than a session by more than this are not pushed: its client fetches them when it
/// logs in. The slack covers clocks of logic servers that differ.
const SLACK_NANOS: i64 = 60_000_000_000;
/// Messages of one account read at a time.
const PAGE: usize = 100;
/// Pause before the next page of the same account: no more than its clients can take, who are cut
/// off where their queue at the gateway fills up.
const PAGE_PAUSE: Duration = Duration::from_millis(100);
/// Messages and bytes pushed before a short pause, in which the link's queue empties.
const BURST_MESSAGES: usize = 500;
const BURST_BYTES: usize = 1 << 20;
const BURST_PAUSE: Duration = Duration::from_millis(10);
/// Failed reads in one run before the rest is left to the next run, and the pause after each.
const FAILURES_MAX: u32 = 10;
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

/// Redelivers for one gateway at a time.
#[derive(Clone)]
pub(super) struct Redelivery {
    outlet: Arc<dyn Outlet>,
    directory: Arc<dyn SessionDirectory>,
    store: Arc<dyn MessageStore>,
    /// Gateways being served, and whether they asked again meanwhile.
    running: Arc<DashMap<PeerId, bool>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// An account with sessions on the gateway, and how far it has been served.
struct Progress {
    app: App,
    account: Account,
    past: i64,
}

/// What a run has pushed since its last pause, and in all.
#[derive(Default)]
struct Burst {
    messages: usize,
    bytes: usize,
    total: usize,
    failures: u32,
}

// === impl Redelivery ===

impl Redelivery {
    pub(super) fn new(
        outlet: Arc<dyn Outlet>,
        directory: Arc<dyn SessionDirectory>,
        store: Arc<dyn MessageStore>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { outlet, directory, store, running: Arc::default(), tasks, stop }
    }

    /// Starts a run for a gateway, or has one more run follow the present one.
    pub(super) fn ask(&self, gateway: &PeerId) {
        match self.running.entry(gateway.clone()) {
            Entry::Occupied(mut again) => {
                again.insert(true);
            }
            Entry::Vacant(entry) => {
                entry.insert(false);
                let (redelivery, gateway) = (self.clone(), gateway.clone());
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = redelivery.run(&gateway) => {}
                        () = redelivery.stop.cancelled() => {}
                    }
                });
            }
        }
    }

    async fn run(&self, gateway: &PeerId) {
        loop {
            let messages = self.serve(gateway).await;
            metrics::redelivered(messages);
            tracing::info!(%gateway, messages, "redelivered");
            if self.running.remove_if(gateway, |_, again| !*again).is_some() {
                return;
            }
            self.running.insert(gateway.clone(), false);
        }
    }

    /// A page for each account, then the next one for those that have more.
    async fn serve(&self, gateway: &PeerId) -> usize {
        let mut burst = Burst::default();
        let mut accounts = self.accounts(gateway);
        while !accounts.is_empty() {
            let mut unfinished = Vec::new();
            for mut progress in accounts {
                if self.page(gateway, &mut progress, &mut burst).await {
                    unfinished.push(progress);
                }
                if burst.failures >= FAILURES_MAX {
                    tracing::warn!(%gateway, "store keeps failing, redelivery is given up");
                    return burst.total;
                }
                burst.pause().await;
            }
            accounts = unfinished;
            if !accounts.is_empty() {
                sleep(PAGE_PAUSE).await;
            }
        }
        burst.total
    }

    /// Who is connected to the gateway, each from the login of its oldest session on.
    fn accounts(&self, gateway: &PeerId) -> Vec<Progress> {
        let mut since: HashMap<(App, Account), i64> = HashMap::new();
        for session in self.directory.sessions_of(gateway) {
            let login = session.since;
            let oldest = since.entry((session.app.clone(), session.account.clone()));
            oldest.and_modify(|oldest| *oldest = login.min(*oldest)).or_insert(login);
        }
        let accounts = since.into_iter().map(|((app, account), login)| Progress {
            app,
            account,
            past: login.saturating_sub(SLACK_NANOS),
        });
        accounts.collect()
    }

    /// Pushes an account's next page. Says whether there may be more.
    async fn page(&self, gateway: &PeerId, progress: &mut Progress, burst: &mut Burst) -> bool {
        let Progress { app, account, past } = progress;
        let unread = match self.store.unread(app, account, *past, PAGE).await {
            Ok(unread) => unread,
            Err(error) => {
                tracing::warn!(%error, "cannot read what to redeliver");
                burst.failures += 1;
                sleep(FAILURE_PAUSE).await;
                return true;
            }
        };
        let Some(last) = unread.last() else { return false };
        *past = last.envelope.message_id;
        let more = unread.len() == PAGE;
        // Those that are still there.
        let mut sessions = self.directory.locate(app, account).await;
        sessions.retain(|session| session.gateway == *gateway);
        for message in unread {
            let since = message.envelope.message_id.saturating_add(SLACK_NANOS);
            let receivers = sessions.iter().filter(|session| session.since <= since);
            let receivers: Vec<&Session> = receivers.map(|session| &**session).collect();
            if !receivers.is_empty() {
                burst.bytes += self.push(account, receivers, message);
                burst.messages += 1;
                burst.total += 1;
            }
        }
        more && !sessions.is_empty()
    }

    fn push(&self, account: &Account, receivers: Vec<&Session>, message: Stored) -> usize {
        let other = message.envelope.other.clone();
        let (command, dest) = match &other {
            Target::Account(_) => (command::CHAT_USER_TALK, account.as_str()),
            Target::Group(group) => (command::CHAT_GROUP_TALK, group.as_str()),
        };
        let body = handlers::push_of(message).encode_to_vec().into();
        let packet = LogicPacket::push(command, dest, body).encode();
        outlet::push(&*self.outlet, receivers, &packet);
        packet.len()
    }
}

// === impl Burst ===

impl Burst {
    async fn pause(&mut self) {
        if self.messages >= BURST_MESSAGES || self.bytes >= BURST_BYTES {
            (self.messages, self.bytes) = (0, 0);
            sleep(BURST_PAUSE).await;
        }
    }
}
