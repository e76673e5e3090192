//! One message to many: what a logic server does with ten thousand sessions, and what a gateway
//! does with ten thousand clients.
//!
//! Both are private, and stay so: their sources are compiled here a second time.

use std::{hint::black_box, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use imago_container::PeerId;
use imago_proto::{
    SessionId,
    link::{Place, Push, Reply},
};

use crate::{Run, Scenario, Session, directory, packet};

#[allow(dead_code, reason = "a scenario needs only a part of it")]
#[rustfmt::skip]
#[path = "../../gateway/src/outbox.rs"]
mod outbox;

#[allow(dead_code, reason = "a scenario needs only a part of it")]
#[rustfmt::skip]
#[path = "../../logic/src/service/outlet.rs"]
mod outlet;

/// One message to many; an operation is one receiver.
pub const FAN_OUT: &[Scenario] = &[
    Scenario::new("fan-out/group-by-gateway", group),
    Scenario::new("fan-out/hand-to-clients", hand),
];

const RECEIVERS: u64 = 10_000;
const MESSAGES: usize = 20;

/// Links that take everything.
struct Sink;

#[async_trait]
impl outlet::Outlet for Sink {
    async fn reply(&self, _: &PeerId, _: Reply, _: Bytes) {}

    fn push(&self, gateway: &PeerId, push: Push, packet: Bytes) {
        black_box((gateway, push, packet));
    }

    fn owed(&self, _: &PeerId, _: Vec<u64>) {}

    fn owed_everywhere(&self) {}

    fn redelivery(&self, _: &PeerId) -> Option<Arc<dyn outlet::RedeliveryWay>> {
        None
    }

    fn kick(&self, _: &PeerId, _: SessionId, _: Bytes) {}
}

fn group() -> Run {
    let gateways = directory::gateways();
    let receivers = (0..RECEIVERS).zip(gateways.iter().cycle());
    let receivers: Vec<Arc<Session>> =
        receivers.map(|(number, gateway)| Arc::new(directory::session(number, gateway))).collect();
    let packet = packet::push();
    let place = Place { conversation: "g1".to_owned(), seq: 7, message_id: 1, after: 1 };
    Run::batches(vec![(); MESSAGES], receivers.len(), move |()| {
        let receivers = receivers.iter().map(|receiver| &**receiver);
        outlet::push(&Sink, receivers, Some(&place), &packet);
    })
}

fn hand() -> Run {
    let outbox = |_| {
        let outbox = Arc::new(outbox::Outbox::new(256, 1 << 20));
        outbox.login_answered(Bytes::from_static(b"welcome"));
        outbox
    };
    let outboxes: Vec<Arc<outbox::Outbox>> = (0..RECEIVERS).map(outbox).collect();
    let packets = vec![packet::push(); MESSAGES];
    Run::batches(packets, outboxes.len(), move |packet| {
        for outbox in &outboxes {
            outbox.push(packet.clone());
        }
    })
}
