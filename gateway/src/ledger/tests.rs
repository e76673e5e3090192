//! Single steps of a ledger; the model test plays whole lives of sessions.

mod answers;
mod model;

use std::mem::size_of;

use bytes::Bytes;

use super::*;
use crate::ledger::{
    floors::FLOORS_MAX,
    held::{HELD_BYTES_MAX, HELD_MAX},
    unacked::IDS_MAX,
};

/// A ledger, and what its client got.
#[derive(Default)]
struct Session {
    ledger: Ledger,
    got: Vec<Bytes>,
}

/// Gives a client its packets.
fn client(got: &mut Vec<Bytes>) -> impl Hand {
    |packet| match packet {
        Packet::Own(packet) | Packet::Shared(packet) => got.push(packet),
    }
}

/// Place of a message whose predecessor's commit is its own sequence; its id is 100 more.
fn place(conversation: &str, seq: u64) -> Place {
    let message_id = i64::try_from(seq).unwrap_or(0) + 100;
    Place { conversation: conversation.to_owned(), seq, message_id, after: seq }
}

/// Parts of an answer, of which the last one has a message id.
fn page<const N: usize>(mut given: [Given; N], message_id: i64) -> [Given; N] {
    if let Some(last) = given.last_mut() {
        last.message_id = message_id;
    }
    given
}

fn given(conversation: &str, from: u64, to: u64) -> Given {
    Given { conversation: conversation.to_owned(), from, to, message_id: 0 }
}

fn packet(place: &Place) -> Packet {
    Packet::Own(format!("{}{}", place.conversation, place.seq).into())
}

impl Session {
    /// Logged in when commits up to this one were there.
    fn since(commit: u64) -> Self {
        let mut session = Self::default();
        assert!(!session.log_in(Some(Mark::up_to(commit))));
        session
    }

    fn log_in(&mut self, mark: Option<Mark>) -> bool {
        self.ledger.logged_in(mark, &mut client(&mut self.got))
    }

    fn push_place(&mut self, place: &Place, again: bool) -> Verdict {
        let message = Message::new(place, again).unwrap();
        self.ledger.push(&message, &packet(place), &mut client(&mut self.got))
    }

    fn push(&mut self, conversation: &str, seq: u64) -> Verdict {
        self.push_place(&place(conversation, seq), false)
    }

    fn push_again(&mut self, conversation: &str, seq: u64) -> Verdict {
        self.push_place(&Place { after: COMMIT_UNKNOWN, ..place(conversation, seq) }, true)
    }

    fn own(&mut self, conversation: &str, seq: u64) -> Verdict {
        self.ledger.own(&place(conversation, seq), &mut client(&mut self.got))
    }

    fn redelivered(&mut self, commit: u64) -> bool {
        let mark = Mark::up_to(commit);
        self.ledger.redelivered(mark, &mut client(&mut self.got))
    }

    fn have(&mut self) -> Vec<Given> {
        let Missing::Since { mut have, .. } = self.ledger.missing(true) else { panic!() };
        have.sort_by(|a, b| (&a.conversation, a.from).cmp(&(&b.conversation, b.from)));
        have
    }

    #[track_caller]
    fn got(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.got), expected);
    }
}

#[test]
fn a_session_without_messages_costs_a_mark_and_a_pointer() {
    assert_eq!(size_of::<Ledger>(), size_of::<Option<Mark>>() + size_of::<usize>());
    let mut session = Session::since(7);
    session.ledger.acked(&[given("a", 0, 9)]);
    assert!(session.ledger.acks(5, AckBy::Talk).is_empty());
    assert!(session.ledger.kept.is_none());
}

#[test]
fn pushes_pass_in_order_and_once() {
    let mut session = Session::since(4);
    assert_eq!(session.push("a", 4), Verdict::Given);
    assert_eq!(session.push("a", 5), Verdict::Given);
    assert_eq!(session.push("a", 5), Verdict::Duplicate);
    assert_eq!(session.push("a", 4), Verdict::Duplicate);
    session.got(&["a4", "a5"]);
    assert_eq!(session.push("a", 7), Verdict::Hole);
    assert_eq!(session.push("a", 8), Verdict::Held);
    assert_eq!(session.push("a", 7), Verdict::Duplicate);
    session.got(&[]);
    assert_eq!(session.push("a", 6), Verdict::Given);
    session.got(&["a6", "a7", "a8"]);
}

