use bytes::BytesMut;
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::*;
use crate::{Limits, LinkDecoder};

prop_compose! {
    fn session()(
        id: u64, channel_id in ".{0,20}", account in ".{0,20}", app in ".{0,9}", device in ".{0,9}",
        login_time: i64, zone in ".{0,9}", isp in ".{0,9}", tags in vec(".{0,9}", 0..3),
        remote in ".{0,20}", order: u64, replaces in ".{0,20}",
    ) -> Session {
        Session {
            id, channel_id, account, app, device, login_time, zone, isp, tags, remote, age: 0,
            order, replaces,
        }
    }
}

fn head(left: u64, now: i64) -> SessionsUp {
    SessionsUp { left, now, stamp: 0 }
}

/// What is told of sessions on the other side of a link.
fn carried(frame: &LinkFrame) -> (u64, Vec<Session>) {
    let mut wire = BytesMut::new();
    frame.encode(&mut wire);
    let frame = LinkDecoder::new(Limits::default()).decode(&mut wire).unwrap().unwrap();
    let Kind::SessionsUp(SessionsUp { left, now, .. }) = frame.kind else { panic!("{frame:?}") };
    (
        left,
        session_views(&frame.payload, now).map(|view| view.unwrap().to_session("gate")).collect(),
    )
}

fn named(account: String) -> Session {
    Session { id: 7, account, ..Session::default() }
}

#[test]
fn a_batch_is_full_in_time_and_empty_once_it_is_sent() {
    let mut batch = SessionBatch::default();
    assert!(batch.is_empty() && !batch.is_full());
    while !batch.is_full() {
        batch.push(&named("ann".repeat(10)));
    }
    let sessions = batch.len();
    let frame = batch.take().frame(head(1000, 5));
    assert!((SessionBatch::FULL..SessionBatch::FULL + 100).contains(&frame.payload.len()));
    assert!(batch.is_empty() && !batch.is_full());
    let (left, told) = carried(&frame);
    assert_eq!((left, told.len()), (1000, sessions));
    assert!(told.iter().all(|told| *told == Session { age: 5, ..named("ann".repeat(10)) }));
}

#[test]
fn a_session_larger_than_a_batch_is_told_all_the_same() {
    let mut batch = SessionBatch::default();
    let large = named("x".repeat(3 * SessionBatch::FULL));
    batch.push(&large);
    assert!(batch.is_full());
    assert_eq!(carried(&batch.take().frame(head(1, 0))), (1, vec![large]));
}

#[test]
fn ages_are_told_by_the_frame_where_the_session_has_none() {
    let login = |login_time, age| Session { login_time, age, ..named("ann".to_owned()) };
    let mut batch = SessionBatch::default();
    [login(70, 0), login(100, 0), login(120, 0), login(70, 9)].iter().for_each(|it| batch.push(it));
    let told = batch.take();
    let ages = |now| -> Vec<i64> {
        carried(&told.clone().frame(head(4, now))).1.iter().map(|session| session.age).collect()
    };
    assert_eq!(ages(100), [30, 1, 1, 9], "never none, whatever the clock did");
    assert_eq!(ages(0), [0, 0, 0, 9], "a gateway that tells no time");
}

/// A session as it lies in a batch: `rest` behind what it is found by.
fn row(session: &Session, rest: &[u8]) -> Vec<u8> {
    let mut batch = SessionBatch::default();
    let Session { id, account, app, device, .. } = session.clone();
    batch.push(&Session { id, account, app, device, ..Session::default() });
    let mut row = batch.as_bytes();
    prost::decode_length_delimiter(&mut row).unwrap();
    let mut bytes = Vec::new();
    prost::encode_length_delimiter(row.len() + rest.len(), &mut bytes).unwrap();
    [&bytes, row, rest].concat()
}

#[test]
fn a_session_lies_in_a_batch_as_it_is_described() {
    let session = Session {
        id: 300,
        app: "kim".to_owned(),
        device: "phone".to_owned(),
        remote: "192.0.2.1:4".to_owned(),
        ..named("ann".to_owned())
    };
    let mut batch = SessionBatch::default();
    batch.push(&session);
    assert_eq!(batch.as_bytes(), b"\x1d\xac\x02\x03\x03\x05annkimphone\x52\x0b192.0.2.1:4");
}

