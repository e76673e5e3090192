//! What the ids of answers acknowledge.

use std::ops::RangeInclusive;

use super::*;

/// A part of one message, with its id.
fn entry(conversation: &str, seq: u64) -> Given {
    let message_id = place(conversation, seq).message_id;
    Given { message_id, ..given(conversation, seq, seq) }
}

fn entries(conversation: &str, seqs: RangeInclusive<u64>) -> Vec<Given> {
    seqs.map(|seq| entry(conversation, seq)).collect()
}

#[test]
fn an_id_of_an_answer_acknowledges_nothing_past_it_that_other_answers_gave() {
    let mut session = Session::since(9);
    let ids =
        |session: &Session, id| [AckBy::Talk, AckBy::Index].map(|by| session.ledger.acks(id, by));
    // A page, with an own message before its second entry, and then the contents of it.
    let own = Given { from: 2, ..entry("a", 3) };
    session.ledger.gave(&[entry("a", 1), own, entry("b", 10), entry("a", 4)]);
    session.ledger.gave(&[entry("a", 1), entry("a", 3), entry("b", 10), entry("a", 4)]);
    for acks in ids(&session, 101) {
        assert_eq!(acks, [given("a", 1, 1)]);
    }
    for acks in ids(&session, 103) {
        assert_eq!(acks, [given("a", 1, 3)]);
    }
    for acks in ids(&session, 104) {
        assert_eq!(acks, [given("a", 1, 4), given("b", 10, 10)]);
    }
    // Where the content was read before the page came, the page is acknowledged as far.
    let mut session = Session::since(9);
    session.ledger.gave(&[entry("a", 5)]);
    session.ledger.gave(&entries("a", 1..=6));
    for acks in ids(&session, 105) {
        assert_eq!(acks, [given("a", 1, 5)]);
    }
}

#[test]
fn a_long_page_is_acknowledged_whole_and_its_contents_one_by_one() {
    let mut session = Session::since(9);
    let last = 3 * IDS_MAX as u64;
    session.ledger.gave(&[entry("b", last + 1)]);
    session.ledger.gave(&[vec![entry("c", last + 2)], entries("a", 1..=last)].concat());
    let id = place("a", last).message_id;
    let all = [given("a", 1, last), given("b", last + 1, last + 1), given("c", last + 2, last + 2)];
    assert_eq!(session.ledger.acks(id, AckBy::Index), all);
    session.ledger.gave(&entries("a", 1..=20));
    session.ledger.gave(&entries("a", 21..=IDS_MAX as u64));
    assert_eq!(session.ledger.acks(130, AckBy::Talk), [given("a", 1, 30)]);
}
