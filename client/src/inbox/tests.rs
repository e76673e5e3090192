//! Tests of the inbox: single cases; `properties` has all the others.

use imago_proto::Account;

use super::*;

mod properties;

const LIMITS: InboxLimits = InboxLimits { ready: 10, held: 10 };

fn id(name: &str) -> ConversationId {
    ConversationId::from(name)
}

fn message(conversation: &str, seq: u64) -> Message {
    Message {
        message_id: 0,
        conversation: id(conversation),
        seq: Seq(seq),
        sender: Account::from("bob"),
        sent_to: None,
        group: None,
        send_time: 0,
        kind: 1,
        body: String::new(),
        extra: String::new(),
    }
}

fn listed(conversation: &str, seq: u64) -> Listed {
    Listed {
        message_id: i64::try_from(seq).unwrap(),
        conversation: id(conversation),
        seq,
        sender: Account::from("bob"),
        group: None,
        send_time: 0,
    }
}

fn inbox() -> Inbox {
    Inbox::new(LIMITS)
}

fn push(inbox: &mut Inbox, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        inbox.pushed(message("c", seq));
    }
}

/// Begins a listing, has it name these, and says which are to be fetched.
fn list(inbox: &mut Inbox, seqs: &[u64], full: bool) -> Vec<u64> {
    inbox.listing_begins();
    let listing = seqs.iter().map(|seq| listed("c", *seq)).collect();
    inbox.listed(listing, full).into_iter().map(|listed| listed.seq).collect()
}

fn fetch(inbox: &mut Inbox, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        inbox.fetched(message("c", seq));
    }
}

fn delivered(inbox: &mut Inbox) -> Vec<u64> {
    std::iter::from_fn(|| inbox.next()).map(|message| message.seq.0).collect()
}

#[test]
fn pushes_come_out_in_order_and_once() {
    let mut inbox = inbox();
    push(&mut inbox, [1, 3, 3, 1, 2, 2, 5]);
    assert_eq!(delivered(&mut inbox), [1, 2, 3]);
    assert!(inbox.needs_listing(), "4 is missing");
    push(&mut inbox, [4, 4, 5]);
    assert_eq!(delivered(&mut inbox), [4, 5]);
    assert!(!inbox.needs_listing());
}

#[test]
fn a_conversation_that_does_not_begin_with_1_needs_a_listing() {
    let mut inbox = inbox();
    push(&mut inbox, [57]);
    assert!(inbox.needs_listing());
    assert_eq!(list(&mut inbox, &[55, 57], false), [55]);
    assert_eq!(delivered(&mut inbox), [0; 0], "55 is before it");
    fetch(&mut inbox, [55]);
    assert_eq!(delivered(&mut inbox), [55, 57]);
    assert!(!inbox.needs_listing());
}

#[test]
fn own_messages_are_no_holes() {
    let mut inbox = inbox();
    inbox.own(&id("c"), Seq(2));
    push(&mut inbox, [1, 3]);
    inbox.own(&id("c"), Seq(4));
    push(&mut inbox, [4, 5]);
    assert_eq!(delivered(&mut inbox), [1, 3, 5]);
}

#[test]
fn a_hole_that_the_listing_does_not_name_is_closed() {
    let mut inbox = inbox();
    push(&mut inbox, [1, 3, 6]);
    assert_eq!(list(&mut inbox, &[3, 4, 6], false), [4]);
    fetch(&mut inbox, [4]);
    assert_eq!(delivered(&mut inbox), [1, 3, 4, 6]);
}

#[test]
fn what_comes_while_a_listing_is_under_way_keeps_its_hole() {
    let mut inbox = inbox();
    push(&mut inbox, [2]);
    inbox.listing_begins();
    push(&mut inbox, [5]);
    assert!(inbox.listed(vec![listed("c", 2)], false).is_empty());
    assert_eq!(delivered(&mut inbox), [2], "3 and 4 may be on their way");
    assert!(inbox.needs_listing());
}