#[test]
fn a_conversation_that_nothing_is_known_of_waits_unless_the_mark_covers_what_was_before() {
    let mut session = Session::since(4);
    assert_eq!(session.push("a", 5), Verdict::Hole);
    assert_eq!(session.push("b", 4), Verdict::Given);
    let first = Place { after: 0, ..place("c", 1) };
    assert_eq!(session.push_place(&first, false), Verdict::Given);
    session.got(&["b4", "c1"]);
    let unknown = Place { after: COMMIT_UNKNOWN, ..place("d", 2) };
    assert_eq!(session.push_place(&unknown, false), Verdict::Held);

    let mut session = Session::default();
    session.log_in(None);
    assert_eq!(session.push("a", 1), Verdict::Hole, "without a mark nothing is covered");
    assert_eq!(session.push_place(&first, false), Verdict::Given);
}

#[test]
fn what_comes_before_the_login_is_answered_waits_for_the_mark() {
    let mut session = Session::default();
    for seq in [6, 4, 5] {
        assert_eq!(session.push("a", seq), Verdict::Held);
    }
    assert_eq!(session.push("b", 9), Verdict::Held);
    assert_eq!(session.ledger.missing(true), Missing::Unknown);
    session.got(&[]);
    assert!(session.log_in(Some(Mark::up_to(4))), "b9 waits on");
    session.got(&["a4", "a5", "a6"]);
}

#[test]
fn a_redelivery_fills_holes_and_lets_pass_what_it_does_not_bring() {
    let mut session = Session::since(4);
    session.push("a", 4);
    assert_eq!(session.push("a", 7), Verdict::Hole);
    assert_eq!(session.push("b", 12), Verdict::Held);
    session.got(&["a4"]);
    assert_eq!(session.have(), [given("a", 0, 4)]);
    // Of a, 6 alone is for the session; of b nothing that it does not have.
    assert_eq!(session.push_again("a", 6), Verdict::Given);
    session.got(&["a6", "a7"]);
    assert_eq!(session.push_again("a", 7), Verdict::Duplicate);
    assert_eq!(session.push("a", 20), Verdict::Held, "it came since");
    assert!(session.redelivered(15), "a20 waits on");
    session.got(&["b12"]);
    assert!(!session.redelivered(20));
    session.got(&["a20"]);
}

#[test]
fn a_redelivery_passes_what_waits_and_is_before_what_it_brings() {
    let mut session = Session::since(0);
    session.push("a", 3);
    assert_eq!(session.push_again("a", 5), Verdict::Given);
    session.got(&["a5"]);
    assert!(!session.redelivered(9));
    assert_eq!(session.push("a", 6), Verdict::Given);
    session.got(&["a6"]);
}

#[test]
fn a_repeat_that_waits_is_dropped_when_the_redelivery_has_not_brought_it() {
    let mut session = Session::since(0);
    let repeat = Place { after: COMMIT_UNKNOWN, ..place("a", 5) };
    assert_eq!(session.push_place(&repeat, false), Verdict::Hole);
    session.have();
    assert!(!session.redelivered(9));
    session.got(&[]);
    assert_eq!(session.push("a", 6), Verdict::Given);
}

#[test]
fn what_a_session_has_is_asked_with_only_as_long_as_the_mark_does_not_cover_it() {
    let mut session = Session::since(9);
    session.push("a", 4);
    session.push("b", 5);
    assert_eq!(session.have(), [given("a", 0, 4), given("b", 0, 5)]);
    session.push("b", 6);
    session.redelivered(9);
    assert_eq!(session.have(), [given("b", 0, 6)], "b6 came after the question");
    session.redelivered(9);
    assert_eq!(session.have(), []);
    assert_eq!(session.push("a", 4), Verdict::Duplicate, "floors stay");
}