/// What a session is found by that is not whole, or no text.
const BROKEN: [&[u8]; 6] = [
    // Shorter than it says.
    b"\x05\x07",
    // A length without an end.
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    // An account longer than its session.
    b"\x05\x07\x09\x00\x00a",
    // Together longer than there is memory.
    b"\x0d\x07\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    // An account that is no text.
    b"\x05\x07\x01\x00\x00\xff",
    // A text that ends within a letter.
    b"\x06\x07\x01\x01\x00\xc3\xa4",
];

#[test]
fn what_is_cut_short_or_broken_ends_the_batch_with_an_error() {
    let whole = row(&named("ann".to_owned()), b"");
    // Or a login time without an end.
    for broken in BROKEN.into_iter().chain([&b"\x06\x08\x00\x00\x00\x30\xff"[..]]) {
        let bytes = [&whole, broken, &whole].concat();
        let told: Vec<_> = session_views(&bytes, 0).map(|view| view.map(|view| view.id)).collect();
        let [Ok(7), Err(LinkError::Decode(_))] = told[..] else { panic!("{broken:?}: {told:?}") };
    }
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    // Fields 16 and 1000.
    let later = row(&named("ann".to_owned()), b"\x80\x01\x05\xc2\x3e\x01x");
    let told: Vec<_> =
        session_views(&later, 0).map(|view| view.unwrap().to_session("gate")).collect();
    assert_eq!(told, [named("ann".to_owned())]);
}

#[test]
fn a_session_whose_rest_is_broken_is_found_all_the_same() {
    // A login time without an end.
    let broken = row(&named("ann".to_owned()), b"\x30\xff");
    let told = ToldSession::first(&broken, 0).unwrap();
    assert_eq!((told.id, told.account), (7, &b"ann"[..]));
    assert_eq!(told.view().to_session("gate"), named("ann".to_owned()));
}

#[test]
fn what_a_session_is_found_by_has_to_be_whole() {
    let whole = row(&named("ann".to_owned()), b"");
    for broken in BROKEN {
        let bytes = [&whole, broken, &whole].concat();
        let (mut told, mut reader) = (Vec::new(), SessionReader::new(&bytes, 0));
        assert!(matches!(reader.read(&mut told, 9), Err(LinkError::Decode(_))), "{broken:?}");
        assert_eq!(told.iter().map(|told| told.id).collect::<Vec<_>>(), [7]);
        told.clear();
        assert!(reader.read(&mut told, 9).is_ok() && told.is_empty());
    }
}

#[test]
fn a_session_is_shown_by_what_it_is_found_by_whatever_is_said_of_it_later() {
    // A login time, and another account.
    let two = row(&named("ann".to_owned()), b"\x30\x05\x1a\x03bob");
    let told = ToldSession::first(&two, 0).unwrap();
    assert_eq!((told.account, told.view().account), (&b"ann"[..], "ann"));
    assert_eq!(told.view().login_time, 5);
}

#[test]
fn a_stamp_is_told_in_few_bytes_where_its_clock_was_near_the_wall_clock() {
    let login_time = 1_760_000_000_123_456_789;
    let bare = Session { login_time, ..named("ann".to_owned()) };
    let len_of = |session: &Session| {
        let mut batch = SessionBatch::default();
        batch.push(session);
        assert_eq!(carried(&batch.take().frame(head(1, 0))).1, std::slice::from_ref(session));
        let mut batch = SessionBatch::default();
        batch.push(session);
        batch.as_bytes().len()
    };
    let hour = 3_600_000_u64 << 16;
    for (ahead, most) in [(0, 2), (63, 2), (0x3ff, 3), (hour, 7), (hour.wrapping_neg(), 7)] {
        let order = Stamp::at(login_time).0.wrapping_add(ahead);
        let more = len_of(&Session { order, ..bare.clone() }) - len_of(&bare);
        assert!(more <= most, "{more} bytes for {ahead}");
    }
}

