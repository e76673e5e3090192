//! A logic server's role in its container: requests, the directory, redelivery.

mod outlet;
mod queues;
mod redelivery;
mod running;
mod unpushed;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use imago_container::{LogicRole, PeerId, SyncBatch};
use imago_proto::{
    LogicPacket, SessionId, command,
    link::{self, Forward},
    msg::KickoutNotify,
};
use parking_lot::RwLock;
use prost::Message;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::outlet::Outlet;
#[cfg(test)]
pub(crate) use self::outlet::RedeliveryWay;
use self::{
    queues::{Job, Queues},
    redelivery::Redelivery,
};
use crate::{
    GroupRules, Kick, Router, Session, SessionDirectory,
    context::Services,
    members::MemberLists,
    metrics,
    store::{MessageStore, StoreState},
};

/// Bounds of the work.
#[derive(Clone, Copy, Debug)]
pub struct WorkLimits {
    /// Requests being worked on or waiting. Overflow policy: answered 300, "busy".
    pub in_flight: usize,
    /// Requests of one session that wait. Overflow policy: answered 300, "busy".
    pub session_queue: usize,
    /// How long a handler may take before its request is answered 300.
    pub handler_timeout: Duration,
}

impl Default for WorkLimits {
    fn default() -> Self {
        Self { in_flight: 16_384, session_queue: 256, handler_timeout: Duration::from_secs(4) }
    }
}

/// What the service is built on.
pub(crate) struct Dependencies {
    /// Sends to gateways.
    pub(crate) outlet: Arc<dyn Outlet>,
    /// Finds sessions.
    pub(crate) directory: Arc<dyn SessionDirectory>,
    /// Keeps messages.
    pub(crate) store: Arc<dyn MessageStore>,
    /// Tells whether the store works.
    pub(crate) store_state: Arc<StoreState>,
}

/// The logic server as its container calls it.
pub(crate) struct LogicService {
    outlet: Arc<dyn Outlet>,
    directory: Arc<dyn SessionDirectory>,
    /// Read-locked from a session's removal until its notice is queued, and write-locked before a request
    /// is refused: a client gets the notice before it hears that its session is unknown.
    kicking: RwLock<()>,
    queues: Arc<Queues>,
    redelivery: Redelivery,
}

// === impl LogicService ===

impl LogicService {
    pub(crate) fn new(
        router: Router,
        Dependencies { outlet, directory, store, store_state }: Dependencies,
        limits: WorkLimits,
        groups: GroupRules,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let redelivery = Redelivery::new(
            outlet.clone(),
            directory.clone(),
            store.clone(),
            tasks.clone(),
            stop.clone(),
        );
        let services = Services {
            directory: directory.clone(),
            store,
            store_state,
            members: MemberLists::default(),
            groups,
        };
        let queues = Queues::new(
            outlet.clone(),
            router.build(),
            Arc::new(services),
            limits,
            tasks.clone(),
            stop.clone(),
        );
        let kicking = RwLock::default();
        Self { outlet, directory, kicking, queues: Arc::new(queues), redelivery }
    }

    /// Updates the metrics.
    fn changed(&self) {
        metrics::sessions(self.directory.len());
    }

    /// Sends a session the notice that a newer login has replaced it.
    fn kick(&self, kick: &Kick) {
        let Kick { loser, winner } = kick;
        metrics::kicked();
        tracing::info!(account = %loser.account, channel = loser.channel(), by = winner.channel(), "kicked out");
        let notify = KickoutNotify { channel_id: loser.channel().to_owned() };
        let mut packet =
            LogicPacket::push(command::LOGIN_SIGNIN, "", notify.encode_to_vec().into());
        packet.header.channel_id = winner.channel().to_owned();
        self.outlet.kick(&loser.gateway, loser.id, packet.encode());
    }
}

#[async_trait]
impl LogicRole for LogicService {
    fn sync_begin(&self, gateway: &PeerId) {
        self.directory.sync_begin(gateway);
    }

    fn session_up(&self, gateway: &PeerId, session: link::Session) {
        let session = Session::from_link(gateway, &session);
        let _kicking = self.kicking.read();
        for kick in self.directory.session_up(session) {
            self.kick(&kick);
        }
        self.changed();
    }

    fn sessions_up(&self, batch: SyncBatch<'_>) {
        let _kicking = self.kicking.read();
        for kick in self.directory.sessions_up(batch) {
            self.kick(&kick);
        }
        self.changed();
    }

    fn session_down(&self, gateway: &PeerId, session: SessionId) {
        self.directory.session_down(gateway, session);
        self.changed();
    }

    fn sync_end(&self, gateway: &PeerId) {
        self.directory.sync_end(gateway);
        self.changed();
    }

    fn gateway_gone(&self, gateway: &PeerId) {
        self.directory.gateway_gone(gateway);
        self.changed();
    }

    fn forward(&self, gateway: &PeerId, request: Forward, body: Bytes) {
        match self.directory.session(gateway, SessionId(request.session)) {
            Some(session) => self.queues.enqueue(Job { session, request, body }),
            None => {
                // The notice of a session that is being kicked out goes first.
                drop(self.kicking.write());
                self.queues.refuse_unknown(gateway.clone(), request);
            }
        }
    }

    fn redeliver(&self, gateway: &PeerId, missing: Vec<link::Missing>) {
        self.redelivery.ask(gateway, missing);
    }

    async fn idle(&self) {
        self.queues.idle().await;
    }
}

#[cfg(test)]
mod tests;