#[test]
fn own_messages_fill_holes_and_are_not_asked_for() {
    let mut session = Session::since(4);
    assert_eq!(session.own("a", 4), Verdict::Given);
    session.push("a", 6);
    session.push("a", 8);
    assert_eq!(session.own("a", 7), Verdict::Held);
    session.got(&[]);
    assert_eq!(session.have(), [given("a", 0, 4), given("a", 7, 7)]);
    assert_eq!(session.own("a", 5), Verdict::Given);
    session.got(&["a6", "a8"]);
    assert_eq!(session.push("a", 9), Verdict::Given);
    assert_eq!(session.own("a", 3), Verdict::Duplicate, "an answer that came twice");

    let mut session = Session::since(4);
    assert_eq!(session.own("a", 9), Verdict::Hole, "nothing is known of what was before");
    assert_eq!(session.push_again("a", 8), Verdict::Given);
    assert_eq!(session.push_again("a", 9), Verdict::Duplicate);
    session.got(&["a8"]);
}

#[test]
fn only_so_much_waits() {
    let mut session = Session::since(0);
    assert_eq!(session.push("a", 2), Verdict::Hole);
    for seq in 3..1 + HELD_MAX as u64 + 1 {
        assert_eq!(session.push("a", seq), Verdict::Held);
    }
    assert_eq!(session.push("a", 100), Verdict::Dropped);
    assert_eq!(session.own("a", 101), Verdict::Dropped);
    assert_eq!(session.push_again("a", 1), Verdict::Given);
    assert_eq!(session.got.len(), 1 + HELD_MAX);
    assert_eq!(session.push("a", 100), Verdict::Hole, "there is room again");

    let mut session = Session::since(0);
    let large = Packet::Shared(Bytes::from(vec![0; HELD_BYTES_MAX / 2]));
    let mut push = |seq| {
        let place = place("a", seq);
        let message = Message::new(&place, false).unwrap();
        session.ledger.push(&message, &large, &mut |_| panic!("nothing passes"))
    };
    assert_eq!([push(2), push(3), push(4)], [Verdict::Hole, Verdict::Held, Verdict::Dropped]);
}

#[test]
fn the_floors_moved_least_recently_are_forgotten() {
    let mut session = Session::since(1);
    for number in 0..FLOORS_MAX {
        session.push(&number.to_string(), 1);
    }
    session.push("0", 2);
    session.push("one more", 1);
    assert_eq!(session.have().len(), FLOORS_MAX - FLOORS_MAX / 16 + 1);
    assert_eq!(session.push("0", 3), Verdict::Given);
    assert_eq!(session.push("1", 2), Verdict::Hole);
    assert_eq!(session.push(&(FLOORS_MAX - 1).to_string(), 2), Verdict::Given);
}

#[test]
fn what_is_told_fits_into_a_frame_and_the_rest_is_told_the_next_time() {
    let mut session = Session::since(9);
    let name = |number| format!("{number:0>1000}");
    for number in 0..1000 {
        session.push(&name(number), 5);
    }
    let fit = GIVEN_BYTES_MAX / 1024;
    assert_eq!(session.have().len(), fit);
    let mut given: Vec<Given> = (0..1000).map(|number| given(&name(number), 1, 5)).collect();
    given.last_mut().unwrap().message_id = 7;
    session.ledger.gave(&given);
    let mut acked = 0;
    while acked < given.len() {
        let some = session.ledger.acks(7, AckBy::Index);
        assert!((1..=fit).contains(&some.len()));
        acked += some.len();
        session.ledger.acked(&some);
    }
    assert_eq!(session.ledger.kept.as_ref().unwrap().unacked.len(), 0);
}