#[test]
fn a_push_may_fill_what_is_being_fetched() {
    let mut inbox = inbox();
    assert_eq!(list(&mut inbox, &[1, 2, 3], false), [1, 2, 3]);
    push(&mut inbox, [2, 1]);
    assert_eq!(delivered(&mut inbox), [1, 2]);
    fetch(&mut inbox, [1, 2, 3]);
    assert_eq!(delivered(&mut inbox), [3]);
}

#[test]
fn a_fetch_that_failed_is_asked_for_again() {
    let mut inbox = inbox();
    assert_eq!(list(&mut inbox, &[1, 2, 3], false), [1, 2, 3]);
    fetch(&mut inbox, [1]);
    assert!(inbox.needs_listing());
    assert_eq!(list(&mut inbox, &[1, 3], false), [3], "2 has expired meanwhile");
    fetch(&mut inbox, [3]);
    assert_eq!(delivered(&mut inbox), [1, 3]);
}

#[test]
fn a_full_page_closes_no_hole_as_long_as_something_of_it_can_be_delivered() {
    let mut inbox = inbox();
    assert_eq!(list(&mut inbox, &[1, 2, 4], true), [1, 2], "3 may be on the next page");
    fetch(&mut inbox, [1, 2]);
    assert_eq!(delivered(&mut inbox), [1, 2]);
    inbox.consumed(&id("c"), Seq(2));
    assert_eq!(list(&mut inbox, &[3, 4, 5], true), [3, 4, 5]);
}

#[test]
fn a_full_page_behind_holes_is_delivered_nevertheless() {
    let mut inbox = inbox();
    assert_eq!(list(&mut inbox, &[5, 7, 8], true), [5, 7, 8]);
    fetch(&mut inbox, [5, 7, 8]);
    assert_eq!(delivered(&mut inbox), [5, 7, 8]);
}

#[test]
fn a_slow_application_gets_everything_later() {
    let mut inbox = inbox();
    push(&mut inbox, 1..=30);
    assert_eq!(inbox.room(), 0);
    assert_eq!(delivered(&mut inbox), Vec::from_iter(1..=10));
    assert!(inbox.needs_listing(), "11 to 30 were dropped");
    let listing = Vec::from_iter(1..=30);
    let missing: Vec<u64> = [11].into_iter().chain(22..=30).collect();
    assert_eq!(list(&mut inbox, &listing, false), missing, "12 to 21 are held");
    fetch(&mut inbox, missing);
    assert_eq!(delivered(&mut inbox), Vec::from_iter(11..=30));
    assert!(!inbox.needs_listing());
}

#[test]
fn what_waits_behind_a_hole_is_bounded() {
    let mut inbox = inbox();
    push(&mut inbox, 2..=30);
    assert_eq!(inbox.held, LIMITS.held);
    push(&mut inbox, [1]);
    assert_eq!(delivered(&mut inbox), Vec::from_iter(1..=11));
    assert!(inbox.needs_listing());
}

#[test]
fn cursors_follow_what_is_consumed() {
    let mut inbox = inbox();
    push(&mut inbox, [1, 2, 3]);
    inbox.own(&id("c"), Seq(4));
    assert!(!inbox.is_dirty(), "nothing is consumed");
    inbox.consumed(&id("c"), Seq(2));
    assert_eq!(inbox.take_cursors(9), [(id("c"), Seq(2))]);
    assert!(!inbox.is_dirty());
    inbox.consumed(&id("c"), Seq(3));
    assert_eq!(inbox.take_cursors(9), [(id("c"), Seq(4))], "the own one goes along");
    assert!(inbox.is_drained());
}

#[test]
fn a_cursor_never_passes_what_is_not_delivered() {
    let mut inbox = inbox();
    push(&mut inbox, [1, 3]);
    inbox.consumed(&id("c"), Seq(3));
    assert_eq!(inbox.take_cursors(9), [(id("c"), Seq(1))]);
}

