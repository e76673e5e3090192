//! The directory with a hundred thousand sessions in it.

use std::hint::black_box;

use imago_container::{PeerId, SyncBatch};
use imago_logic::{DevicePolicy, DirectoryCore, Replicated, SessionDirectory};
use imago_proto::{
    Account, App, Incarnation, SessionBatch, SessionId, SessionReader, Stamp, ToldSession, link,
};

use crate::{Run, Scenario, Session};

/// The session directory.
pub const DIRECTORY: &[Scenario] = &[
    Scenario::new("directory/login", login),
    Scenario::new("directory/locate", locate),
    Scenario::new("directory/logout", logout),
    Scenario::new("directory/sync", sync),
];

const SESSIONS: u64 = 100_000;
/// Few enough that no table grows meanwhile.
const LOGINS: u64 = 5000;
/// Sessions that a new server is told of.
const SYNC: u64 = 20_480;
/// How many of them at a time.
const TOLD_AT_ONCE: usize = 128;
const TIMES: u64 = 20_000;
const APP: &str = "kim";

/// The gateways that hold the sessions.
pub(crate) fn gateways() -> [PeerId; 4] {
    [1, 2, 3, 4].map(|number| PeerId {
        service_id: format!("gateway-{number}").into(),
        incarnation: Incarnation(0xfeed_0000 + number),
    })
}

/// The session with this number, of an account of its own.
pub(crate) fn session(number: u64, gateway: &PeerId) -> Session {
    Session::from_link(gateway, &told(number, gateway))
}

/// The same as its gateway tells it.
fn told(number: u64, gateway: &PeerId) -> link::Session {
    link::Session {
        id: number,
        channel_id: format!("{}_user-{number}_{number:016x}", gateway.service_id),
        account: account(number).to_string(),
        app: APP.to_owned(),
        device: "phone".to_owned(),
        login_time: 1_760_000_000_000_000_000 + number as i64,
        order: Stamp::at(1_760_000_000_000_000_000).0 + number,
        zone: "east".to_owned(),
        remote: "192.0.2.1:40000".to_owned(),
        ..link::Session::default()
    }
}

fn account(number: u64) -> Account {
    format!("user-{number}").into()
}

/// Sessions with these numbers, the gateways taking turns.
fn sessions(numbers: std::ops::Range<u64>) -> Vec<Session> {
    let gateways = gateways();
    numbers.zip(gateways.iter().cycle()).map(|(number, gateway)| session(number, gateway)).collect()
}

/// A directory as it is after the syncs.
fn full() -> DirectoryCore {
    let mut directory = DirectoryCore::new(DevicePolicy::Unlimited);
    for gateway in &gateways() {
        directory.sync_begin(gateway);
    }
    for session in sessions(0..SESSIONS) {
        directory.session_up(session);
    }
    for gateway in &gateways() {
        directory.sync_end(gateway);
    }
    directory
}

/// Numbers of sessions all over the directory.
fn some() -> impl Iterator<Item = u64> {
    (0..TIMES).map(|number| number * 7919 % SESSIONS)
}

fn login() -> Run {
    let mut directory = full();
    let mut new = sessions(SESSIONS..SESSIONS + LOGINS).into_iter();
    Run::times(LOGINS as usize, move |_| {
        if let Some(session) = new.next() {
            black_box(directory.session_up(session));
        }
    })
}

fn locate() -> Run {
    let directory = full();
    let app = App::from(APP);
    let accounts: Vec<Account> = some().map(account).collect();
    Run::batches(accounts, 1, move |account| {
        black_box(directory.locate(&app, account));
    })
}

fn logout() -> Run {
    let mut directory = full();
    let gateways = gateways();
    let ids: Vec<(PeerId, SessionId)> =
        some().map(|id| (gateways[id as usize % gateways.len()].clone(), SessionId(id))).collect();
    Run::batches(ids, 1, move |(gateway, id)| {
        black_box(directory.session_down(gateway, *id));
    })
}

/// One gateway tells a new server of its sessions, in frames.
fn sync() -> Run {
    let [gateway, ..] = gateways();
    let directory = Replicated::new(DevicePolicy::Unlimited);
    directory.sync_begin(&gateway);
    let (mut batch, mut frames) = (SessionBatch::default(), Vec::new());
    for number in 0..SYNC {
        batch.push(&told(number, &gateway));
        if batch.is_full() || number == SYNC - 1 {
            frames.push((SYNC - number, batch.take().bytes));
        }
    }
    let mut frames = frames.into_iter();
    let frames_each = frames.len();
    let mut run = Run::times(frames_each, move |_| {
        let Some((left, frame)) = frames.next() else { return };
        let mut sessions = SessionReader::new(&frame, 1);
        let mut some: Vec<ToldSession<'_>> = Vec::with_capacity(TOLD_AT_ONCE);
        while sessions.read(&mut some, TOLD_AT_ONCE).is_ok() && !some.is_empty() {
            black_box(directory.sessions_up(SyncBatch::new(&gateway, &some, left)));
            some.clear();
        }
    });
    // An operation is a session, not a frame.
    run.operations = SYNC as usize;
    run
}
