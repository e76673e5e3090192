//! The order of what a client gets, and the bounds on it.

use super::*;

fn outbox() -> Outbox {
    Outbox::new(10, 1000)
}

fn packet(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Everything that is to be written, and then what is to be done.
fn drained(outbox: &Outbox) -> (Vec<String>, Next) {
    let mut texts = Vec::new();
    loop {
        let mut batch = VecDeque::new();
        let next = outbox.next(&mut batch);
        if next != Next::Write {
            return (texts, next);
        }
        texts.extend(batch.iter().map(|frame| String::from_utf8_lossy(&frame.payload).into()));
    }
}

#[test]
fn the_login_answer_comes_first_whatever_was_pushed_before() {
    let outbox = outbox();
    outbox.push(packet("push"));
    assert_eq!(drained(&outbox), (vec![], Next::Idle));
    outbox.login_answered(packet("answer"));
    outbox.push(packet("later"));
    assert_eq!(drained(&outbox).0, ["answer", "push", "later"]);
}

#[test]
fn a_slow_reader_is_cut_off_by_count_and_by_bytes() {
    for (fits, size) in [(3, 1), (1, 600)] {
        let outbox = Outbox::new(3, 1000);
        outbox.login_answered(packet(""));
        drained(&outbox);
        for _ in 0..fits {
            outbox.push(Bytes::from(vec![0; size]));
        }
        assert!(outbox.cut_off().is_none() && !outbox.is_closing());
        outbox.push(Bytes::from(vec![0; size]));
        assert_eq!(outbox.cut_off().map(|close| close.code), Some(code::TRY_LATER));
    }
}

#[test]
fn one_packet_larger_than_the_queue_still_passes() {
    let outbox = Outbox::new(3, 1000);
    outbox.login_answered(packet(""));
    drained(&outbox);
    outbox.push(Bytes::from(vec![b'x'; 5000]));
    assert_eq!(drained(&outbox).0, ["x".repeat(5000)]);
}

#[test]
fn a_refusal_is_sent_before_the_close_and_nothing_after_it() {
    let outbox = outbox();
    outbox.push(packet("early"));
    outbox.finish(Some(packet("no")), Close::new(code::POLICY, "refused"));
    outbox.push(packet("late"));
    outbox.login_answered(packet("too late"));
    outbox.finish(Some(packet("again")), Close::new(code::NORMAL, ""));
    let (texts, next) = drained(&outbox);
    assert_eq!(texts, ["no"]);
    assert_eq!(next, Next::Close(Close::new(code::POLICY, "refused")));
}

#[test]
fn a_kick_before_the_login_is_answered_answers_it_first() {
    let outbox = outbox();
    outbox.push(packet("push"));
    outbox.kick(|| packet("welcome"), packet("kicked"), Close::new(code::NORMAL, ""));
    outbox.login_answered(packet("welcome of the server"));
    assert_eq!(drained(&outbox).0, ["welcome", "push", "kicked"]);
}

#[test]
fn a_kick_after_the_login_only_brings_the_notice_and_only_once() {
    let outbox = outbox();
    outbox.login_answered(packet("welcome"));
    for _ in 0..3 {
        outbox.kick(
            || unreachable!("already answered"),
            packet("kicked"),
            Close::new(code::NORMAL, ""),
        );
        outbox.push(packet("push that races with the kick"));
    }
    assert_eq!(drained(&outbox).0, ["welcome", "kicked"]);
}

#[test]
fn large_batches_are_written_in_pieces() {
    let outbox = Outbox::new(1000, 10 << 20);
    outbox.login_answered(packet("welcome"));
    for _ in 0..200 {
        outbox.push(packet("x"));
    }
    let mut batch = VecDeque::new();
    assert_eq!(outbox.next(&mut batch), Next::Write);
    assert_eq!(batch.len(), BATCH_FRAMES);
    assert_eq!(drained(&outbox).0.len(), 201 - BATCH_FRAMES);
}

#[test]
fn a_client_is_not_read_while_half_of_its_queue_is_full_or_it_leaves() {
    let outbox = outbox();
    outbox.login_answered(packet("welcome"));
    for _ in 0..4 {
        assert!(outbox.invites());
        outbox.push(packet("x"));
    }
    assert!(!outbox.invites());
    drained(&outbox);
    assert!(outbox.invites());
    outbox.leave();
    assert!(outbox.is_leaving() && !outbox.invites());
}
