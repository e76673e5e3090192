//! A gateway's role in its container: the doors, the pushes, the drain.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use imago_container::{GatewayHandle, GatewayRole};
use imago_proto::{SessionId, link};
use rand::RngExt;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::Authenticator,
    config::ClientLimits,
    limit::{Acceptor, RateLimit},
    outbox::{Close, code},
    session::{Client, Sessions},
};

/// Time between a kickout notice and the close (client wire, section 0.6).
const KICK_DELAY: Duration = Duration::from_millis(500);

/// Whether clients may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doors {
    /// Not yet: they wait in the listener's backlog.
    Young,
    /// Yes.
    Open,
    /// No: closed at once, so that they try another gateway.
    Fenced,
    /// No more: the listener is closed.
    Leaving,
}

/// What all connections of a gateway share.
pub(crate) struct Shared {
    pub(crate) handle: GatewayHandle,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) acceptor: Arc<dyn Acceptor>,
    pub(crate) rate_limit: Arc<dyn RateLimit>,
    pub(crate) limits: ClientLimits,
    pub(crate) tasks: TaskTracker,
    /// Ends connections that have not logged in.
    pub(crate) stop: CancellationToken,
    pub(crate) doors: watch::Sender<Doors>,
}

/// The role of a gateway.
pub(crate) struct Gateway {
    pub(crate) shared: Arc<Shared>,
    /// How clients are handed over.
    pub(crate) batch: usize,
    pub(crate) pause: Duration,
}

impl Gateway {
    /// Hands all clients over, a few at a time, so that the others are not overrun.
    async fn hand_over(shared: Arc<Shared>, batch: usize, pause: Duration) {
        let clients: Vec<Arc<Client>> = shared.sessions.all();
        for some in clients.chunks(batch.max(1)) {
            for client in some {
                client.leave.cancel();
            }
            let jitter = 0.5 + rand::rng().random::<f64>();
            tokio::time::sleep(pause.mul_f64(jitter)).await;
        }
    }
}

#[async_trait]
impl GatewayRole for Gateway {
    fn session_ids(&self) -> Vec<SessionId> {
        self.shared.sessions.ids()
    }

    fn session(&self, id: SessionId) -> Option<link::Session> {
        self.shared.sessions.get(id).map(|client| client.session.clone())
    }

    fn push(&self, sessions: &[u64], packet: Bytes) {
        for id in sessions {
            if let Some(client) = self.shared.sessions.get(SessionId(*id)) {
                client.outbox.push(packet.clone());
            }
        }
    }

    fn kick(&self, session: SessionId, notice: Bytes) {
        if let Some(client) = self.shared.sessions.get(session) {
            tracing::info!(channel = client.session.channel_id, "kicked out by a newer login");
            let close =
                Close { after: KICK_DELAY, ..Close::new(code::NORMAL, "logged in elsewhere") };
            client.outbox.finish(Some(notice), close);
        }
    }

    fn open_doors(&self) {
        self.shared.doors.send_replace(Doors::Open);
    }

    fn fence(&self) {
        self.shared.doors.send_replace(Doors::Fenced);
        let over = Self::hand_over(self.shared.clone(), self.batch, self.pause);
        self.shared.tasks.spawn(over);
    }

    async fn drain(&self, within: Duration) {
        self.shared.doors.send_replace(Doors::Leaving);
        let shared = &self.shared;
        let drained = tokio::time::timeout(within, async {
            Self::hand_over(shared.clone(), self.batch, self.pause).await;
            // Who has not logged in yet has nothing to lose.
            shared.stop.cancel();
            shared.tasks.close();
            shared.tasks.wait().await;
        });
        if drained.await.is_err() {
            tracing::warn!(clients = shared.sessions.ids().len(), "not all clients left in time");
            shared.stop.cancel();
        }
    }
}
