//! Connections that have to go because all of them together hold too much.

use super::*;
use crate::memory::Holder;

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_login_gives_its_place_to_another_and_is_told_so() {
    for half in [false, true] {
        let mut pair = Pair::new(Framing::WebSocket);
        if half {
            pair.client.send_bytes(b"\x82\xfe\x10\x00abcd").await;
        }
        soon(|| pair.slots.len() == 1).await;
        assert!(pair.slots.evict());
        pair.client.expect_close(1013).await;
        pair.connection.await.unwrap();
        assert_eq!(pair.begun.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn an_evicted_connection_does_not_linger() {
    let mut pair = Pair::new(Framing::WebSocket);
    pair.client.request("chat.user.talk", "").await;
    assert_eq!(pair.client.recv_refusal().await.0, 103);
    assert_eq!(pair.client.recv().await, Received::Close(Some(1008)));
    // The client does not hang up.
    soon(|| pair.slots.evict()).await;
    pair.connection.await.unwrap();
    assert_eq!(pair.begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_has_logged_in_needs_no_place_among_strangers() {
    let (mut pair, session) = Pair::online(Framing::WebSocket, 1 << 20).await;
    assert!(pair.slots.is_empty());
    session.outbox.push(answer("still here"));
    assert_eq!(pair.client.recv_logic().await.body, "still here");
}

#[tokio::test(start_paused = true)]
async fn half_a_packet_is_accounted_whether_in_one_frame_or_in_pieces() {
    for first in [0x82, 0x02] {
        let (mut pair, session) = Pair::online(Framing::WebSocket, 1 << 20).await;
        let held = || {
            let waiting = session.outbox.footprint().input();
            (200_000..600_000).contains(&waiting)
        };
        let len = if first == 0x82 { 300_000_u64 } else { 250_000 };
        let head = [&[first, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat();
        pair.client.send_bytes(&head).await;
        pair.client.send_bytes(&[7; 250_000]).await;
        soon(held).await;
        session.outbox.end_input();
        pair.client.expect_close(1013).await;
        assert_eq!(session.outbox.footprint().input(), 0, "given back at once");
    }
}
