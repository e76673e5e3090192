//! Totals over all clients, and who has to go.

use std::{collections::VecDeque, time::Duration};

use super::*;
use crate::outbox::{Next, Outbox, Packet};

const MIB: usize = 1 << 20;

fn used(total: &Total) -> usize {
    usize::try_from(total.used.load(Ordering::Relaxed)).unwrap()
}

fn outbox(memory: &Arc<Memory>) -> Arc<Outbox> {
    let outbox = Arc::new(Outbox::new(1_000_000, 1 << 30).within(memory));
    memory.list(&(outbox.clone() as Arc<dyn Holder>));
    outbox.login_answered(Bytes::new());
    outbox
}

fn packet(len: usize) -> Bytes {
    Bytes::from(vec![7; len])
}

fn drain(outbox: &Outbox) {
    while outbox.look(Some(&mut VecDeque::new()), false).next == Next::Write {}
}

#[test]
fn what_is_usual_is_not_accounted() {
    let memory = Memory::new(MIB, MIB);
    let outbox = outbox(&memory);
    for _ in 0..100 {
        outbox.push(packet(1000));
        drain(&outbox);
        outbox.footprint().set_input(UNACCOUNTED, true);
    }
    assert_eq!((used(&memory.output), used(&memory.input)), (0, 0));
}

#[test]
fn what_waits_is_accounted_until_it_is_written_and_given_back_with_the_client() {
    let memory = Memory::new(MIB, MIB);
    let (first, second) = (outbox(&memory), outbox(&memory));
    first.push(packet(10_000));
    second.push(packet(20_000));
    assert!((30_000..40_000).contains(&used(&memory.output)), "{}", used(&memory.output));
    // Taken, and perhaps not written: only the next look says so.
    let mut batch = VecDeque::new();
    assert_eq!(first.look(Some(&mut batch), false).next, Next::Write);
    first.look(None, false);
    assert!((30_000..40_000).contains(&used(&memory.output)), "{}", used(&memory.output));
    drain(&first);
    assert!((20_000..30_000).contains(&used(&memory.output)), "{}", used(&memory.output));
    drop(second);
    assert_eq!(used(&memory.output), 0);
}

#[test]
fn the_client_with_the_most_is_cut_off_and_not_the_one_that_gets_the_next_packet() {
    let memory = Memory::new(MIB, MIB);
    let slow = outbox(&memory);
    for _ in 0..9 {
        slow.push(packet(100_000));
    }
    let others: Vec<_> = (0..4).map(|_| outbox(&memory)).collect();
    for other in &others {
        other.push(packet(50_000));
    }
    assert!(slow.is_closing());
    assert!(matches!(slow.look(None, false).next, Next::CutOff(_)));
    assert!(others.iter().all(|other| !other.is_closing()));
    assert!(used(&memory.output) <= MIB, "{}", used(&memory.output));
    // Once more: who is cut off is not chosen again.
    for other in &others {
        other.push(packet(300_000));
    }
    let cut: Vec<_> = others.iter().filter(|other| other.is_closing()).collect();
    assert!(!cut.is_empty() && cut.len() < 4, "{}", cut.len());
    assert!(used(&memory.output) <= MIB, "{}", used(&memory.output));
}

#[test]
fn small_packets_are_accounted_with_what_they_take_themselves() {
    let memory = Memory::new(MIB, MIB);
    let outbox = outbox(&memory);
    for _ in 0..10_000 {
        outbox.push(packet(10));
    }
    assert!(used(&memory.output) > 600_000, "{}", used(&memory.output));
}

#[test]
fn what_is_kept_elsewhere_for_a_client_counts_until_it_is_queued() {
    let memory = Memory::new(MIB, MIB);
    let outbox = outbox(&memory);
    outbox.set_kept(100_000);
    assert!(used(&memory.output) >= 100_000);
    assert_eq!(outbox.queued(), 100_000, "who has much kept is cut off before others");
    outbox.set_kept(0);
    assert_eq!(used(&memory.output), 0);
}

#[test]
fn a_packet_to_many_counts_once_until_the_last_has_it() {
    let memory = Memory::new(MIB, MIB);
    let all: Vec<_> = (0..100).map(|_| outbox(&memory)).collect();
    let packet = memory.share(&packet(100_000));
    for (number, outbox) in all.iter().enumerate() {
        if number % 2 == 0 {
            outbox.push_packet(Packet::Shared(packet.clone()));
        } else {
            outbox.defer(Packet::Shared(packet.clone()));
        }
    }
    drop(packet);
    assert_eq!(used(&memory.output), 100_000);
    let (slow, others) = all.split_first().unwrap();
    others.iter().for_each(|outbox| drain(outbox));
    assert_eq!(used(&memory.output), 100_000);
    drain(slow);
    assert_eq!(used(&memory.output), 0);
}

#[test]
fn packets_to_many_that_many_slow_clients_hold_are_bounded_too() {
    let memory = Memory::new(MIB, MIB);
    let (quick, slow, other) = (outbox(&memory), outbox(&memory), outbox(&memory));
    drain(&slow);
    other.push(packet(10));
    for _ in 0..100 {
        let packet = memory.share(&packet(50_000));
        quick.push_packet(Packet::Shared(packet.clone()));
        slow.push_packet(Packet::Shared(packet));
        drain(&quick);
        assert!(used(&memory.output) <= MIB + 100_000, "{}", used(&memory.output));
    }
    assert!(slow.is_closing() && !quick.is_closing() && !other.is_closing());
}

#[tokio::test(start_paused = true)]
async fn who_waits_the_longest_for_the_rest_of_a_packet_has_to_go() {
    let memory = Memory::new(MIB, MIB);
    let all: Vec<_> = (0..8).map(|_| outbox(&memory)).collect();
    for outbox in &all {
        outbox.footprint().set_input(128 << 10, false);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(used(&memory.input), MIB);
    // It has sent a whole packet meanwhile, and a part of the next one.
    all[0].footprint().set_input(128 << 10, true);
    all[7].footprint().set_input(200 << 10, false);
    let closing: Vec<_> = all.iter().map(|outbox| outbox.is_closing()).collect();
    assert_eq!(closing, [false, true, true, false, false, false, false, false]);
    assert!(used(&memory.input) <= MIB - MIB / 8, "{}", used(&memory.input));
    drain(&all[1]);
    let ended = all[1].look(Some(&mut VecDeque::new()), false).next;
    assert!(matches!(&ended, Next::Close(close) if close.code == 1013), "{ended:?}");
    // What they had is not taken off again at their end.
    drop(all);
    assert_eq!(used(&memory.input), 0);
    assert!(lock(&memory.holders).entries.iter().all(Option::is_none));
}

#[test]
fn indices_are_used_again() {
    let memory = Memory::new(MIB, MIB);
    for _ in 0..10 {
        let some: Vec<_> = (0..10).map(|_| outbox(&memory)).collect();
        drop(some);
    }
    assert_eq!(lock(&memory.holders).entries.len(), 10);
}
