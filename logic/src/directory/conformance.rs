//! The conformance suite of session directories.

mod plain;

use std::{sync::Arc, time::Duration};

use imago_container::{PeerId, SyncBatch};
use imago_proto::{Account, App, Incarnation, SessionBatch, SessionId, SessionReader, Stamp, link};
use imago_tests::{RedisServer, eventually};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{DevicePolicy, Kick, RedisDirectory, RedisOptions, Replicated, Session};
use crate::SessionDirectory;

/// How long a directory may take to see what another one was told.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn gateway(name: &str, incarnation: u64) -> PeerId {
    PeerId { service_id: name.into(), incarnation: Incarnation(incarnation) }
}

/// Creates a session of app `kim`; numbers are stamps too.
pub(super) fn session(gateway: &PeerId, id: u64, account: &str, device: &str) -> Session {
    let told = link::Session {
        id,
        channel_id: format!("{gateway}_{account}_{id}"),
        account: account.to_owned(),
        app: "kim".to_owned(),
        device: device.to_owned(),
        order: id,
        ..link::Session::default()
    };
    Session::from_link(gateway, &told)
}

/// Tells a directory of all sessions of a gateway.
pub(super) fn sync(directory: &dyn SessionDirectory, gateway: &PeerId, sessions: &[Session]) {
    directory.sync_begin(gateway);
    tell(directory, gateway, sessions);
    directory.sync_end(gateway);
}

/// Tells of some sessions of a sync, two at a time.
fn tell(directory: &dyn SessionDirectory, gateway: &PeerId, sessions: &[Session]) -> Vec<Kick> {
    let mut kicks = Vec::new();
    for (number, some) in sessions.chunks(2).enumerate() {
        let left = (sessions.len() - 2 * number) as u64;
        let mut batch = SessionBatch::default();
        some.iter().for_each(|session| batch.push(&session.to_link()));
        let mut told = Vec::new();
        SessionReader::new(batch.as_bytes(), 0).read(&mut told, 2).unwrap();
        kicks.extend(directory.sessions_up(SyncBatch::new(gateway, &told, left)));
    }
    kicks
}

/// Gateways and numbers of an account's sessions of an app, in order.
pub(super) async fn located(
    directory: &dyn SessionDirectory,
    app: &str,
    account: &str,
) -> Vec<String> {
    let sessions = directory.locate(&App::from(app), &Account::from(account)).await;
    let mut located: Vec<_> = sessions
        .iter()
        .map(|session| format!("{} {}", session.gateway.service_id, session.id))
        .collect();
    located.sort();
    located
}

/// Opens a directory in the Redis at this URL, and waits until it is read.
pub(super) async fn open(url: &str, policy: DevicePolicy) -> Arc<RedisDirectory> {
    let options = RedisOptions::parse(url).unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let directory = Arc::new(RedisDirectory::start(options, policy, "imago", &tasks, &stop));
    up(&directory).await;
    directory
}

/// Waits until Redis is read.
pub(super) async fn up(directory: &RedisDirectory) {
    let is_up = || async { directory.is_up().then_some(()) };
    eventually(PATIENCE, "Redis holds all sessions", is_up).await;
}

/// Waits until the sessions of an account of app `kim` are these.
pub(super) async fn finds(directory: &dyn SessionDirectory, account: &str, expected: &[&str]) {
    let what = format!("{account} is found at {expected:?}");
    let found = || async { (located(directory, "kim", account).await == expected).then_some(()) };
    eventually(PATIENCE, &what, found).await;
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Replicated,
    Redis,
    RedisCluster,
}

/// A directory that links feed, and one of a server without links where it is to see the same.
struct Ground {
    fed: Arc<dyn SessionDirectory>,
    view: Option<Arc<dyn SessionDirectory>>,
    _redis: Option<RedisServer>,
}

