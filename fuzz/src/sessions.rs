//! Batches of sessions in the payload of a link frame.

use imago_proto::{SessionBatch, SessionReader, ToldSession, link::Session, session_views};

/// When the batch was sent, in Unix nanoseconds.
const NOW: i64 = 1_700_000_000_123_456_789;

/// Service id of the gateway that sends the batch.
const GATEWAY: &str = "gate";

/// Fewest bytes of a session: its length, its id, and the lengths of three texts.
const LEAST: usize = 5;

/// One batch.
pub fn session_batch(data: &[u8]) {
    let mut told = Vec::new();
    let is_whole = SessionReader::new(data, NOW).read(&mut told, usize::MAX).is_ok();
    assert!(told.len() <= data.len() / LEAST, "{} sessions", told.len());
    let read: usize = told.iter().map(|session| session.encoded.len()).sum();
    let encoded = told.iter().map(|session| session.encoded).collect::<Vec<_>>().concat();
    assert_eq!(data.get(..read), Some(&*encoded), "sessions lie one behind the other");
    assert_eq!(is_whole, read == data.len());
    check_one_by_one(data, &told);
    check_views(data, &told);
}

/// Checks that it makes no difference how many sessions are read at a time.
fn check_one_by_one(data: &[u8], told: &[ToldSession<'_>]) {
    let (mut reader, mut one_by_one) = (SessionReader::new(data, NOW), Vec::new());
    loop {
        let before = one_by_one.len();
        let read = reader.read(&mut one_by_one, before + 1);
        if read.is_err() || one_by_one.len() == before {
            break;
        }
    }
    assert_eq!(one_by_one, told);
    for session in told {
        assert_eq!(ToldSession::first(session.encoded, NOW).as_ref(), Ok(session));
    }
}

/// Checks that all that is read of a session survives when it is told again.
fn check_views(data: &[u8], told: &[ToldSession<'_>]) {
    let views: Vec<_> = session_views(data, NOW).map_while(Result::ok).collect();
    assert!(views.len() <= told.len());
    for (view, session) in views.iter().zip(told) {
        assert_eq!(*view, session.view());
    }
    let sessions: Vec<Session> = views.iter().map(|view| view.to_session(GATEWAY)).collect();
    let mut batch = SessionBatch::new(GATEWAY);
    sessions.iter().for_each(|session| batch.push(session));
    let bytes = batch.take().bytes;
    let again: Vec<_> = session_views(&bytes, NOW)
        .map(|view| view.expect("what was encoded decodes").to_session(GATEWAY))
        .collect();
    assert_eq!(again, sessions, "told again");
}
