//! What the PostgreSQL store does beyond the trait, and the suite of the trait, on a real server.

mod locks;
mod nodes;
mod poolers;
mod readonly;
mod upgrades;

use futures::future::join_all;
use imago_tests::{PostgresServer, eventually};
use tokio_postgres::{Client, Config, NoTls};

use super::*;
use crate::store::conformance::{
    Fresh, ack_to, assert_gapless, device, groups, ids, listed, message, send, send_many,
};

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(&PostgresOptions::parse(url).unwrap()).await.unwrap()
}

async fn fresh() -> ((), Fresh) {
    let url = PostgresServer::shared().await.database().await;
    ((), Arc::new(open(&url).await))
}

async fn refusal(url: &str) -> String {
    match PostgresStore::open(&PostgresOptions::parse(url).unwrap()).await {
        Ok(_) => panic!("opened {url}"),
        Err(error) => error.to_string(),
    }
}

/// A connection beside those of the stores.
async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

mod conforms {
    crate::store::conformance::suite!(super::fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_servers_share_a_database() {
    let url = PostgresServer::shared().await.database().await;
    // All of them find an empty database, and one brings the schema.
    let stores = join_all((0..4).map(|_| open(&url))).await;
    let group = groups::create(&stores[0], "a", &["b", "c"]).await;
    let sending = stores.iter().enumerate().map(|(number, store)| {
        let (store, group) = (store.clone(), group.clone());
        tokio::spawn(async move {
            let (mut sent, mut said) = (Vec::new(), Vec::new());
            for request in 0..50 {
                sent.push(send(&store, "a", "b", &format!("{number}-{request}")).await);
                said.push(groups::say(&store, "a", &group, &format!("g{number}-{request}")).await);
                // Also under way elsewhere.
                send(&store, "a", "c", &format!("shared-{request}")).await;
            }
            let rises =
                |all: &[Appended]| all.windows(2).all(|p| p[0].message_id < p[1].message_id);
            assert!(rises(&sent) && rises(&said));
            (sent, said)
        })
    });
    let (sent, said): (Vec<_>, Vec<_>) =
        join_all(sending).await.into_iter().map(Result::unwrap).unzip();
    assert_gapless(sent.concat());
    assert_gapless(said.concat());
    assert_eq!(listed(&stores[0], "b", Page::Unacknowledged).await.len(), 400);
    assert_eq!(listed(&stores[1], "c", Page::Unacknowledged).await.len(), 250);
}

/// Messages that are not synced when a mark is taken are owed later, from any server.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_between_a_mark_and_what_it_does_not_cover() {
    let url = PostgresServer::shared().await.database().await;
    let stores = join_all((0..3).map(|_| open(&url))).await;
    let phone = device("z");
    stores[0].enter(&phone).await.unwrap();
    let sending = stores.iter().enumerate().map(|(number, store)| {
        let store = store.clone();
        tokio::spawn(async move {
            for request in 0..150 {
                send(&store, "a", "z", &format!("{number}-{request}")).await;
                send(&store, &format!("sender-{number}"), "z", &request.to_string()).await;
            }
        })
    });
    let sending: Vec<_> = sending.collect();
    let mut seen = Vec::new();
    while !sending.iter().all(tokio::task::JoinHandle::is_finished) {
        let mark = stores[1].enter(&phone).await.unwrap();
        let synced = stores[2].sync(&phone, Vec::new(), 10_000).await.unwrap();
        seen.push((mark, synced));
    }
    for (mark, synced) in seen {
        let mut all = std::collections::HashSet::new();
        let owed = stores[0].owed(&phone, &mark, Vec::new(), 10_000).await.unwrap();
        all.extend(synced.iter().chain(&owed.messages).map(|stored| stored.envelope.message_id));
        assert_eq!(all.len(), 900, "with {mark:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_database_loses_and_doubles_nothing() {
    let mut server = PostgresServer::start().await;
    let store = open(&server.database().await).await;
    let sending = {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut accepted, mut refused) = (Vec::new(), 0);
            for request in 0..400 {
                match store.append(message("a", "b", &request.to_string())).await {
                    Ok(stored) => accepted.push(stored),
                    Err(_) => refused += 1,
                }
            }
            (accepted, refused)
        })
    };
    let some = async {
        while listed(&store, "b", Page::Unacknowledged).await.len() < 20 {
            tokio::task::yield_now().await;
        }
    };
    some.await;
    server.restart().await;
    let (accepted, refused) = sending.await.unwrap();
    assert_eq!(refused, 0, "it was back in time for all of them");
    assert_gapless(accepted.clone());
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, ids(&accepted));
}

