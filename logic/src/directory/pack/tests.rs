use imago_proto::{Incarnation, SessionBatch, SessionId, SessionReader, link};

use super::*;
use crate::{DevicePolicy, DirectoryCore};

fn gateway() -> PeerId {
    PeerId { service_id: "gate".into(), incarnation: Incarnation(1) }
}

fn told(id: u64, account: &str, app: &str, login_time: i64) -> link::Session {
    link::Session {
        id,
        channel_id: format!("gate_{account}_{id}"),
        account: account.to_owned(),
        app: app.to_owned(),
        login_time,
        tags: vec!["a".to_owned()],
        ..link::Session::default()
    }
}

fn batch(sessions: &[link::Session]) -> SessionBatch {
    let mut batch = SessionBatch::default();
    sessions.iter().for_each(|session| batch.push(session));
    batch
}

fn read(batch: &SessionBatch, told_at: i64) -> Vec<ToldSession<'_>> {
    let mut told = Vec::new();
    SessionReader::new(batch.as_bytes(), told_at).read(&mut told, usize::MAX).unwrap();
    told
}

#[test]
fn what_is_unpacked_is_what_was_told() {
    let own_age = link::Session { age: 7, ..told(3, "carl", "kim", 90) };
    let sessions = [told(1, "ann", "kim", 60), told(2, "bob", "other", 80), own_age];
    let batch = batch(&sessions);
    for (told_at, ages) in [(100, [40, 20, 7]), (0, [0, 0, 7])] {
        let pack = Pack::new(&gateway(), &read(&batch, told_at));
        let mut start = 0;
        for ((session, age), told) in sessions.iter().zip(ages).zip(read(&batch, told_at)) {
            let unpacked = pack.unpack(start);
            start += told.encoded.len();
            let session = link::Session { age: 0, ..session.clone() };
            assert_eq!(unpacked.to_link(), session);
            let since = if age == 0 { session.login_time } else { pack.heard_at - age };
            assert_eq!((unpacked.since, &unpacked.gateway), (since, &gateway()));
        }
    }
}

#[test]
fn a_session_that_two_unpack_at_a_time_does_not_count_for_another() {
    let batch = batch(&[told(1, "ann", "kim", 60), told(2, "bob", "kim", 80)]);
    let mut pack = Pack::new(&gateway(), &read(&batch, 0));
    // Two look at once, and one of them is the first to keep what it made.
    let (one, other) = (pack.unpack(0), pack.unpack(0));
    assert_eq!(one, other);
    pack.count();
    pack.tidy();
    assert!(pack.bytes() > 0, "the second is packed");
    pack.count();
    pack.tidy();
    assert_eq!(pack.bytes(), 0);
}

/// A directory of sessions 1 to 3 that were told together.
fn directory() -> DirectoryCore {
    let mut core = DirectoryCore::new(DevicePolicy::Unlimited);
    core.sync_begin(&gateway());
    tell(&mut core, [1, 2, 3]);
    core
}

fn tell(core: &mut DirectoryCore, ids: [u64; 3]) {
    let sessions = ids.map(|id| told(id, &format!("user-{id}"), "kim", 1));
    let batch = batch(&sessions);
    let told = read(&batch, 0);
    let hashes: Vec<_> =
        told.iter().map(|told| core.hasher().account(told.app, told.account)).collect();
    assert!(core.sessions_up(&gateway(), Pack::new(&gateway(), &told), &told, &hashes).is_empty());
}

#[test]
fn a_pack_goes_with_the_last_of_its_sessions_and_its_bytes_when_all_are_unpacked() {
    let mut core = directory();
    assert_eq!(core.packed().0, 1);
    core.session_down(&gateway(), SessionId(1));
    assert!(core.packed().1 > 0, "two are packed");
    let one = core.session(&gateway(), SessionId(2)).unwrap();
    assert_eq!(core.locate(&"kim".into(), &"user-3".into()).len(), 1);
    core.session_down(&gateway(), SessionId(3));
    assert_eq!(core.packed(), (1, 0), "all were unpacked");
    assert_eq!(core.session(&gateway(), SessionId(2)), Some(one));
    core.session_down(&gateway(), SessionId(2));
    assert_eq!((core.packed(), core.len()), ((0, 0), 0));
}

#[test]
fn a_pack_of_sessions_that_are_known_or_have_ended_is_not_kept() {
    let mut core = directory();
    core.session_down(&gateway(), SessionId(1));
    tell(&mut core, [1, 2, 3]);
    assert_eq!((core.packed().0, core.len()), (1, 2));
    core.gateway_gone(&gateway());
    assert_eq!((core.packed().0, core.len()), (0, 0));
    tell(&mut core, [4, 5, 6]);
    assert_eq!((core.packed().0, core.len()), (0, 0), "the gateway is gone");
}