impl Ground {
    async fn open(kind: Kind, policy: DevicePolicy) -> Self {
        let alone = |fed| Self { fed, view: None, _redis: None };
        let redis = match kind {
            Kind::Plain => return alone(Arc::new(plain::Plain(Replicated::new(policy)))),
            Kind::Replicated => return alone(Arc::new(Replicated::new(policy))),
            Kind::Redis => RedisServer::start().await,
            Kind::RedisCluster => RedisServer::start_cluster().await,
        };
        // A machine that is slow is no reason to take Redis for lost.
        let url = format!("{}?timeout=10s", redis.url());
        let (fed, view) = (open(&url, policy).await, open(&url, policy).await);
        Self { fed, view: Some(view), _redis: Some(redis) }
    }

    fn up(&self, session: Session) -> Vec<Kick> {
        self.fed.session_up(session)
    }

    /// An account of app `kim` has these sessions: at once for who was told, in time for others.
    async fn finds(&self, account: &str, expected: &[&str]) {
        assert_eq!(located(&*self.fed, "kim", account).await, expected);
        if let Some(view) = &self.view {
            finds(&**view, account, expected).await;
        }
    }
}

async fn sessions_are_found_with_all_that_was_told(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let a = gateway("a", 1);
    let told = link::Session {
        id: 7,
        channel_id: "a_ann_7".to_owned(),
        account: "ann".to_owned(),
        app: "kim".to_owned(),
        device: "phone:1".to_owned(),
        login_time: 7,
        zone: "z".to_owned(),
        isp: "i".to_owned(),
        tags: vec!["x".to_owned(), "y".to_owned()],
        remote: "1.2.3.4:5".to_owned(),
        age: 0,
        order: 9,
        replaces: "a_ann_6".to_owned(),
    };
    let told = Session::from_link(&a, &told);
    sync(&*ground.fed, &a, std::slice::from_ref(&told));
    ground.finds("ann", &["a 7"]).await;
    for directory in std::iter::once(&ground.fed).chain(&ground.view) {
        let found = directory.locate(&told.app, &told.account).await;
        assert_eq!(found.iter().map(|found| &**found).collect::<Vec<_>>(), [&told]);
    }
    assert_eq!(ground.fed.session(&a, told.id).as_deref(), Some(&told));
    assert_eq!((ground.fed.len(), ground.fed.sessions_of(&a).len()), (1, 1));
    ground.finds("bob", &[]).await;
}

async fn every_device_is_found_until_its_session_ends(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    sync(&*ground.fed, &a, &[session(&a, 1, "ann", "phone")]);
    sync(&*ground.fed, &b, &[]);
    ground.up(session(&b, 2, "ann", "tablet"));
    ground.up(session(&b, 3, "ann", ""));
    ground.finds("ann", &["a 1", "b 2", "b 3"]).await;
    ground.fed.session_down(&b, SessionId(2));
    ground.finds("ann", &["a 1", "b 3"]).await;
    ground.fed.session_down(&a, SessionId(1));
    ground.fed.session_down(&b, SessionId(3));
    ground.finds("ann", &[]).await;
    assert!(ground.fed.is_empty());
}

async fn many_accounts_are_located_in_one_go(kind: Kind) {
    const MANY: u64 = 1500;
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    let name = |number: u64| format!("user-{number}");
    let of = |gateway: &PeerId, numbers: std::ops::Range<u64>| {
        numbers.map(|number| session(gateway, number, &name(number), "")).collect::<Vec<_>>()
    };
    sync(&*ground.fed, &a, &of(&a, 0..MANY / 2));
    sync(&*ground.fed, &b, &of(&b, MANY / 2..MANY));
    let accounts: Vec<Account> =
        (0..MANY + 10).map(|number| Account::from(name(number).as_str())).collect();
    let all = |directory: Arc<dyn SessionDirectory>| {
        let accounts = &accounts;
        async move {
            let located = directory.locate_all(&"kim".into(), accounts).await;
            let mut ids: Vec<u64> = located.iter().map(|session| session.id.0).collect();
            ids.sort_unstable();
            (ids == (0..MANY).collect::<Vec<_>>()).then_some(())
        }
    };
    assert!(all(ground.fed.clone()).await.is_some());
    if let Some(view) = &ground.view {
        eventually(PATIENCE, "all accounts are located", || all(view.clone())).await;
    }
    assert!(ground.fed.locate_all(&"kim".into(), &[]).await.is_empty());
}

