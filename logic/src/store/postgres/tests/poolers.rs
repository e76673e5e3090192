//! A pooler that gives each transaction any connection to the database.

use imago_tests::PgBouncer;

use super::*;

/// The store through a pooler, and the guards that keep both alive.
async fn pooled(settings: &str) -> (PgBouncer, PostgresStore) {
    let url = PostgresServer::shared().await.database().await;
    let pooler = PgBouncer::start(&url, settings).await;
    let store = open(pooler.url()).await;
    (pooler, store)
}

async fn fresh() -> (PgBouncer, Fresh) {
    let (pooler, store) = pooled("").await;
    (pooler, Arc::new(store))
}

mod conforms {
    crate::store::conformance::suite!(super::fresh);
}

/// One that takes settings of connections, but gives them to no connection of the database.
#[tokio::test]
async fn a_pooler_that_ignores_settings_will_do() {
    let (_pooler, store) = pooled("ignore_startup_parameters = options").await;
    send_many(&store, "a", "b", 50).await;
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_conversation_holds_no_other_one_back_there_either() {
    let url = PostgresServer::shared().await.database().await;
    let pooler = PgBouncer::start(&url, "").await;
    let store = open(pooler.url()).await;
    let sent = send(&store, "a", "b", "1").await;
    let other = connect(&url.parse().unwrap()).await;
    other.batch_execute("BEGIN; SELECT FROM conversation FOR UPDATE").await.unwrap();
    let store = &store;
    let waiting = async { send(store, "a", "b", "2").await };
    let others = async {
        for request in 3..6 {
            let request = request.to_string();
            let sent = send(store, "a", "c", &request);
            tokio::time::timeout(Duration::from_secs(1), sent).await.expect("it is not in its way");
        }
        drop(other);
    };
    let (next, ()) = futures::join!(waiting, others);
    assert_eq!((next.seq, next.conversation), (Seq(2), sent.conversation));
}

#[tokio::test]
async fn a_pooler_that_parts_transactions_is_refused_at_once() {
    let url = PostgresServer::shared().await.database().await;
    let pooler = PgBouncer::start(&url, "pool_mode = statement").await;
    let text = refusal(pooler.url()).await;
    assert!(text.contains("expected pool_mode = transaction or session"), "{text}");
}
