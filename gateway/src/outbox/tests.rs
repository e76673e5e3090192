//! The order of what a client gets, and the bounds on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

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
        let next = outbox.look(Some(&mut batch), false).next;
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
        assert!(!outbox.is_closing());
        outbox.push(Bytes::from(vec![0; size]));
        // Even in the middle of a write.
        let Next::CutOff(close) = outbox.look(None, false).next else { panic!("not cut off") };
        assert_eq!(close.code, code::TRY_LATER);
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
    assert_eq!(outbox.look(Some(&mut batch), false).next, Next::Write);
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
    assert!(outbox.look(None, false).is_leaving && !outbox.invites());
}

#[test]
fn what_is_deferred_is_written_in_order_with_what_is_not() {
    let outbox = outbox();
    outbox.login_answered(packet("welcome"));
    assert_eq!(outbox.defer(Packet::Own(packet("1"))), Deferred::First);
    outbox.push(packet("2"));
    assert_eq!(outbox.defer(Packet::Own(packet("3"))), Deferred::Again);
    assert_eq!(drained(&outbox).0, ["welcome", "1", "2", "3"]);
    outbox.wake();
    assert_eq!(outbox.defer(Packet::Own(packet("4"))), Deferred::First);
}

#[test]
fn a_turn_that_is_far_behind_is_told_by_count_and_by_bytes() {
    let by_count = Outbox::new(40, 10_000);
    by_count.login_answered(packet("welcome"));
    assert_eq!(by_count.defer(Packet::Own(packet("x"))), Deferred::First);
    for _ in 0..8 {
        assert_eq!(by_count.defer(Packet::Own(packet("x"))), Deferred::Again);
    }
    assert_eq!(by_count.defer(Packet::Own(packet("x"))), Deferred::Behind);
    by_count.wake();
    assert_eq!(by_count.defer(Packet::Own(packet("x"))), Deferred::First);

    let by_bytes = Outbox::new(1000, 4000);
    assert_eq!(by_bytes.defer(Packet::Own(vec![0; 600].into())), Deferred::First);
    assert_eq!(by_bytes.defer(Packet::Own(vec![0; 600].into())), Deferred::Behind);
}

#[test]
fn only_what_wakes_a_connection_wakes_it() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let is_woken = || woken.0.swap(false, Ordering::SeqCst);
    let (outbox, waker) = (outbox(), Waker::from(woken.clone()));
    let mut cx = TaskContext::from_waker(&waker);
    assert!(outbox.poll_changed(&mut cx, false).is_pending());
    outbox.defer(Packet::Own(packet("deferred")));
    assert!(!is_woken());
    outbox.wake();
    assert!(is_woken() && outbox.poll_changed(&mut cx, false).is_ready());
    assert!(outbox.poll_changed(&mut cx, false).is_pending(), "once for each change");
    outbox.push(packet("push"));
    assert!(is_woken());
    outbox.look(None, false);
    assert!(outbox.poll_changed(&mut cx, false).is_pending(), "seen by the look");
}

#[test]
fn a_patient_connection_is_woken_by_what_is_pressing_alone() {
    for what in ["the end", "a hand-over", "many frames", "many bytes"] {
        let outbox = Outbox::new(160, 1000);
        outbox.login_answered(Bytes::new());
        drained(&outbox);
        let mut cx = TaskContext::from_waker(Waker::noop());
        let mut batch = VecDeque::new();
        outbox.push(packet("x"));
        assert!(outbox.poll_changed(&mut cx, true).is_pending(), "{what}");
        assert_eq!(outbox.look(Some(&mut batch), true).next, Next::Idle, "{what}");
        match what {
            "the end" => outbox.finish(None, Close::new(code::NORMAL, "")),
            "a hand-over" => outbox.leave(),
            "many frames" => (0..40).for_each(|_| outbox.push(packet("x"))),
            _ => outbox.push(Bytes::from(vec![0; 300])),
        }
        assert!(outbox.poll_changed(&mut cx, true).is_ready(), "{what}");
        assert_eq!(outbox.look(Some(&mut batch), true).next, Next::Write, "{what}");
        assert_eq!(batch.pop_front().unwrap().payload, "x", "in order: {what}");
    }
}

