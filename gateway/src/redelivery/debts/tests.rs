//! When sessions are asked for.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn due(session: u64) -> Due {
    Due { session, is_hole: false }
}

fn hole(session: u64) -> Due {
    Due { session, is_hole: true }
}

#[test]
fn a_debt_is_asked_for_when_it_is_due_and_paid_once() {
    let (mut debts, now) = (Debts::default(), Instant::now());
    debts.owe(1, now + SECOND);
    debts.owe(2, now);
    assert_eq!(debts.take_due(now, 10), [due(2)]);
    assert_eq!(debts.next(), Some(now + SECOND));
    assert_eq!(debts.take_due(now + SECOND, 10), [due(1)]);
    debts.done(1);
    debts.done(2);
    assert_eq!((debts.len(), debts.next()), (0, None));
    debts.done(2);
    assert!(!debts.is_asked(2));
}

#[test]
fn a_hole_has_time_to_fill_and_a_debt_beside_it_has_none() {
    let (mut debts, now) = (Debts::default(), Instant::now());
    debts.hole(1, now);
    assert_eq!(debts.take_due(now, 10), []);
    assert_eq!(debts.take_due(now + GRACE, 10), [hole(1)]);
    debts.done(1);
    debts.hole(1, now);
    debts.owe(1, now);
    debts.hole(1, now);
    assert_eq!(debts.take_due(now, 10), [due(1)]);
}

#[test]
fn a_debt_that_is_made_while_a_redelivery_runs_means_another_one() {
    let (mut debts, now) = (Debts::default(), Instant::now());
    debts.owe(1, now);
    debts.take_due(now, 10);
    debts.hole(1, now);
    debts.owe(1, now + SECOND);
    assert_eq!(debts.take_due(now + GRACE, 10), [], "one at a time");
    debts.done(1);
    assert_eq!(debts.take_due(now + GRACE, 10), [due(1)]);
    debts.hole(1, now + SECOND);
    debts.done(1);
    assert_eq!(debts.take_due(now + SECOND + GRACE, 10), [hole(1)]);
    debts.done(1);
    assert_eq!(debts.len(), 0);
}

#[test]
fn what_shows_no_progress_is_asked_for_again() {
    let (mut debts, now) = (Debts::default(), Instant::now());
    debts.owe(1, now);
    debts.owe(2, now);
    assert_eq!(debts.take_due(now, 10).len(), 2);
    debts.progressed(2, now + SECOND);
    assert_eq!(debts.next(), Some(now + PATIENCE));
    assert_eq!(debts.take_due(now + PATIENCE, 10), [due(1)]);
    assert_eq!(debts.take_due(now + PATIENCE + SECOND, 10), [due(2)]);
    debts.progressed(3, now);
    assert_eq!(debts.len(), 2);
}

#[test]
fn where_a_link_was_lost_patience_is_short_and_progress_gives_it_back() {
    let (mut debts, now) = (Debts::default(), Instant::now());
    debts.owe(1, now);
    debts.owe(2, now);
    debts.take_due(now, 10);
    debts.doubt(now);
    debts.doubt(now + SECOND / 2);
    debts.progressed(2, now);
    assert_eq!(debts.take_due(now + PATIENCE_LOST, 10), [due(1)]);
    assert!(debts.is_asked(2));
}

#[test]
fn only_so_many_are_under_way() {
    let (mut debts, now) = (Debts::default(), Instant::now());
    let many = UNDER_WAY_MAX as u64 + 10;
    (0..many).for_each(|session| debts.owe(session, now));
    assert_eq!(debts.take_due(now, 64).len(), 64);
    assert_eq!(debts.take_due(now, usize::MAX).len(), UNDER_WAY_MAX - 64);
    assert_eq!(debts.next(), Some(now + PATIENCE), "nothing is to be done until then");
    debts.done(3);
    debts.failed(4, now + SECOND);
    debts.forget(5);
    let taken = debts.take_due(now, usize::MAX);
    assert_eq!(taken, [due(256), due(257), due(258)]);
}

#[test]
fn what_cannot_be_read_or_asked_for_is_due_later() {
    let (mut debts, now) = (Debts::default(), Instant::now());
    debts.owe(1, now);
    debts.take_due(now, 10);
    debts.owe(1, now);
    debts.failed(1, now + SECOND);
    assert_eq!(debts.take_due(now, 10), []);
    assert_eq!(debts.take_due(now + SECOND, 10), [due(1)]);
    debts.done(1);
    assert_eq!(debts.len(), 0, "what was owed beside it was asked for with it");
    debts.failed(1, now + SECOND);
    assert_eq!(debts.next(), Some(now + SECOND), "an answer that was not waited for");
    debts.forget(1);
    debts.put_off(1, now);
    assert_eq!((debts.len(), debts.next()), (0, None));
}
