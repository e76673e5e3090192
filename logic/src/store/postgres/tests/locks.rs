//! Locks of servers that freeze or vanish, and of others.

use std::pin::pin;

use futures::FutureExt;

use super::*;
use crate::store::{Chain, conformance::account};

/// Longer than any of these takes that does not wait for the lock.
const SOON: Duration = Duration::from_secs(1);
/// A frozen server may cost as much, and the machine that tests is slow.
const FREED: Duration = Duration::from_secs(7);

async fn config(url: &str) -> Config {
    PostgresOptions::parse(url).unwrap().limited()
}

/// Has the row of the conversation locked until it is dropped.
async fn locking(url: &str, conversation: &ConversationId) -> Client {
    let client = connect(&url.parse().unwrap()).await;
    let row = conversation.as_str().trim_start_matches(['d', 'g']);
    let lock = format!("BEGIN; SELECT FROM conversation WHERE id = {row} FOR UPDATE");
    client.batch_execute(&lock).await.unwrap();
    client
}

/// Sends to twenty others, known ones and new ones, all at once.
async fn send_to_others(store: &PostgresStore, request: &str) {
    let names: Vec<String> = (0..20).map(|number| format!("other-{number}")).collect();
    let sent = join_all(names.iter().map(|name| async move {
        let request = format!("{name} {request}");
        send(store, "a", name, &request).await
    }));
    tokio::time::timeout(SOON, sent).await.expect("nothing is in their way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_conversation_holds_no_other_one_back() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    let first = send(&store, "a", "b", "1").await;
    send_to_others(&store, "1").await;
    let lock = locking(&url, &first.conversation).await;
    let mut waiting = pin!(join_all((2..30).map(|number| {
        let request = number.to_string();
        let store = &store;
        async move { send(store, "a", "b", &request).await }
    })));
    assert!(waiting.as_mut().now_or_never().is_none());
    for request in 2..6 {
        send_to_others(&store, &request.to_string()).await;
        send_to_others(&store, &format!("{request} again")).await;
    }
    assert!(waiting.as_mut().now_or_never().is_none(), "it is locked still");
    drop(lock);
    let mut sent = tokio::time::timeout(SOON, waiting).await.expect("it is free");
    assert!(sent.is_sorted_by_key(|sent| sent.seq), "order is kept");
    sent.push(first);
    assert_gapless(sent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_being_made_holds_no_other_one_back() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    let other = connect(&url.parse().unwrap()).await;
    let make = "BEGIN; INSERT INTO conversation (app, a, b) VALUES ('kim', 'a', 'b')";
    other.batch_execute(make).await.unwrap();
    let mut waiting = pin!(send(&store, "a", "b", "1"));
    assert!(waiting.as_mut().now_or_never().is_none());
    for request in 1..4 {
        send_to_others(&store, &request.to_string()).await;
    }
    assert!(waiting.as_mut().now_or_never().is_none(), "it is not made yet");
    other.batch_execute("ROLLBACK").await.unwrap();
    let sent = tokio::time::timeout(SOON, waiting).await.expect("it can be made");
    assert_eq!(sent.seq, Seq(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_account_holds_no_other_acknowledgement_back() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    let sent = [send(&store, "a", "b", "1").await, send(&store, "a", "c", "2").await];
    let [to_b, to_c] = &sent;
    let other = connect(&url.parse().unwrap()).await;
    let lock = "BEGIN; SELECT FROM member WHERE account = 'b' FOR UPDATE";
    other.batch_execute(lock).await.unwrap();
    let mut waiting = pin!(ack_to(&store, "b", &to_b.conversation, 1));
    assert!(waiting.as_mut().now_or_never().is_none());
    for _ in 0..5 {
        let acked = ack_to(&store, "c", &to_c.conversation, 1);
        let acked = tokio::time::timeout(SOON, acked).await.expect("nothing is in its way");
        assert_eq!(acked, [(to_c.conversation.clone(), Seq(1))]);
    }
    assert!(waiting.as_mut().now_or_never().is_none(), "it is locked still");
    drop(other);
    let acked = tokio::time::timeout(SOON, waiting).await.expect("it is free");
    assert_eq!(acked, [(to_b.conversation.clone(), Seq(1))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_commit_does_not_keep_the_next_ones_waiting() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let store = open(&url).await;
    send_to_others(&store, "1").await;
    let slow = "
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON message DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.body = 'a slow') EXECUTE FUNCTION dawdle()";
    server.run_sql(name(&url), slow).await;
    let mut waiting = pin!(send(&store, "a", "b", "slow"));
    assert!(waiting.as_mut().now_or_never().is_none());
    let sleeping = "SELECT count(*) FROM pg_stat_activity
        WHERE wait_event = 'PgSleep' AND datname = current_database()";
    eventually(Duration::from_secs(2), "it is being committed", || async {
        (server.run_sql(name(&url), sleeping).await == "1").then_some(())
    })
    .await;
    for request in 2..5 {
        send_to_others(&store, &request.to_string()).await;
    }
    assert!(waiting.as_mut().now_or_never().is_none(), "it is not committed yet");
    assert_eq!(waiting.await.seq, Seq(1));
}

/// A server that froze within a transaction, which none of today's statements leaves open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_transaction_is_ended() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    let sent = send(&store, "a", "b", "1").await;
    let frozen = connect(&config(&url).await).await;
    let row = sent.conversation.as_str().trim_start_matches('d');
    let lock = format!("BEGIN; UPDATE conversation SET head_seq = 9 WHERE id = {row}");
    frozen.batch_execute(&lock).await.unwrap();
    let next = tokio::time::timeout(FREED, send(&store, "a", "b", "2")).await;
    assert_eq!(next.expect("the lock is gone").seq, Seq(2));
}

#[tokio::test]
async fn connections_have_time_limits() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    for pool in [&store.pools.reads, &store.pools.writes] {
        let client = pool::get(pool).await.unwrap();
        for (setting, expected) in [
            ("statement_timeout", "5s"),
            ("lock_timeout", "4s"),
            ("idle_in_transaction_session_timeout", "5s"),
            ("tcp_user_timeout", "5000"),
            ("tcp_keepalives_idle", "2"),
            ("default_transaction_isolation", "read committed"),
        ] {
            let row = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap();
            assert_eq!(row.get::<_, String>(0), expected, "{setting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_a_message_that_was_given_up_is_not_stored() {
    let url = PostgresServer::shared().await.database().await;
    let store = open(&url).await;
    let first = send(&store, "a", "b", "1").await;
    let lock = locking(&url, &first.conversation).await;
    let chain = Chain::default();
    let append = |request: &str| {
        store.append(NewMessage { chain: chain.clone(), ..message("a", "b", request) })
    };
    let mut given_up = Box::pin(append("2"));
    let mut later = pin!(append("3"));
    assert!(given_up.as_mut().now_or_never().is_none() && later.as_mut().now_or_never().is_none());
    drop(given_up);
    assert!(matches!(later.await, Err(StoreError::Overtaking)), "it is told before the lock goes");
    drop(lock);
    assert_eq!(send(&store, "a", "b", "4").await.seq, Seq(2));
    let synced = store.sync(&device("b"), Vec::new(), 10).await.unwrap();
    let senders = synced.iter().map(|stored| stored.envelope.sender.clone());
    assert_eq!(senders.collect::<Vec<_>>(), [account("a"), account("a")]);
}

/// Two servers that write to the same conversations take turns, and neither starves.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_share_conversations_take_turns() {
    let url = PostgresServer::shared().await.database().await;
    let stores = join_all((0..2).map(|_| open(&url))).await;
    let sending = stores.iter().enumerate().flat_map(|(number, store)| {
        (0..40).map(move |sender| {
            let store = store.clone();
            tokio::spawn(async move {
                let to = format!("receiver-{}", sender % 4);
                let mut sent = Vec::new();
                for request in 0..10 {
                    let request = format!("{number}-{sender}-{request}");
                    sent.push(send(&store, "a", &to, &request).await);
                }
                assert!(sent.is_sorted_by_key(|sent| sent.seq));
                sent
            })
        })
    });
    let mut by_conversation = std::collections::HashMap::new();
    for sent in join_all(sending).await.into_iter().flat_map(Result::unwrap) {
        by_conversation.entry(sent.conversation.clone()).or_insert_with(Vec::new).push(sent);
    }
    assert_eq!(by_conversation.len(), 4);
    for sent in by_conversation.into_values() {
        let sent = assert_gapless(sent);
        assert_eq!(sent.len(), 200);
    }
}
