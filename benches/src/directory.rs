//! The directory with a hundred thousand sessions in it.

use std::hint::black_box;

use imago_container::PeerId;
use imago_logic::{DevicePolicy, DirectoryCore};
use imago_proto::{Account, App, Incarnation, SessionId, link};

use crate::{Run, Scenario, Session};

/// The session directory.
pub const DIRECTORY: &[Scenario] = &[
    Scenario::new("directory/login", login),
    Scenario::new("directory/locate", locate),
    Scenario::new("directory/logout", logout),
];

const SESSIONS: u64 = 100_000;
/// Few enough that no table grows meanwhile.
const LOGINS: u64 = 5000;
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
    let told = link::Session {
        id: number,
        channel_id: format!("{}_user-{number}_{number:016x}", gateway.service_id),
        account: account(number).to_string(),
        app: APP.to_owned(),
        device: "phone".to_owned(),
        login_time: 1_760_000_000_000_000_000 + number as i64,
        zone: "east".to_owned(),
        remote: "192.0.2.1:40000".to_owned(),
        ..link::Session::default()
    };
    Session::from_link(gateway, &told)
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