/// Of the id of a channel that its gateway made, only the random number is told.
#[test]
fn a_made_channel_id_is_told_in_nine_bytes() {
    let id = ChannelId::made("gate", "ann", 0xfeed).to_string();
    let session = Session { channel_id: id, ..named("ann".to_owned()) };
    let bytes = |mut batch: SessionBatch| {
        batch.push(&session);
        let told = batch.take();
        assert_eq!(carried(&told.clone().frame(head(1, 0))).1, std::slice::from_ref(&session));
        told.bytes.len()
    };
    assert_eq!(bytes(SessionBatch::new("gate")), row(&named("ann".to_owned()), b"").len() + 9);
    for another in [SessionBatch::new("other"), SessionBatch::default()] {
        assert!(bytes(another) > 2 + session.channel_id.len());
    }
}

/// Returns whether this field is among those that are whole.
fn has_field(mut bytes: &[u8], number: u32) -> bool {
    use prost::encoding::{DecodeContext, decode_key, skip_field};
    while let Ok((tag, wire)) = decode_key(&mut bytes) {
        if tag == number {
            return true;
        }
        if skip_field(wire, tag, &mut bytes, DecodeContext::default()).is_err() {
            return false;
        }
    }
    false
}

proptest! {
    #[test]
    fn sessions_are_found_by_what_was_written(
        sessions in vec(session(), 1..8), most in 1_usize..4, now in 0_i64..2,
    ) {
        let mut batch = SessionBatch::default();
        sessions.iter().for_each(|session| batch.push(session));
        let (mut told, mut reader) = (Vec::new(), SessionReader::new(batch.as_bytes(), now));
        while told.len() < sessions.len() {
            let most = (told.len() + most).min(sessions.len());
            reader.read(&mut told, most).unwrap();
            prop_assert_eq!(told.len(), most);
        }
        for (told, session) in told.iter().zip(&sessions) {
            prop_assert_eq!((told.id, told.account), (session.id, session.account.as_bytes()));
            let texts = (session.app.as_bytes(), session.device.as_bytes());
            prop_assert_eq!((told.app, told.device), texts);
            prop_assert_eq!(told.told_at, now);
            let view = session_views(told.encoded, now).next().unwrap().unwrap();
            prop_assert_eq!(told.view(), view);
            prop_assert_eq!(ToldSession::first(told.encoded, now).unwrap(), *told);
        }
    }

    #[test]
    fn sessions_are_read_as_they_were_written(sessions in vec(session(), 0..8)) {
        let mut batch = SessionBatch::default();
        sessions.iter().for_each(|session| batch.push(session));
        prop_assert_eq!(carried(&batch.take().frame(head(3, 0))), (3, sessions));
    }

    #[test]
    fn the_rest_is_what_protobuf_reads(bytes in vec(any::<u8>(), 0..40), session in session()) {
        for bytes in [bytes, session.encode_to_vec()] {
            let row = row(&session, &bytes);
            let view = session_views(&row, 0).next().unwrap();
            // Which only batches have.
            if matches!(view, Ok(SessionView { channel: ChannelView::Random(_), .. }))
                || has_field(&bytes, ORDER_DIFFERENCE)
            {
                continue;
            }
            let Session { id, account, app, device, .. } = session.clone();
            match Session::decode(&*bytes) {
                Ok(rest) => {
                    let expected = Session { id, account, app, device, ..rest };
                    prop_assert_eq!(view.map(|view| view.to_session("gate")), Ok(expected));
                }
                // Of these fields it is not looked at what they say, so that may be broken.
                Err(_) if bytes.iter().any(|byte| matches!((byte & 0x7f) >> 3, 1 | 3..=5)) => {}
                Err(_) => prop_assert!(view.is_err(), "{view:?}"),
            }
        }
    }

    #[test]
    fn a_look_at_a_session_shows_all_of_it(session in session()) {
        prop_assert_eq!(SessionView::of(&session).to_session("gate"), session);
    }
}
