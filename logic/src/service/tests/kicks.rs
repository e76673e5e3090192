//! What a client hears whose account has logged in elsewhere.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use imago_container::LogicRole;

use crate::support::{Sent, World, gateway, session};

/// The two come from links of two gateways, at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn the_notice_of_a_kickout_comes_before_the_refusal_of_its_session() {
    let world = Arc::new(World::new());
    let (a, b) = (gateway("a"), gateway("b"));
    world.link(&a, &[session(1, "ann", "")]);
    world.link(&b, &[]);
    *world.outlet.kick_takes.lock() = Duration::from_millis(50);
    let elsewhere = {
        let (world, mut newer) = (world.clone(), session(2, "ann", ""));
        newer.login_time += 1;
        tokio::task::spawn_blocking(move || world.service.session_up(&b, newer))
    };
    let is_unknown = |sent: &Sent| matches!(sent, Sent::Reply { reply, .. } if reply.status == 404);
    while !world.outlet.sent().iter().any(is_unknown) {
        let request = world.forward((&a, 1), "chat.unheard.of", "", Bytes::new());
        world.answer(request).await;
    }
    elsewhere.await.unwrap();
    let sent = world.outlet.sent();
    let kicked = sent.iter().position(|sent| matches!(sent, Sent::Kick { session: 1, .. }));
    assert!(kicked < sent.iter().position(is_unknown), "{kicked:?} of {}", sent.len());
}
