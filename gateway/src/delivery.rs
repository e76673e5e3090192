//! What goes through a session's ledger on its way to the session's client.
//!
//! A packet is queued while the ledger that let it pass is locked: so the ledger's order is the order
//! of writing.

use std::sync::{MutexGuard, PoisonError};

use bytes::Bytes;
use imago_proto::link::{Given, Mark, Place, Push, Reply};

use crate::{
    answers::Answers,
    ledger::{AckBy, Ledger, Message, Missing, Verdict},
    metrics,
    outbox::{Deferred, Packet},
    redelivery::Redelivery,
    session::Client,
};

/// What the sessions of a gateway share to get their messages.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) redelivery: Redelivery,
    pub(crate) answers: Answers,
}

/// A packet for some sessions.
pub(crate) struct Pushed<'a> {
    packet: Packet,
    /// The stored message that it is.
    message: Option<Message<'a>>,
}

// === impl Pushed ===

impl<'a> Pushed<'a> {
    pub(crate) fn new(push: &'a Push, packet: Packet) -> Self {
        let message = push.place.as_ref().and_then(|place| Message::new(place, push.again));
        Self { packet, message }
    }

    /// The place of the message, if it is pushed for the first time.
    pub(crate) fn live(&self) -> Option<&'a Place> {
        self.message.as_ref().filter(|message| !message.is_again()).map(Message::place)
    }
}

// === impl Client ===

impl Client {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic while it was locked leaves a ledger that says too little at worst.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a packet that was pushed, where it is its turn, and wakes the connection for it.
    pub(crate) fn push(&self, pushed: &Pushed<'_>) {
        self.deliver(pushed, |packet| self.outbox.push_packet(packet));
    }

    /// As [`push`](Self::push), without waking the connection.
    pub(crate) fn defer(&self, pushed: &Pushed<'_>) -> Deferred {
        let mut deferred = Deferred::Again;
        self.deliver(pushed, |packet| deferred = deferred.and(self.outbox.defer(packet)));
        deferred
    }

    fn deliver(&self, pushed: &Pushed<'_>, mut hand: impl FnMut(Packet)) {
        let Some(message) = &pushed.message else { return hand(pushed.packet.clone()) };
        let verdict = self.with_ledger(|ledger| ledger.push(message, &pushed.packet, &mut hand));
        self.heed(verdict);
    }