#[test]
fn a_message_id_acknowledges_what_was_written_up_to_it() {
    let mut session = Session::since(9);
    session.push("a", 4);
    session.push("b", 7);
    session.own("a", 5);
    session.push("a", 6);
    session.push("c", 1);
    let acks = |session: &Session, id| session.ledger.acks(id, AckBy::Talk);
    assert_eq!(acks(&session, 104), [given("a", 4, 4)]);
    assert_eq!(acks(&session, 107), [given("a", 4, 4), given("b", 7, 7)]);
    assert_eq!(acks(&session, 106), [given("a", 4, 6), given("b", 7, 7)]);
    assert_eq!(acks(&session, 105), [], "an answer's id is no push's");
    assert_eq!(acks(&session, 999), []);
    for id in [0, -104] {
        assert_eq!(acks(&session, id), []);
    }
    session.ledger.acked(&[given("a", 0, 5), given("x", 0, 5)]);
    assert_eq!(acks(&session, 106), [given("a", 6, 6), given("b", 7, 7)]);
    assert_eq!(acks(&session, 104), []);
    session.ledger.acked(&[given("a", 0, 6), given("b", 0, 7), given("c", 0, 1)]);
    assert_eq!(session.ledger.kept.as_ref().unwrap().unacked.len(), 0);
}

#[test]
fn an_answer_is_acknowledged_by_its_last_id() {
    let mut session = Session::since(9);
    session.push("a", 4);
    session.ledger.gave(&page([given("b", 1, 3), given("c", 5, 9), given("a", 2, 4)], 104));
    session.push("d", 8);
    let all = [given("a", 2, 4), given("b", 1, 3), given("c", 5, 9)];
    assert_eq!(session.ledger.acks(104, AckBy::Index), all);
    assert_eq!(session.ledger.acks(104, AckBy::Talk), [given("a", 4, 4)], "the push of it");
    assert_eq!(session.ledger.acks(108, AckBy::Index)[3], given("d", 8, 8));
    // The part with the id is acknowledged otherwise: the rest goes with what comes next.
    session.ledger.acked(&[given("a", 0, 4)]);
    assert_eq!(session.ledger.acks(104, AckBy::Index), []);
    let rest = [given("b", 1, 3), given("c", 5, 9), given("d", 8, 8)];
    assert_eq!(session.ledger.acks(108, AckBy::Index), rest);
    session.ledger.acked(&[given("b", 0, 3), given("c", 0, 9)]);
    session.ledger.gave(&[]);
    assert_eq!(session.ledger.acks(108, AckBy::Talk), [given("d", 8, 8)]);
}

#[test]
fn the_oldest_ids_are_forgotten_and_what_they_gave_is_not() {
    let mut session = Session::since(0);
    let last = 2 * IDS_MAX as u64;
    for seq in 1..=last {
        session.push_again("a", seq);
    }
    let id = |seq: u64| i64::try_from(seq).unwrap() + 100;
    let acks = |seq| session.ledger.acks(id(seq), AckBy::Talk);
    assert_eq!(acks(IDS_MAX as u64), []);
    assert_eq!(acks(IDS_MAX as u64 + 1), [given("a", 1, IDS_MAX as u64 + 1)]);
    assert_eq!(acks(last), [given("a", 1, last)]);
    session.ledger.acked(&[given("a", 0, last - 1)]);
    assert_eq!(session.ledger.acks(id(last), AckBy::Talk), [given("a", last, last)]);
}

#[test]
fn own_messages_alone_take_no_room() {
    let mut session = Session::since(0);
    for seq in 1..=10_000 {
        let after = seq - 1;
        session.ledger.own(&Place { after, ..place("a", seq) }, &mut |_| panic!("no push"));
    }
    assert_eq!(session.ledger.kept.as_ref().unwrap().unacked.len(), 0);
    session.push("a", 10_001);
    assert_eq!(session.ledger.acks(10_101, AckBy::Talk), [given("a", 1, 10_001)]);
}

#[test]
fn the_largest_numbers_break_nothing() {
    let mut session = Session::since(0);
    session.push_again("a", u64::MAX);
    assert_eq!(session.push("a", 1), Verdict::Duplicate);
    let most = Place { seq: u64::MAX, message_id: i64::MAX, ..place("b", 1) };
    session.push_place(&most, true);
    session.ledger.gave(&page([given("b", 0, u64::MAX), given("b", 1, u64::MAX)], i64::MIN));
    session.ledger.gave(&page([given("c", u64::MAX, 3)], i64::MAX));
    session.own("b", 9);
    assert_eq!(session.ledger.acks(i64::MAX, AckBy::Talk).len(), 2);
    session.ledger.acked(&[given("b", 0, u64::MAX)]);
    session.have();
}
