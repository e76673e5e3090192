//! A database that takes no writes: a standby, or one whose administrator says so.

use super::*;
use crate::store::{
    ConversationRef, Range,
    conformance::{account, app},
};

#[tokio::test]
async fn what_is_stored_is_read_from_a_database_that_takes_no_writes() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let store = open(&url).await;
    let sent = send_many(&store, "a", "b", 5).await;
    ack_to(&store, "b", &sent[0].conversation, 2).await;
    let database = name(&url);
    let read_only = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    server.run_sql("postgres", &read_only).await;
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    server.run_sql("postgres", &cut).await;
    // Connections that broke while they were idle are found out one by one.
    eventually(Duration::from_secs(30), "writes are refused", || async {
        store.probe().await.err().filter(|error| error.to_string().contains("read-only"))
    })
    .await;
    eventually(Duration::from_secs(30), "a read succeeds", || async {
        store.probe_reading().await.ok()
    })
    .await;

    let b = device("b");
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, ids(&sent[2..]));
    assert_eq!(store.sync(&b, Vec::new(), 10).await.unwrap().len(), 3);
    let owed = store.owed(&b, &Mark::default(), Vec::new(), 10).await.unwrap();
    assert_eq!(owed.messages.len(), 3);
    let place = ConversationRef::With(account("a"));
    let range = Range::After(Seq(0));
    let history = store.history(&app(), &account("b"), place, range, 10).await.unwrap().unwrap();
    assert_eq!(history.messages.len(), 5);
    let all = store.conversations(&app(), &account("b"), None, 10).await.unwrap();
    assert_eq!(all[0].unread, 3);
    let contents = store.contents(&app(), &account("b"), ids(&sent)).await.unwrap();
    assert_eq!(contents.iter().flatten().count(), 5);
    assert_eq!(store.group(&app(), &GroupId::from("g1")).await.unwrap(), None);
    assert_eq!(store.members(&app(), &GroupId::from("g1")).await.unwrap(), None);
}