#[tokio::test]
async fn a_database_that_is_away_is_told_of_and_found_again() {
    let mut server = PostgresServer::start().await;
    let store = open(&server.database().await).await;
    send(&store, "a", "b", "1").await;
    server.stop().await;
    let b = device("b");
    let read = store.index(&b, Page::Unacknowledged);
    let (read, written) = futures::join!(read, store.append(message("a", "b", "2")));
    let probed = store.probe().await;
    for error in [read.unwrap_err(), written.unwrap_err(), probed.unwrap_err()] {
        assert!(matches!(&error, StoreError::Failed(_)), "{error}");
    }
    server.start_again().await;
    // Connections that broke while they were idle are found out one by one.
    eventually(Duration::from_secs(30), "a probe succeeds", || async { store.probe().await.ok() })
        .await;
    assert_eq!(send(&store, "a", "b", "2").await.seq, Seq(2));
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await.len(), 2);
}

#[tokio::test]
async fn a_cut_connection_is_replaced() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let store = open(&url).await;
    send(&store, "a", "b", "1").await;
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'",
        name(&url)
    );
    assert_ne!(server.run_sql("postgres", &cut).await, "0");
    assert_eq!(send(&store, "a", "b", "2").await.seq, Seq(2));
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await.len(), 2);
}

#[tokio::test]
async fn more_writes_than_the_queue_holds_are_turned_away() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let mut options = PostgresOptions::parse(&url).unwrap();
    (options.queue, options.batch) = (10, 1);
    let store = PostgresStore::open(&options).await.unwrap();
    let all = join_all((0..50).map(|number| store.append(message("a", "b", &number.to_string()))));
    let (stored, refused): (Vec<_>, Vec<_>) = all.await.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|refused| matches!(refused, Err(StoreError::Busy))));
    assert_eq!((stored.len(), refused.len()), (10, 40));
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await.len(), 10);
}

/// A name that no index takes.
#[tokio::test]
async fn a_bad_message_does_not_fail_its_neighbours() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    let long: String = (0..4000).map(|_| rand::random_range('a'..='z')).collect();
    let sent = join_all((0..20).map(|number| {
        let to = if number == 7 { &*long } else { "b" };
        store.append(message("a", to, &number.to_string()))
    }));
    let (stored, refused): (Vec<_>, Vec<_>) = sent.await.into_iter().partition(Result::is_ok);
    assert_eq!((stored.len(), refused.len()), (19, 1));
    assert_gapless(stored.into_iter().map(Result::unwrap).collect());
}

#[tokio::test]
async fn commits_are_on_disk_before_they_are_answered_with_any_default() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let lax = format!("ALTER DATABASE {} SET synchronous_commit = off", name(&url));
    server.run_sql("postgres", &lax).await;
    let store = open(&url).await;
    send(&store, "a", "b", "1").await;
    for write in [
        "SELECT enter_devices('{kim}', '{a}', '{phone}', 5)",
        "SELECT * FROM acknowledge(false, '{kim}', '{a}', '{\"\"}', 5, '{1}', '{1}', '{f}', '{1}',
                                   '{1}', '{1}', '{1}')",
        "SELECT * FROM append_messages(false, '{1}', '{kim}', '{\"\"}', '{\"\"}', '{f}', '{1}',
             '{a}', '{f}', '{r}', '{1}', '{x}', '{y}', '{5}', '{5}', '{phone}')",
        "SELECT * FROM create_group('kim', 'r', 'n', 'a', 'i', 'a', false, 5, '{a}', 9)",
        "SELECT change_group(true, 'kim', 'a', 'b', 2, 'r', 5, 9)",
    ] {
        let within = format!("BEGIN; {write}; SHOW synchronous_commit; COMMIT");
        let said = server.run_sql(name(&url), &within).await;
        assert_eq!(said.lines().last(), Some("on"), "{write}");
    }
}

