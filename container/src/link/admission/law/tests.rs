//! Looks after looks, each with what was seen.

use super::*;

const BOUNDS: Bounds = Bounds::DEFAULT;
const LOOK: Duration = Duration::from_millis(100);

fn seen(answers: usize, late: usize) -> Seen {
    Seen { elapsed: LOOK, answers, late, refused: 0, overfull: 0, owed: 1000 }
}

fn after(state: State, seen: &Seen, looks: u32) -> State {
    (0..looks).fold(state, |state, _| state.after(seen, BOUNDS))
}

/// A server that answers 1,000 requests a second late.
fn standing() -> State {
    after(State::default(), &seen(100, 100), INTERVAL)
}

fn tight() -> State {
    after(standing(), &Seen { refused: 1, ..seen(100, 100) }, 60)
}

#[test]
fn answers_in_time_need_no_limit_however_many_are_owed() {
    let quick = Seen { owed: 1_000_000, ..seen(1000, 499) };
    assert_eq!(after(State::default(), &quick, 100).limit_now(BOUNDS), None);
}

#[test]
fn a_delay_that_stands_for_an_interval_limits_what_is_owed_to_the_patience() {
    let late = seen(100, 50);
    let state = after(State::default(), &late, INTERVAL - 1);
    assert_eq!(state.limit(BOUNDS), None, "a burst");
    assert_eq!(after(state, &late, 1).limit(BOUNDS), Some(2000));
    let broken = after(after(state, &seen(100, 0), 1), &late, INTERVAL - 1);
    assert_eq!(broken.limit(BOUNDS), None, "the least delay is below");
    let few = Seen { owed: LEAST - 1, ..late };
    assert_eq!(after(State::default(), &few, 100).limit(BOUNDS), None, "slow, no queue");
    assert_eq!(after(State::default(), &seen(1, 1), 9).limit(BOUNDS), Some(LEAST));
}

#[test]
fn a_queue_that_grows_past_the_patience_is_limited_sooner() {
    let grown = |owed| Seen { owed, ..seen(100, 0) };
    let state = after(after(State::default(), &grown(3000), 1), &grown(3051), 1);
    assert_eq!(state.limit(BOUNDS), None);
    assert_eq!(after(state, &grown(3102), 1).limit(BOUNDS), Some(2000));
    assert_eq!(after(state, &grown(3100), 1).limit(BOUNDS), None, "not by much");
}

#[test]
fn a_capacity_is_remembered_through_a_stall_and_forgotten_after_a_while() {
    let stalled = after(standing(), &seen(0, 0), 8);
    let limit = stalled.limit(BOUNDS).unwrap();
    assert!((1600..1700).contains(&limit), "{limit}");
    let limit = after(standing(), &seen(20, 20), 100).limit(BOUNDS).unwrap();
    assert!((390..=410).contains(&limit), "{limit}");
}

#[test]
fn a_limit_goes_when_there_has_been_no_queue_for_a_while() {
    let state = after(standing(), &seen(10, 0), QUIET - 1);
    assert_eq!(state.limit(BOUNDS), Some(2000));
    let gone = State { owed: 1000, ..State::default() };
    assert_eq!(after(state, &seen(10, 0), 1), gone);
    let again = after(state, &seen(100, 100), 1);
    assert!(after(again, &seen(10, 0), QUIET - 1).limit(BOUNDS).is_some(), "from the start");
}

#[test]
fn refusals_that_go_on_tighten_and_their_end_loosens() {
    let refusing = Seen { refused: 1, ..seen(100, 100) };
    let state = after(standing(), &refusing, INTERVAL);
    assert_eq!(state.limit(BOUNDS), Some(2000));
    assert_eq!(after(state, &refusing, 5).limit(BOUNDS), Some(1750));
    assert_eq!(tight().limit(BOUNDS), Some(LEAST), "250 ms");
    let quiet = after(tight(), &seen(100, 100), QUIET - 1);
    assert_eq!(quiet.limit(BOUNDS), Some(LEAST));
    assert_eq!(after(quiet, &seen(100, 100), 1).limit(BOUNDS), Some(2000));
}

#[test]
fn sessions_over_their_windows_tighten_where_they_are_much_of_what_is_owed() {
    let after_interval = |overfull| {
        let each = seen(100, 100);
        let counted = Seen { overfull, ..each };
        let interval = |state| after(after(state, &counted, 1), &each, INTERVAL - 1);
        (0..12).fold(standing(), |state, _| interval(state)).mode
    };
    assert_eq!(after_interval(150), Mode::Patient);
    assert!(matches!(after_interval(450), Mode::Tight(_)));
    let most = Seen { overfull: 1000, ..seen(100, 100) };
    let over = after(after(standing(), &most, 10), &seen(100, 100), 30);
    assert_eq!(over.mode, Mode::Patient, "once they are not any more");
}

#[test]
fn a_probe_restores_the_patience_where_all_fits_and_comes_later_where_not() {
    let refusing = Seen { refused: 1, ..seen(1000, 1000) };
    let mut state = after(standing(), &refusing, 60);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let looks = until(&mut state, &refusing, |mode| mode == Mode::Probing);
        waits.push(looks / 10);
        until(&mut state, &refusing, |mode| mode != Mode::Probing);
    }
    assert!(waits[1] > 20 && waits[2] > 40 && waits[3] > 80, "{waits:?}");
    assert_eq!(waits[3], waits[4]);
    until(&mut state, &refusing, |mode| mode == Mode::Probing);
    state = after(after(state, &refusing, 2), &seen(1000, 1000), QUIET);
    assert_eq!((state.mode, state.probe_after), (Mode::Patient, None));
}

/// Looks until the mode is as wanted.
fn until(state: &mut State, seen: &Seen, wanted: impl Fn(Mode) -> bool) -> u32 {
    for looks in 0..2000 {
        if wanted(state.mode) {
            return looks;
        }
        *state = after(*state, seen, 1);
    }
    panic!("{state:?}");
}

#[test]
fn a_server_that_owes_and_says_nothing_for_too_long_is_stuck() {
    let state = after(standing(), &seen(0, 0), 20);
    assert!(state.limit_now(BOUNDS) > Some(LEAST));
    let stuck = after(state, &seen(0, 0), 1);
    assert_eq!(stuck.limit_now(BOUNDS), Some(LEAST));
    assert!(stuck.limit(BOUNDS) > Some(LEAST), "as before, once it answers");
    assert!(after(stuck, &seen(1, 1), 1).limit_now(BOUNDS) > Some(LEAST));
    // It owes nothing: it is idle, not silent.
    let idle = after(State::default(), &Seen { owed: 0, ..seen(0, 0) }, 100);
    assert_eq!(idle.limit_now(BOUNDS), None);
}

#[test]
fn what_is_unread_waits_for_half_of_the_patience_with_what_is_owed() {
    let millis = |state: State, owed| state.unread(owed, BOUNDS).as_millis();
    assert_eq!(millis(State::default(), 1000), 1000);
    assert_eq!(millis(standing(), 300), 700);
    assert_eq!(millis(standing(), 5000), 250);
    assert_eq!(millis(tight(), 0), 250);
}