async fn what_a_sync_does_not_mention_is_gone_at_its_end(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let a = gateway("a", 1);
    sync(&*ground.fed, &a, &[session(&a, 1, "ann", ""), session(&a, 2, "bob", "")]);
    ground.finds("ann", &["a 1"]).await;
    ground.fed.sync_begin(&a);
    ground.up(session(&a, 2, "bob", ""));
    ground.up(session(&a, 3, "cid", ""));
    ground.fed.session_down(&a, SessionId(4));
    ground.up(session(&a, 4, "dan", ""));
    ground.finds("ann", &["a 1"]).await;
    ground.fed.sync_end(&a);
    for (account, expected) in
        [("ann", &[][..]), ("bob", &["a 2"]), ("cid", &["a 3"]), ("dan", &[])]
    {
        ground.finds(account, expected).await;
    }
}

/// A gateway's end of a session is sent at once, while the batch that tells of it still fills.
async fn an_end_that_overtakes_its_batch_is_the_end(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let a = gateway("a", 1);
    for id in [1, 4] {
        // The first sync of a gateway, then one of a gateway that is known.
        ground.fed.sync_begin(&a);
        ground.fed.session_down(&a, SessionId(id));
        let named = |id: u64, account: &str| session(&a, id, account, "");
        tell(
            &*ground.fed,
            &a,
            &[named(id, "ann"), named(id + 1, "bob"), named(id + 1, "bob"), named(id + 2, "cid")],
        );
        ground.fed.session_down(&a, SessionId(id + 2));
        ground.fed.sync_end(&a);
        ground.finds("ann", &[]).await;
        ground.finds("bob", &[&format!("a {}", id + 1)]).await;
        ground.finds("cid", &[]).await;
        assert_eq!(ground.fed.len(), 1);
    }
}

async fn of_sessions_in_one_place_a_sync_leaves_the_newest(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Single).await;
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    sync(&*ground.fed, &a, &[session(&a, 5, "ann", "phone"), session(&a, 6, "bob", "")]);
    ground.fed.sync_begin(&b);
    let told =
        [session(&b, 4, "ann", ""), session(&b, 7, "bob", ""), session(&b, 8, "bob", "tablet")];
    let kicks = tell(&*ground.fed, &b, &told);
    ground.fed.sync_end(&b);
    let kicked: Vec<_> = kicks.iter().map(|kick| (kick.loser.id.0, kick.winner.id.0)).collect();
    assert_eq!(kicked, [(4, 5), (6, 7), (7, 8)]);
    ground.finds("ann", &["a 5"]).await;
    ground.finds("bob", &["b 8"]).await;
}

async fn a_gateway_that_is_gone_takes_its_sessions_along_and_no_others(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let (old, new, b) = (gateway("a", 1), gateway("a", 2), gateway("b", 1));
    sync(&*ground.fed, &old, &[session(&old, 1, "ann", "phone"), session(&old, 2, "bob", "")]);
    sync(&*ground.fed, &b, &[session(&b, 3, "ann", "tablet")]);
    ground.finds("ann", &["a 1", "b 3"]).await;
    ground.fed.gateway_gone(&old);
    // Until its lease is given back, it might live on without a link with this server.
    finds(&*ground.fed, "ann", &["b 3"]).await;
    ground.finds("ann", &["b 3"]).await;
    ground.finds("bob", &[]).await;
    sync(&*ground.fed, &new, &[session(&new, 1, "cid", "")]);
    ground.fed.session_down(&old, SessionId(1));
    ground.finds("cid", &["a 1"]).await;
    ground.finds("bob", &[]).await;
}

async fn accounts_of_two_apps_never_meet(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Single).await;
    let a = gateway("a", 1);
    let mut other = session(&a, 2, "ann", "");
    other.app = "other".into();
    sync(&*ground.fed, &a, &[session(&a, 1, "ann", "")]);
    assert!(ground.up(other).is_empty());
    ground.finds("ann", &["a 1"]).await;
    assert_eq!(located(&*ground.fed, "other", "ann").await, ["a 2"]);
    if let Some(view) = &ground.view {
        let found = || async { (located(&**view, "other", "ann").await == ["a 2"]).then_some(()) };
        eventually(PATIENCE, "the other app's account is found", found).await;
    }
}

