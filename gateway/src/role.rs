//! A gateway's role in its container: the doors, the pushes, the drain.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use imago_container::GatewayRole;
use imago_proto::{Limits, SessionId, link};
use rand::RngExt;
use tokio::time::{sleep, timeout};

use crate::{
    delivery::Pushed,
    fan_out::{self, FanOut},
    lifecycle::{Doors, Lifecycle},
    memory::Memory,
    outbox::{Close, Packet, code},
    session::{Client, Sessions},
};

/// The role of a gateway.
#[derive(Clone)]
pub(crate) struct Role {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) fan_out: Arc<FanOut>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) life: Arc<Lifecycle>,
    pub(crate) hand_over: HandOver,
    /// Pause before a session is asked for again whose messages cannot be read.
    pub(crate) redeliver_interval: Duration,
}

/// How fast clients are handed over to other gateways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    /// How many at a time.
    pub(crate) batch: usize,
    /// Pause between two of them, jittered by half.
    pub(crate) pause: Duration,
}

// === impl HandOver ===

impl HandOver {
    /// The same batches, with shorter pauses where there are too many clients for the time.
    fn within(self, clients: usize, time: Duration) -> Self {
        let batches = u32::try_from(clients.div_ceil(self.batch.max(1))).unwrap_or(u32::MAX);
        Self { pause: self.pause.min(time / batches.max(1)), ..self }
    }

    /// Asks all clients to leave, a few at a time, so that the other gateways are not overrun.
    async fn run(self, clients: Vec<Arc<Client>>) {
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

// === impl Role ===

impl Role {
    /// Clients leave when they have their answers. Returns when all are gone.
    async fn hand_all_over(&self, within: Duration) {
        let clients = self.sessions.all();
        let hand_over = self.hand_over.within(clients.len(), within / 2);
        hand_over.run(clients).await;
        self.life.tasks.wait().await;
    }

    /// Closes the connections that are left, without the answers that they wait for.
    async fn close_all(&self) {
        let clients = self.sessions.all();
        tracing::warn!(clients = clients.len(), "not all clients left in time, closing them");
        for client in clients {
            let close = Close::new(code::GOING_AWAY, "gateway leaves, connect to another");
            client.outbox.finish(None, close);
        }
        self.life.tasks.wait().await;
    }
}

#[async_trait]
impl GatewayRole for Role {
    fn push(&self, push: link::Push, packet: Bytes) -> Option<BoxFuture<'static, ()>> {
        let receivers = &*push.sessions;
        if packet.len() > Limits::OUTBOUND_PAYLOAD {
            tracing::warn!(bytes = packet.len(), "push too large for clients, dropped");
            return None;
        }
        let Self { sessions, fan_out, memory, .. } = self;
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
            return fan_out.push(sessions, receivers, &pushed, sender, &self.life.tasks);
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
        let redelivery = &self.sessions.delivery.redelivery;
        if sessions.is_empty() {
            redelivery.owe_all(within);
        } else {
            redelivery.owe(sessions);
        }
    }

    fn redelivered(&self, done: link::Redelivered) {
        let link::Redelivered { session, mark } = done;
        let redelivery = &self.sessions.delivery.redelivery;
        let Some(mark) = mark else {
            return redelivery.unreadable(session, self.redeliver_interval);
        };
        // One that came too late is ignored: a later one may have told a later mark.
        if redelivery.is_asked(session) {
            self.sessions.with(SessionId(session), |client| client.redelivered(mark));
            redelivery.done(session);
        }
    }

    fn kick(&self, session: SessionId, notice: Bytes) {
        if let Some(client) = self.sessions.get(session) {
            tracing::info!(channel = client.session.channel_id, "kicked out by a newer login");
            client.kick(notice);
        }
    }

    fn open_doors(&self) {
        self.life.doors.send_replace(Doors::Open);
    }

    fn fence(&self) {
        // First the doors, then the table: see the login.
        self.life.doors.send_replace(Doors::Fenced);
        let (clients, hand_over) = (self.sessions.all(), self.hand_over);
        let stop = self.life.stop.clone();
        self.life.tasks.spawn(stop.run_until_cancelled_owned(hand_over.run(clients)));
    }

    async fn drain(&self, within: Duration) {
        tracing::info!(clients = self.sessions.len(), "handing clients over");
        self.life.doors.send_replace(Doors::Leaving);
        self.life.leaving.cancel();
        self.life.tasks.close();
        // The last fifth is for those whose answers do not come.
        let orderly = within.mul_f64(0.8);
        if timeout(orderly, self.hand_all_over(orderly)).await.is_err() {
            // What is not gone by then is cut off below.
            let _ = timeout(within - orderly, self.close_all()).await;
        }
        self.life.stop.cancel();
        self.life.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_over_of_many_clients_still_fits_the_time() {
        let hand_over = HandOver { batch: 50, pause: Duration::from_millis(50) };
        let second = Duration::from_secs(1);
        assert_eq!(hand_over.within(100, second).pause, hand_over.pause);
        assert_eq!(hand_over.within(0, second).pause, hand_over.pause);
        assert_eq!(hand_over.within(100_000, second).pause, second / 2000);
    }
}
