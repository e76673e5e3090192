use std::collections::BTreeMap;

use imago_proto::session_views;
use proptest::{collection::vec, prelude::*};

use super::*;

fn session(id: u64, account: &str) -> Session {
    Session { id, account: account.to_owned(), ..Session::default() }
}

fn ids(told: &EncodedSessions) -> Vec<u64> {
    session_views(&told.bytes, 0).map(|view| view.unwrap().id).collect()
}

/// All that a sync tells of, batch after batch.
fn told(roster: &Roster) -> Vec<Vec<u64>> {
    let mut position = roster.begin();
    std::iter::from_fn(|| roster.next(&mut position)).map(|(some, _)| ids(&some)).collect()
}

/// A roster of sessions that take about 1 KiB each, from 0 on.
fn large(sessions: u64) -> Roster {
    let roster = Roster::new("gate");
    (0..sessions).for_each(|id| roster.add(&session(id, &"x".repeat(1000))));
    roster
}

fn bytes(roster: &Roster) -> usize {
    let pages = roster.lock();
    pages.all.iter().map(|page| page.bytes.len()).sum::<usize>() + pages.open.as_bytes().len()
}

#[test]
fn full_pages_are_sent_without_a_copy_and_the_last_one_as_far_as_it_is() {
    let roster = large(100);
    let (mut position, mut pages) = (roster.begin(), Vec::new());
    while let Some((some, left)) = roster.next(&mut position) {
        assert_eq!(
            left,
            100 - pages.iter().map(|some: &EncodedSessions| some.sessions).sum::<usize>()
        );
        pages.push(some);
    }
    assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    let again = roster.next(&mut roster.begin()).unwrap().0;
    assert_eq!(again.bytes.as_ptr(), pages[0].bytes.as_ptr());
    assert!(pages.iter().all(|some| some.bytes.len() < 2 * SessionBatch::FULL));
}

#[test]
fn who_has_ended_is_told_no_more_and_takes_no_memory_for_long() {
    let roster = large(1000);
    let all = bytes(&roster);
    (0..1000).filter(|id| id % 10 != 0).for_each(|id| roster.remove(SessionId(id)));
    assert_eq!(roster.len(), 100);
    assert!(bytes(&roster) < all / 4, "{} of {all} bytes", bytes(&roster));
    let batches = told(&roster);
    assert_eq!(batches.concat(), (0..1000).step_by(10).collect::<Vec<_>>());
    assert!(batches.len() < 5, "small pages share a frame: {batches:?}");
    (0..1000).for_each(|id| roster.remove(SessionId(id)));
    assert_eq!((roster.len(), told(&roster).len(), bytes(&roster)), (0, 0, 0));
}

#[test]
fn logins_and_logouts_by_turns_leave_nothing_behind() {
    let roster = Roster::new("gate");
    roster.add(&session(0, "stays"));
    for id in 1..10_000 {
        roster.add(&session(id, &"x".repeat(100)));
        roster.remove(SessionId(id));
    }
    assert_eq!(told(&roster), [[0]]);
    let pages = roster.lock().all.len();
    assert!(pages <= 3, "{pages} pages");
}

#[test]
fn a_sync_ends_though_sessions_keep_coming() {
    let roster = large(100);
    let mut position = roster.begin();
    let mut batches = 0;
    while roster.next(&mut position).is_some() {
        (0..50).for_each(|_| roster.add(&session(roster.len() as u64, &"x".repeat(1000))));
        batches += 1;
    }
    assert!(batches < 10, "{batches}");
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64, usize),
    Remove(u64),
    Tell,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..200_u64, 0..3000_usize).prop_map(|(id, len)| Step::Add(id, len)),
        4 => (0..200_u64).prop_map(Step::Remove),
        1 => Just(Step::Tell),
    ]
}

proptest! {
    #[test]
    fn a_sync_tells_of_all_who_live_from_its_begin_to_its_end(steps in vec(step(), 0..600)) {
        let (roster, mut model) = (Roster::new("gate"), BTreeMap::new());
        let (mut position, mut steady, mut told) = (roster.begin(), BTreeMap::new(), Vec::new());
        for step in steps {
            match step {
                Step::Add(id, len) => {
                    let account = "x".repeat(len);
                    roster.add(&session(id, &account));
                    steady.remove(&id);
                    model.insert(id, account);
                }
                Step::Remove(id) => {
                    roster.remove(SessionId(id));
                    steady.remove(&id);
                    model.remove(&id);
                }
                Step::Tell => {
                    if let Some((some, _)) = roster.next(&mut position) {
                        for view in session_views(&some.bytes, 0) {
                            let view = view.unwrap();
                            prop_assert_eq!(model.get(&view.id).map(String::as_str), Some(view.account));
                            told.push(view.id);
                        }
                        continue;
                    }
                    prop_assert!(steady.keys().all(|id| told.contains(id)));
                    told.clear();
                    steady.clone_from(&model);
                    position = roster.begin();
                }
            }
            prop_assert_eq!(roster.len(), model.len());
        }
        let mut all = super::tests::told(&roster).concat();
        all.sort_unstable();
        prop_assert_eq!(all, model.into_keys().collect::<Vec<_>>());
    }
}
