//! A sender's connection wakes the receivers of its messages, whatever becomes of it.

use futures::poll;

use super::*;
use crate::outbox::{Deferred, Outbox, Packet};

/// An outbox that something was queued in for which it was not woken.
fn deferred() -> Arc<Outbox> {
    let outbox = Arc::new(Outbox::new(10, 1000));
    outbox.login_answered(answer("welcome"));
    outbox.look(Some(&mut VecDeque::new()), false);
    assert_eq!(outbox.defer(Packet::Own(answer("push"))), Deferred::First);
    outbox
}

async fn is_woken(outbox: &Outbox) -> bool {
    poll!(std::future::poll_fn(|cx| outbox.poll_changed(cx, false))).is_ready()
}

/// Answers a message of a session, and has its receiver woken behind that.
fn lead(session: &crate::session::Client, body: Bytes) -> Arc<Outbox> {
    let receiver = deferred();
    let number = session.outbox.push_answer(body).unwrap();
    assert!(session.outbox.lead(number, vec![receiver.clone()]).is_empty());
    receiver
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_in_the_pipe_when_the_receiver_is_woken() {
    let (mut pair, session) = Pair::online(Framing::LengthPrefixed, 1 << 20).await;
    let receiver = lead(&session, answer("answer"));
    assert!(!is_woken(&receiver).await);
    assert_eq!(pair.client.recv_logic().await.body, "answer");
    assert!(is_woken(&receiver).await);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_takes_nothing_is_tried_once() {
    let (_pair, session) = Pair::online(Framing::LengthPrefixed, 1024).await;
    session.outbox.push(large());
    tokio::task::yield_now().await;
    // The one is behind what is half written, the other begins a write of its own.
    for sender in [session, Pair::online(Framing::LengthPrefixed, 16).await.1] {
        let begun = Instant::now();
        let receiver = lead(&sender, answer("answer"));
        while !is_woken(&receiver).await {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "no time has passed");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_sender_wakes_its_receivers() {
    let (pair, session) = Pair::online(Framing::LengthPrefixed, 1024).await;
    let receiver = lead(&session, answer("answer"));
    pair.connection.abort();
    assert!(pair.connection.await.unwrap_err().is_cancelled());
    assert!(is_woken(&receiver).await);

    let (pair, session) = Pair::online(Framing::LengthPrefixed, 1024).await;
    drop(pair.client);
    let receiver = lead(&session, answer("answer"));
    pair.connection.await.unwrap();
    assert!(is_woken(&receiver).await);
}
