//! Redelivery: pushes the messages that sessions miss, when their gateway asks for them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use dashmap::{DashMap, mapref::entry::Entry};
use imago_container::PeerId;
use imago_proto::{
    ConversationId, LogicPacket, Seq, SessionId, command,
    link::{Mark, Missing, Push, Redelivered},
};
use prost::Message;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::outlet::{Outlet, RedeliveryWay};
use crate::{
    Session, SessionDirectory, handlers, metrics,
    store::{Device, Given, MessageStore, Stored, Target},
};

/// Waiting sessions of one gateway. Overflow policy: dropped. The gateway asks again.
const WAITING_MAX: usize = 100_000;
/// Messages of one session read at a time. Other sessions are served before the next page, so that the client
/// can keep up: a gateway cuts off a client whose queue is full.
const PAGE: usize = 100;
/// Pause before the next round of pages.
const PAGE_PAUSE: Duration = Duration::from_millis(100);
/// Messages and bytes pushed before a short pause, in which the link's queue empties.
const BURST_MESSAGES: usize = 500;
const BURST_BYTES: usize = 1 << 20;
const BURST_PAUSE: Duration = Duration::from_millis(10);
/// Pause after a failed read.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

/// Redelivers messages, with one task for each gateway.
#[derive(Clone)]
pub(super) struct Redelivery {
    outlet: Arc<dyn Outlet>,
    directory: Arc<dyn SessionDirectory>,
    store: Arc<dyn MessageStore>,
    /// Waiting sessions by gateway. Each entry has a running task.
    waiting: Arc<DashMap<PeerId, VecDeque<Progress>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A session, and the progress of its redelivery.
struct Progress {
    session: SessionId,
    /// Messages that this covers are not missing.
    since: Mark,
    have: Vec<Given>,
    /// The mark of the first page. Everything it covers has been pushed with the last page.
    mark: Option<Mark>,
    /// The link of the question.
    way: Arc<dyn RedeliveryWay>,
}

/// The messages that a task has pushed since its last pause.
#[derive(Default)]
struct Burst {
    messages: usize,
    bytes: usize,
}

// === impl Progress ===

impl Progress {
    fn new(missing: Missing, way: Arc<dyn RedeliveryWay>) -> Self {
        let have = missing.have.into_iter().map(|have| Given {
            conversation: ConversationId::from(have.conversation),
            from: Seq(have.from),
            to: Seq(have.to),
        });
        Self {
            session: SessionId(missing.session),
            since: missing.mark.unwrap_or_default(),
            have: have.collect(),
            mark: None,
            way,
        }
    }

    async fn done(&self, mark: Option<Mark>) {
        self.way.done(Redelivered { session: self.session.0, mark }).await;
    }

    /// Records a pushed message: those before it in its conversation are not missing any more.
    fn pushed(&mut self, conversation: &ConversationId, to: Seq) {
        let from_start = |have: &&mut Given| have.from == Seq(0);
        let mut of = self.have.iter_mut().filter(|have| have.conversation == *conversation);
        match of.find(from_start) {
            Some(have) => have.to = to.max(have.to),
            None => {
                let conversation = conversation.clone();
                self.have.push(Given { conversation, from: Seq(0), to });
            }
        }
    }
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
        Self { outlet, directory, store, waiting: Arc::default(), tasks, stop }
    }

    /// Starts the redelivery to these sessions.
    pub(super) fn ask(&self, gateway: &PeerId, missing: Vec<Missing>) {
        // After a loss of the link, the gateway asks again.
        let Some(way) = self.outlet.redelivery(gateway) else { return };
        let waiting_sessions =
            missing.into_iter().map(|missing| Progress::new(missing, way.clone()));
        match self.waiting.entry(gateway.clone()) {
            Entry::Occupied(mut waiting) => {
                let room = WAITING_MAX.saturating_sub(waiting.get().len());
                waiting.get_mut().extend(waiting_sessions.take(room));
            }
            Entry::Vacant(entry) => {
                entry.insert(waiting_sessions.take(WAITING_MAX).collect());
                let (redelivery, gateway) = (self.clone(), gateway.clone());
                self.tasks.spawn(async move {
                    redelivery.stop.clone().run_until_cancelled(redelivery.run(&gateway)).await;
                });
            }
        }
    }

    /// Serves sessions page by page until none waits.
    async fn run(&self, gateway: &PeerId) {
        let (mut burst, mut unfinished) = (Burst::default(), Vec::new());
        loop {
            while let Some(mut progress) = self.next(gateway) {
                if self.page(gateway, &mut progress, &mut burst).await {
                    unfinished.push(progress);
                }
                burst.pause().await;
            }
            if !unfinished.is_empty() {
                sleep(PAGE_PAUSE).await;
                let mut waiting = self.waiting.entry(gateway.clone()).or_default();
                waiting.extend(unfinished.drain(..));
            } else if self.waiting.remove_if(gateway, |_, waiting| waiting.is_empty()).is_some() {
                return;
            }
        }
    }

    fn next(&self, gateway: &PeerId) -> Option<Progress> {
        self.waiting.get_mut(gateway)?.pop_front()
    }

    /// Pushes a session's next page. Returns whether more messages may be missing.
    async fn page(&self, gateway: &PeerId, progress: &mut Progress, burst: &mut Burst) -> bool {
        // The gateway asks again for a session that is not told yet.
        let Some(session) = self.directory.session(gateway, progress.session) else {
            progress.done(None).await;
            return false;
        };
        let device = Device::from(&*session);
        let owed =
            match self.store.owed(&device, &progress.since, progress.have.clone(), PAGE).await {
                Ok(owed) => owed,
                Err(error) => {
                    tracing::warn!(%error, "cannot read what a session misses");
                    sleep(FAILURE_PAUSE).await;
                    progress.done(None).await;
                    return false;
                }
            };
        let mark = progress.mark.get_or_insert(owed.mark).clone();
        let has_more = owed.messages.len() >= PAGE;
        metrics::redelivered(owed.messages.len());
        for message in owed.messages {
            progress.pushed(&message.envelope.conversation, message.envelope.seq);
            let (push, packet) = push_again(&session, message);
            burst.bytes += packet.len();
            burst.messages += 1;
            if !progress.way.push(push, packet).await {
                // The gateway has noticed the loss of its link, and asks another server.
                return false;
            }
        }
        if !has_more {
            progress.done(Some(mark)).await;
        }
        has_more
    }
}

/// Returns the push of a stored message to a session that missed it.
fn push_again(session: &Session, message: Stored) -> (Push, Bytes) {
    let place = handlers::place_of(&message.envelope);
    let (command, dest) = match &message.envelope.other {
        Target::Account(_) => (command::CHAT_USER_TALK, session.account.to_string()),
        Target::Group(group) => (command::CHAT_GROUP_TALK, group.to_string()),
    };
    let body = handlers::push_of(message).encode_to_vec().into();
    let packet = LogicPacket::push(command, &dest, body).encode();
    let push = Push { sessions: vec![session.id.0], place: Some(place), again: true };
    (push, packet)
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