#[test]
fn cursors_that_did_not_arrive_are_sent_again() {
    let mut inbox = inbox();
    push(&mut inbox, [1, 2]);
    inbox.consumed(&id("c"), Seq(1));
    let cursors = inbox.take_cursors(9);
    inbox.consumed(&id("c"), Seq(2));
    inbox.ack_failed(cursors);
    let cursors = inbox.take_cursors(9);
    assert_eq!(cursors, [(id("c"), Seq(2))]);
    inbox.acked(&cursors);
    inbox.consumed(&id("c"), Seq(2));
    assert!(!inbox.is_dirty());
}

#[test]
fn many_own_messages_move_the_cursor_by_themselves() {
    let mut inbox = inbox();
    for seq in 1..OWN_BEFORE_ACK {
        inbox.own(&id("c"), Seq(seq));
    }
    assert!(!inbox.is_dirty());
    inbox.own(&id("c"), Seq(OWN_BEFORE_ACK));
    assert_eq!(inbox.take_cursors(9), [(id("c"), Seq(OWN_BEFORE_ACK))]);
}

/// Begins a page past what we have, and has it bring these.
fn page(inbox: &mut Inbox, seqs: impl IntoIterator<Item = u64>, more: bool) -> bool {
    inbox.listing_begins();
    let entries = seqs.into_iter().map(|seq| Entry::Message(message("c", seq)));
    inbox.page(entries.collect(), more)
}

#[test]
fn a_page_closes_holes_up_to_its_newest_and_the_last_page_all() {
    let mut inbox = inbox();
    push(&mut inbox, [3, 6, 9]);
    assert_eq!(inbox.positions(9), [], "nothing is known of it");
    assert!(page(&mut inbox, [3, 4], true));
    assert_eq!(delivered(&mut inbox), [3, 4]);
    assert_eq!(inbox.positions(9), [(id("c"), Seq(4))]);
    assert!(inbox.needs_listing());
    assert!(!page(&mut inbox, [], false));
    assert_eq!(delivered(&mut inbox), [6, 9]);
    assert!(!inbox.needs_listing());
}

#[test]
fn a_page_of_what_we_have_brings_us_no_further() {
    let mut inbox = inbox();
    push(&mut inbox, [1, 2]);
    assert!(!page(&mut inbox, [1, 2], true));
    inbox.own(&id("c"), Seq(4));
    assert!(page(&mut inbox, [4], true), "it closes the hole before our own");
    assert!(!page(&mut inbox, [4], true));
    assert_eq!(delivered(&mut inbox), [1, 2]);
}

#[test]
fn a_page_takes_the_place_of_what_an_old_server_had_listed() {
    let mut inbox = inbox();
    assert_eq!(list(&mut inbox, &[1, 2, 4], false), [1, 2, 4]);
    assert!(page(&mut inbox, [1, 4], true), "2 has expired meanwhile");
    assert_eq!(delivered(&mut inbox), [1, 4]);
    assert!(!inbox.needs_listing());
}

#[test]
fn the_positions_of_which_the_server_knows_least_are_named_first() {
    let mut inbox = inbox();
    for name in ["a", "b", "c", "d"] {
        inbox.pushed(message(name, 1));
        inbox.consumed(&id(name), Seq(1));
    }
    let cursors = inbox.take_cursors(9);
    inbox.acked(&cursors);
    assert!(!inbox.is_crowded(1));
    inbox.own(&id("d"), Seq(2));
    inbox.pushed(message("c", 3));
    assert_eq!(inbox.positions(1), [(id("d"), Seq(2))], "the other is acknowledged");
    assert_eq!(inbox.positions(2), [(id("d"), Seq(2)), (id("c"), Seq(1))]);
    assert_eq!(inbox.positions(9).len(), 4);
    inbox.own(&id("b"), Seq(2));
    assert!(inbox.is_crowded(1) && !inbox.is_crowded(2));
    inbox.settle();
    assert_eq!(inbox.take_cursors(9), [(id("b"), Seq(2)), (id("d"), Seq(2))]);
}
