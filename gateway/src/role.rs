//! A gateway's role in its container: the doors, the pushes, the drain.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use imago_container::{GatewayHandle, GatewayRole, Slots};
use imago_proto::{Limits, SessionId, link};
use rand::RngExt;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Extensions,
    auth::Authenticator,
    config::ClientLimits,
    delivery::Pushed,
    fan_out::{self, FanOut},
    limit::{Acceptor, RateLimit},
    memory::Memory,
    metrics,
    outbox::{Close, Packet, code},
    session::{Client, Sessions},
};

/// Whether clients may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doors {
    /// Not yet: they wait in the listener's backlog.
    Young,
    /// Yes.
    Open,
    /// No: closed at once, so that they try another gateway.
    Fenced,
    /// No more: the listener is closed, so that the system refuses them.
    Leaving,
}

/// Time that a connection has to log in before another may take its place: some round trips over a slow
/// network.
pub(crate) const LOGIN_GRACE: Duration = Duration::from_secs(1);

/// What all connections of a gateway share.
pub(crate) struct Shared {
    pub(crate) handle: GatewayHandle,
    pub(crate) sessions: Sessions,
    pub(crate) fan_out: Arc<FanOut>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) acceptor: Arc<dyn Acceptor>,
    pub(crate) rate_limit: Arc<dyn RateLimit>,
    pub(crate) limits: ClientLimits,
    /// Places of connections that have not logged in.
    pub(crate) strangers: Arc<Slots>,
    /// What all connections hold together.
    pub(crate) memory: Arc<Memory>,
    /// Connections, listeners, and what follows from them.
    pub(crate) tasks: TaskTracker,
    pub(crate) doors: watch::Sender<Doors>,
    /// Ends connections that have not logged in: they have nothing to lose.
    pub(crate) leaving: CancellationToken,
    /// Ends all connections at once.
    pub(crate) stop: CancellationToken,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        handle: GatewayHandle,
        extensions: Extensions,
        limits: ClientLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            sessions: Sessions::new(limits.connections_per_account, limits.silent_after),
            fan_out: Arc::default(),
            authenticator: extensions.authenticator,
            acceptor: extensions.acceptor,
            rate_limit: extensions.rate_limit,
            strangers: Slots::new(limits.unauthenticated, LOGIN_GRACE, metrics::unauthenticated),
            memory: Memory::new(limits.input_total, limits.queue_total),
            limits,
            tasks: TaskTracker::new(),
            doors: watch::Sender::new(Doors::Young),
            leaving: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }
}

/// The role of a gateway.
pub(crate) struct Gateway {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pace: Pace,
    /// Pause before a session is asked for again whose messages cannot be read.
    pub(crate) redeliver_interval: Duration,
}

/// How fast clients are handed over to other gateways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How many at a time.
    pub(crate) batch: usize,
    /// Pause between two of them, jittered by half.
    pub(crate) pause: Duration,
}

// === impl Pace ===

impl Pace {
    /// The same batches, with shorter pauses where there are too many clients for the time.
    fn within(self, clients: usize, time: Duration) -> Self {
        let batches = u32::try_from(clients.div_ceil(self.batch.max(1))).unwrap_or(u32::MAX);
        Self { pause: self.pause.min(time / batches.max(1)), ..self }
    }

    /// Asks all clients to leave, a few at a time, so that the other gateways are not overrun.
    async fn hand_over(self, clients: Vec<Arc<Client>>) {
        let mut batches = clients.chunks(self.batch.max(1)).peekable();
        while let Some(batch) = batches.next() {
            for client in batch {
                client.outbox.leave();
            }
            if batches.peek().is_some() {
                let jitter = 0.5 + rand::rng().random::<f64>();
                sleep(self.pause.mul_f64(jitter)).await;
            }
        }
    }
}

// === impl Gateway ===

impl Gateway {
    /// Clients leave when they have their answers. Returns when all are gone.
    async fn hand_everybody_over(&self, within: Duration) {
        let clients = self.shared.sessions.all();
        let pace = self.pace.within(clients.len(), within / 2);
        pace.hand_over(clients).await;
        self.shared.tasks.wait().await;
    }