async fn odd_names_are_told_apart(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let a = gateway("a/b", 1);
    let names = ["a:b", "a%3ab", "{a}", "a b", "ä\n", ""];
    let sessions = (1..).zip(names).map(|(id, name)| session(&a, id, name, "")).collect::<Vec<_>>();
    sync(&*ground.fed, &a, &sessions);
    for (id, name) in (1..).zip(names) {
        ground.finds(name, &[&format!("a/b {id}")]).await;
    }
}

/// Accounts log in with one device on one gateway, and then with another on another: whether the
/// first login is kicked, and that what is left is found.
async fn log_in_twice(ground: &Ground, logins: &[([&str; 2], bool)]) {
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    sync(&*ground.fed, &a, &[]);
    sync(&*ground.fed, &b, &[]);
    for (number, (devices, is_kicked)) in (1..).zip(logins) {
        let account = format!("ann-{number}");
        let (older, newer) = (number * 10, number * 10 + 1);
        assert!(ground.up(session(&a, older, &account, devices[0])).is_empty());
        let kicks = ground.up(session(&b, newer, &account, devices[1]));
        let kicked: Vec<_> = kicks.iter().map(|kick| (kick.loser.id.0, kick.winner.id.0)).collect();
        assert_eq!(kicked, if *is_kicked { vec![(older, newer)] } else { vec![] }, "{devices:?}");
        let (older, newer) = (format!("a {older}"), format!("b {newer}"));
        let left: &[&str] = if *is_kicked { &[&newer] } else { &[&older, &newer] };
        ground.finds(&account, left).await;
    }
}

async fn without_a_limit_only_the_same_device_is_kicked(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Unlimited).await;
    let logins =
        [(["phone:1", "phone:1"], true), (["", ""], true), (["phone:1", "phone:2"], false)];
    log_in_twice(&ground, &logins).await;
}

async fn by_class_the_same_kind_of_device_is_kicked(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Class).await;
    let logins = [
        (["phone:1", "phone:1"], true),
        (["phone:1", "phone:2"], true),
        (["phone:1", "tablet:1"], false),
    ];
    log_in_twice(&ground, &logins).await;
}

async fn a_single_session_is_left_of_any(kind: Kind) {
    let ground = Ground::open(kind, DevicePolicy::Single).await;
    let logins = [(["phone:1", "tablet:1"], true), (["phone:1", "phone:1"], true)];
    log_in_twice(&ground, &logins).await;
    // An older login that is told later ends itself, and its end lets no other session in.
    let c = gateway("c", 1);
    sync(&*ground.fed, &c, &[]);
    let mut late = session(&c, 9, "ann-1", "watch:1");
    late.order = Stamp(0);
    assert_eq!(ground.up(late).first().map(|kick| kick.loser.id.0), Some(9));
    ground.finds("ann-1", &["b 11"]).await;
    ground.fed.session_down(&c, SessionId(9));
    ground.finds("ann-1", &["b 11"]).await;
}

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod plain_directory {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Plain).await; })*
        }
        mod replicated {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Replicated).await; })*
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::Redis).await; })*
        }
        mod redis_cluster {
            $(#[tokio::test] async fn $name() { super::$name(super::Kind::RedisCluster).await; })*
        }
    };
}

conformance! {
    sessions_are_found_with_all_that_was_told,
    every_device_is_found_until_its_session_ends,
    many_accounts_are_located_in_one_go,
    what_a_sync_does_not_mention_is_gone_at_its_end,
    an_end_that_overtakes_its_batch_is_the_end,
    of_sessions_in_one_place_a_sync_leaves_the_newest,
    a_gateway_that_is_gone_takes_its_sessions_along_and_no_others,
    accounts_of_two_apps_never_meet,
    odd_names_are_told_apart,
    without_a_limit_only_the_same_device_is_kicked,
    by_class_the_same_kind_of_device_is_kicked,
    a_single_session_is_left_of_any,
}