/// The planner knows nothing of tables that have just grown.
#[tokio::test]
async fn no_table_is_read_as_a_whole_for_a_message() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let store = open(&url).await;
    let group = groups::create(&store, "a", &["b", "c"]).await;
    for number in 0..150 {
        send(&store, "a", "b", &number.to_string()).await;
        groups::say(&store, "a", &group, &format!("g{number}")).await;
        let b = device("b");
        let mark = store.enter(&b).await.unwrap();
        store.owed(&b, &mark, Vec::new(), 100).await.unwrap();
        let page = store.index(&b, Page::Unacknowledged).await.unwrap();
        store.sync(&b, Vec::new(), 100).await.unwrap();
        store.ack(&b, page.given).await.unwrap();
    }
    // Connections report what they did when they end.
    drop(store);
    let database = name(&url);
    let count = |column: &str| {
        let sql = format!(
            "SELECT sum({column}) FROM pg_stat_user_tables WHERE relname NOT IN ('imago_schema', 'node')"
        );
        async move { server.run_sql(database, &sql).await.parse::<u64>().unwrap_or_default() }
    };
    eventually(Duration::from_secs(30), "the statistics are there", || async {
        (count("idx_scan").await > 600).then_some(())
    })
    .await;
    assert!(count("seq_tup_read").await < 100, "tables are read as a whole");
}

#[tokio::test]
async fn what_was_answered_is_there_for_the_next_server() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    let first = send(&store, "a", "b", "1").await;
    let sent = send_many(&store, "a", "b", 300).await;
    drop(store);
    let store = open(&url).await;
    let expected = ids(&[vec![first.clone()], sent].concat());
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, expected);
    assert_eq!(send(&store, "a", "b", "1").await.message_id, first.message_id);
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_and_left_alone() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    drop(open(&url).await);
    server.run_sql(name(&url), "UPDATE imago_schema SET version = 999").await;
    let text = refusal(&url).await;
    assert!(text.contains("version 999") && text.contains(name(&url)), "{text}");
    assert_eq!(server.run_sql(name(&url), "SELECT version FROM imago_schema").await, "999");
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_said_at_once() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let text = refusal(&url.replace(name(&url), "nowhere")).await;
    assert!(text.contains("nowhere") && text.contains("does not exist"), "{text}");
    let text = refusal(&url.replace("imago@", "stranger:hidden@")).await;
    assert!(text.contains("stranger") && !text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn a_probe_of_a_database_that_takes_no_writes_fails_and_stops_no_other() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let (store, other) = (open(&url).await, open(&url).await);
    let switch = |value: &str| {
        let sql = format!(
            "ALTER DATABASE {0} SET default_transaction_read_only = {value};
             SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{0}'",
            name(&url)
        );
        async move { drop(server.run_sql("postgres", &sql).await) }
    };
    switch("on").await;
    let text = eventually(Duration::from_secs(30), "it is refused", || async {
        let text = store.probe().await.err()?.to_string();
        text.contains("read-only").then_some(text)
    });
    text.await;
    switch("off").await;
    eventually(Duration::from_secs(30), "it is taken", || async { store.probe().await.ok() }).await;

    // One that is given up in its midst keeps neither its connection nor a lock.
    for _ in 0..20 {
        let given_up = timeout(Duration::from_micros(200), store.probe()).await;
        drop(given_up);
    }
    store.probe().await.unwrap();
    other.probe().await.unwrap();
    assert_eq!(send(&store, "a", "b", "1").await.seq, Seq(1));
}