    /// Whoever is left is told so, but waits for no answer any more.
    async fn close_everybody(&self) {
        let clients = self.shared.sessions.all();
        tracing::warn!(clients = clients.len(), "not all clients left in time, closing them");
        for client in clients {
            let close = Close::new(code::GOING_AWAY, "gateway leaves, connect to another");
            client.outbox.finish(None, close);
        }
        self.shared.tasks.wait().await;
    }
}

#[async_trait]
impl GatewayRole for Gateway {
    fn push(&self, push: link::Push, packet: Bytes) -> Option<BoxFuture<'static, ()>> {
        let receivers = &*push.sessions;
        if packet.len() > Limits::OUTBOUND_PAYLOAD {
            tracing::warn!(bytes = packet.len(), "push too large for clients, dropped");
            return None;
        }
        let Shared { sessions, fan_out, tasks, memory, .. } = &*self.shared;
        let packet = match receivers {
            [_] => Packet::Own(packet),
            _ => Packet::Shared(memory.share(&packet)),
        };
        let pushed = Pushed::new(&push, packet);
        let sender =
            pushed.live().and_then(|place| sessions.delivery.answers.sender(place.message_id));
        if push.again {
            sessions.delivery.redelivery.progressed(receivers);
        }
        if receivers.len() > fan_out::AT_ONCE {
            return fan_out.push(sessions, receivers, &pushed, sender, tasks);
        }
        match sender {
            Some(sender) => fan_out::push_behind(sessions, receivers, &pushed, &sender),
            None => {
                for id in receivers {
                    sessions.with(SessionId(*id), |client| client.push(&pushed));
                }
            }
        }
        None
    }

    fn owed(&self, sessions: &[u64], within: Duration) {
        let redelivery = &self.shared.sessions.delivery.redelivery;
        if sessions.is_empty() {
            redelivery.owe_all(within);
        } else {
            redelivery.owe(sessions);
        }
    }

    fn redelivered(&self, done: link::Redelivered) {
        let link::Redelivered { session, mark } = done;
        let redelivery = &self.shared.sessions.delivery.redelivery;
        let Some(mark) = mark else {
            return redelivery.unreadable(session, self.redeliver_interval);
        };
        // One that came too late is ignored: a later one may have told a later mark.
        if redelivery.is_asked(session) {
            self.shared.sessions.with(SessionId(session), |client| client.redelivered(mark));
            redelivery.done(session);
        }
    }

    fn kick(&self, session: SessionId, notice: Bytes) {
        if let Some(client) = self.shared.sessions.get(session) {
            tracing::info!(channel = client.session.channel_id, "kicked out by a newer login");
            client.kick(notice);
        }
    }

    fn open_doors(&self) {
        self.shared.doors.send_replace(Doors::Open);
    }

    fn fence(&self) {
        // First the doors, then the table: see the login.
        self.shared.doors.send_replace(Doors::Fenced);
        let (clients, pace) = (self.shared.sessions.all(), self.pace);
        let stop = self.shared.stop.clone();
        self.shared.tasks.spawn(stop.run_until_cancelled_owned(pace.hand_over(clients)));
    }

    async fn drain(&self, within: Duration) {
        tracing::info!(clients = self.shared.sessions.len(), "handing clients over");
        self.shared.doors.send_replace(Doors::Leaving);
        self.shared.leaving.cancel();
        self.shared.tasks.close();
        // The last fifth is for those whose answers do not come.
        let orderly = within.mul_f64(0.8);
        if timeout(orderly, self.hand_everybody_over(orderly)).await.is_err() {
            // What is not gone by then is cut off below.
            let _ = timeout(within - orderly, self.close_everybody()).await;
        }
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_over_of_many_clients_still_fits_the_time() {
        let pace = Pace { batch: 50, pause: Duration::from_millis(50) };
        let second = Duration::from_secs(1);
        assert_eq!(pace.within(100, second).pause, pace.pause);
        assert_eq!(pace.within(0, second).pause, pace.pause);
        assert_eq!(pace.within(100_000, second).pause, second / 2000);
    }
}