#[test]
fn frames_that_came_while_it_was_patient_are_seen_when_it_is_no_more() {
    let outbox = outbox();
    outbox.login_answered(packet("welcome"));
    drained(&outbox);
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert!(outbox.poll_changed(&mut cx, true).is_pending());
    outbox.push(packet("x"));
    assert!(outbox.poll_changed(&mut cx, true).is_pending());
    assert!(outbox.poll_changed(&mut cx, false).is_ready());
    assert_eq!(drained(&outbox).0, ["x"]);
}

/// Returns whether the outbox has changed since the last call.
fn has_changed(outbox: &Outbox) -> bool {
    outbox.poll_changed(&mut TaskContext::from_waker(Waker::noop()), false).is_ready()
}

fn online() -> Arc<Outbox> {
    let outbox = Arc::new(outbox());
    outbox.login_answered(packet("welcome"));
    drained(&outbox);
    outbox
}

/// An outbox that something was queued in for which it was not woken.
fn deferred() -> Arc<Outbox> {
    let outbox = online();
    assert_eq!(outbox.defer(Packet::Own(packet("push"))), Deferred::First);
    outbox
}

#[test]
fn receivers_are_woken_once_a_write_of_the_answer_has_been_tried() {
    let (sender, receivers) = (online(), [deferred(), deferred(), deferred()]);
    let [first, second, third] = &receivers;
    let one = sender.push_answer(packet("one")).unwrap();
    assert!(sender.lead(one, vec![first.clone()]).is_empty());
    let answers = sender.look(Some(&mut VecDeque::new()), false).answers;
    assert_eq!(answers, Some(one));
    // Before that write is tried there is another answer: it is not in it.
    let two = sender.push_answer(packet("two")).unwrap();
    assert!(sender.lead(two, vec![second.clone()]).is_empty());
    assert!(sender.lead(one, vec![third.clone()]).is_empty());
    let woken = sender.tried(one);
    assert!(woken.len() == 1 && Arc::ptr_eq(&woken[0], first));
    assert_eq!(sender.lead(one, vec![first.clone()]).len(), 1, "it is on its way");
    assert!(has_changed(&sender), "the other answer is seen");
    let answers = sender.look(Some(&mut VecDeque::new()), false).answers.unwrap();
    assert_eq!(sender.tried(answers).len(), 2);
    assert_eq!(sender.look(Some(&mut VecDeque::new()), false).answers, None);
}

#[test]
fn a_sender_that_does_not_read_keeps_no_receiver_waiting() {
    let sender = online();
    let answer = sender.push_answer(packet("answer")).unwrap();
    assert!(sender.lead(answer, vec![deferred()]).is_empty());
    // What was laid out before still waits: the try of that counts.
    assert_eq!(sender.look(None, true).answers, Some(answer));
    assert_eq!(sender.tried(answer).len(), 1);
}

#[test]
fn a_sender_whose_answers_wait_on_purpose_keeps_no_receiver_waiting() {
    let sender = online();
    let answer = sender.push_answer(packet("answer")).unwrap();
    let mut batch = VecDeque::new();
    assert_eq!(sender.look(Some(&mut batch), true).answers, None);
    assert_eq!(sender.lead(answer, vec![deferred()]).len(), 1);
    // It pauses between answer and push: then it does not.
    let sender = online();
    let answer = sender.push_answer(packet("answer")).unwrap();
    assert!(sender.lead(answer, vec![deferred()]).is_empty());
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert!(sender.poll_changed(&mut cx, true).is_ready());
    assert_eq!(sender.look(Some(&mut batch), true).answers, Some(answer));
    assert_eq!(batch.len(), 1);
}

#[test]
fn the_end_of_a_sender_wakes_receivers_and_keeps_none_waiting() {
    let sender = online();
    let answer = sender.push_answer(packet("answer")).unwrap();
    assert!(sender.lead(answer, vec![deferred(), deferred()]).is_empty());
    assert_eq!(sender.end().len(), 2);
    assert_eq!(sender.lead(answer, vec![deferred()]).len(), 1);
    assert!(sender.end().is_empty());
    sender.finish(None, Close::new(code::NORMAL, ""));
    assert_eq!(sender.push_answer(packet("too late")), None);
}

#[test]
fn answers_are_counted_beyond_the_last_number() {
    let sender = online();
    sender.lock().led.count_from(u32::MAX - 1);
    for _ in 0..4 {
        let answer = sender.push_answer(packet("answer")).unwrap();
        assert!(sender.lead(answer, vec![deferred()]).is_empty());
        assert_eq!(sender.tried(answer).len(), 1);
        assert_eq!(sender.lead(answer, vec![deferred()]).len(), 1);
        drained(&sender);
    }
}