    /// Does something with the ledger, after which something else may wait than before.
    fn with_ledger<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.ledger();
        let result = act(&mut ledger);
        if let Some(bytes) = ledger.held_change() {
            self.outbox.set_kept(bytes);
        }
        result
    }

    /// Sees to what a ledger found out.
    fn heed(&self, verdict: Verdict) {
        match verdict {
            Verdict::Given => {}
            Verdict::Duplicate => metrics::push_skipped(),
            Verdict::Held => metrics::push_held(),
            Verdict::Hole => {
                metrics::push_held();
                self.delivery.redelivery.hole(self.session.id);
            }
            Verdict::Dropped => {
                metrics::push_without_room();
                self.delivery.redelivery.owe(&[self.session.id]);
            }
        }
    }

    /// Queues the answer to the login, and what waited for it.
    pub(crate) fn login_answered(&self, mark: Option<Mark>, packet: Bytes) {
        let has_holes = self.with_ledger(|ledger| {
            self.outbox.login_answered(packet);
            ledger.logged_in(mark, &mut |packet| self.outbox.push_packet(packet))
        });
        if has_holes {
            self.delivery.redelivery.hole(self.session.id);
        }
    }

    /// Queues an answer, and notes what it gives.
    pub(crate) fn answer(&self, reply: Reply, packet: Bytes) {
        let Reply { place, given, acked, .. } = reply;
        if place.is_none() && given.is_empty() && acked.is_empty() {
            return self.outbox.push(packet);
        }
        let verdict = self.with_ledger(|ledger| {
            ledger.acked(&acked);
            ledger.gave(&given);
            let Some(place) = place else {
                self.outbox.push(packet);
                return Verdict::Given;
            };
            if let Some(number) = self.outbox.push_answer(packet) {
                self.delivery.answers.note(place.message_id, &self.outbox, number);
            }
            ledger.own(&place, &mut |packet| self.outbox.push_packet(packet))
        });
        // The packet of the answer is no push: none is held or skipped.
        match verdict {
            Verdict::Given | Verdict::Duplicate | Verdict::Held => {}
            Verdict::Hole => self.delivery.redelivery.hole(self.session.id),
            Verdict::Dropped => self.delivery.redelivery.owe(&[self.session.id]),
        }
    }

    /// What the session missed has been pushed.
    pub(crate) fn redelivered(&self, mark: Mark) {
        let hand = &mut |packet| self.outbox.push_packet(packet);
        if self.with_ledger(|ledger| ledger.redelivered(mark, hand)) {
            self.delivery.redelivery.hole(self.session.id);
        }
    }

    /// What a redelivery is to bring; see [`Ledger::missing`].
    pub(crate) fn missing(&self, always: bool) -> Missing {
        self.ledger().missing(always)
    }

    /// What a message id acknowledges.
    pub(crate) fn acks(&self, message_id: i64, by: AckBy) -> Vec<Given> {
        self.ledger().acks(message_id, by)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc, thread, time::Duration};

    use imago_proto::{
        Stamp,
        msg::{Header, LoginReq},
    };

    use super::*;
    use crate::{
        auth::Identity,
        memory::Holder,
        outbox::{Next, Outbox},
        session::{Login, Sessions},
    };

    /// A session without a mark, whose login is answered.
    fn client(outbox: &Arc<Outbox>) -> Arc<Client> {
        let identity = Identity {
            account: "ann".into(),
            app: "kim".into(),
            device: String::new(),
            expires: None,
        };
        let login = Login {
            request: &LoginReq::default(),
            header: &Header::default(),
            remote: String::new(),
            order: Stamp::default(),
        };
        let client = Sessions::new(1, Duration::ZERO)
            .open(&identity, &login, outbox.clone(), "gate01")
            .unwrap();
        client.login_answered(None, Bytes::from_static(b"welcome"));
        outbox.look(Some(&mut VecDeque::new()), false);
        outbox.look(Some(&mut VecDeque::new()), false);
        client
    }

    fn push(client: &Client, place: Place, packet: Bytes) {
        let push = Push { place: Some(place), ..Push::default() };
        client.push(&Pushed::new(&push, Packet::Own(packet)));
    }

    #[test]
    fn what_waits_for_its_turn_is_counted_among_what_waits_for_the_client() {
        let outbox = Arc::new(Outbox::new(10_000, 1 << 20));
        let client = client(&outbox);
        let place = |seq| Place { conversation: "a".into(), seq, after: seq - 1, message_id: 0 };
        push(&client, place(2), vec![0; 10_000].into());
        assert_eq!(outbox.look(None, false).next, Next::Idle);
        assert_eq!(outbox.queued(), 10_000);
        push(&client, place(1), Bytes::from_static(b"x"));
        assert_eq!(outbox.queued(), 10_001);
        let mut batch = VecDeque::new();
        outbox.look(Some(&mut batch), false);
        assert_eq!(batch.len(), 2);
        outbox.look(Some(&mut VecDeque::new()), false);
        assert_eq!(outbox.queued(), 0);
    }

    #[test]
    fn pushes_of_two_links_are_queued_in_the_order_in_which_the_ledger_lets_them_pass() {
        let outbox = Arc::new(Outbox::new(10_000, 1 << 20));
        let client = client(&outbox);
        let push_each_other = |first: u64| {
            for seq in (first..=5000).step_by(2) {
                let conversation = "a".to_owned();
                let place = Place { conversation, seq, ..Place::default() };
                push(&client, place, Bytes::from(seq.to_string()));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| push_each_other(1));
            scope.spawn(|| push_each_other(2));
        });
        let (mut batch, mut last) = (VecDeque::new(), 0);
        outbox.look(Some(&mut batch), false);
        while !batch.is_empty() {
            for frame in batch.drain(..) {
                let seq = String::from_utf8_lossy(&frame.payload).parse::<u64>().unwrap();
                assert!(seq > last, "{seq} after {last}");
                last = seq;
            }
            outbox.look(Some(&mut batch), false);
        }
        assert!(last > 4000, "only up to {last}");
    }
}
