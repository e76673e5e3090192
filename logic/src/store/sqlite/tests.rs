//! What the SQLite store does beyond the trait, and the suite of the trait.

mod devices;
mod locks;
mod tail;
mod unwritable;
mod upgrades;

use std::{path::Path, sync::Arc};

use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::store::conformance::{
    Fresh, account, ack_to, app, assert_gapless, ids, listed, message, send, send_many,
};

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(&SqliteOptions::new(path)).unwrap()
}

fn fresh() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("new/imago.db"));
    (folder, store)
}

fn refusal(path: &Path) -> String {
    match SqliteStore::open(&SqliteOptions::new(path)) {
        Ok(_) => panic!("opened {}", path.display()),
        Err(error) => error.to_string(),
    }
}

async fn fresh_for_suite() -> (TempDir, Fresh) {
    let (folder, store) = fresh();
    (folder, Arc::new(store))
}

mod conforms {
    crate::store::conformance::suite!(super::fresh_for_suite);
}

/// A store whose reads write nothing, as on a full disk.
async fn fresh_with_reads_that_never_write() -> (TempDir, Fresh) {
    let (folder, store) = fresh();
    (folder, Arc::new(SqliteStore { index_patience: Duration::ZERO, ..store }))
}

mod conforms_without_writing_to_read {
    crate::store::conformance::suite!(super::fresh_with_reads_that_never_write);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_stores_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    // All of them find an empty file, and one creates the schema.
    let opened = (0..4).map(|_| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || open(&path))
    });
    let stores: Vec<SqliteStore> =
        join_all(opened).await.into_iter().map(|store| store.unwrap()).collect();
    let sending = stores.iter().enumerate().map(|(number, store)| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for request in 0..100 {
                let request = format!("{number}-{request}");
                sent.push(send(&store, "a", "b", &request).await);
                // Other stores send it at the same time.
                send(&store, "a", "c", &format!("shared-{}", sent.len())).await;
            }
            assert!(sent.windows(2).all(|pair| pair[0].message_id < pair[1].message_id));
            sent
        })
    });
    let sent = join_all(sending).await.into_iter().flat_map(|sent| sent.unwrap()).collect();
    let sent = assert_gapless(sent);
    assert!(sent.windows(2).all(|pair| pair[0].message_id < pair[1].message_id));
    assert!(sent.windows(2).all(|pair| pair[1].after == pair[0].message_id.unsigned_abs()));
    assert_eq!(listed(&stores[0], "b", Page::Unacknowledged).await.len(), 400);
    assert_eq!(listed(&stores[1], "c", Page::Unacknowledged).await.len(), 100);
}

#[tokio::test]
async fn a_bad_write_does_not_fail_its_neighbours() {
    let (_folder, store) = fresh();
    let bad = || async {
        let write = |batch: &mut Batch<'_>| {
            batch.transaction().execute("INSERT INTO nowhere VALUES (1)", []).map(|_| ())
        };
        assert!(matches!(store.writer.run(write).await, Err(StoreError::Failed(_))));
    };
    let writes = (0..20).map(|number| {
        let (store, bad) = (&store, &bad);
        async move {
            let sent = send(store, "a", "b", &number.to_string()).await;
            bad().await;
            sent
        }
    });
    let (sent, ..) = futures::join!(join_all(writes), bad(), bad());
    assert_gapless(sent);
}

#[tokio::test]
async fn a_write_whose_requester_gave_up_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let store =
        SqliteStore::open(&SqliteOptions { batch: 1, ..SqliteOptions::new(&path) }).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let append = |request: &str| Box::pin(store.append(message("a", "b", request)));
    let mut first = append("1");
    assert!(futures::poll!(&mut first).is_pending());
    // The writer has taken it, and waits for the lock.
    while store.writer.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    let (mut second, mut third) = (append("2"), append("3"));
    assert!(futures::poll!(&mut second).is_pending() && futures::poll!(&mut third).is_pending());
    drop(second);
    other.execute_batch("COMMIT").unwrap();
    let stored = [first.await.unwrap(), third.await.unwrap()];
    assert_eq!(stored.each_ref().map(|stored| stored.seq), [Seq(1), Seq(2)]);
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, ids(&stored));
}

#[tokio::test]
async fn more_writes_than_the_queue_holds_are_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let store =
        SqliteStore::open(&SqliteOptions { queue: 4, ..SqliteOptions::new(&path) }).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let appends: Vec<_> = (0..50)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.append(message("a", "b", &number.to_string())).await })
        })
        .collect();
    let (mut results, mut release) = (Vec::new(), Some(other));
    for append in appends.into_iter().rev() {
        // The last ones are turned away at once; the first ones wait for the lock.
        results.push(append.await.unwrap());
        if let Some(other) = release.take() {
            other.execute_batch("COMMIT").unwrap();
        }
    }
    let stored = results.iter().filter(|result| result.is_ok()).count();
    assert!((4..50).contains(&stored), "{stored} were stored");
    let is_busy = |result: &Result<Appended>| matches!(result, Err(StoreError::Busy));
    assert!(is_busy(&results[0]));
    assert_eq!(results.iter().filter(|result| is_busy(result)).count(), 50 - stored);
    assert_eq!(listed(&open(&path), "b", Page::Unacknowledged).await.len(), stored);
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let first = send(&open(&path), "a", "b", "first").await;
    let sent = send_many(&open(&path), "a", "b", 100).await;
    let store = open(&path);
    let expected = ids(&[vec![first.clone()], sent].concat());
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, expected);
    let repeat = send(&store, "a", "b", "first").await;
    assert_eq!((repeat.message_id, repeat.repeat_of.is_some()), (first.message_id, true));
}

#[tokio::test]
async fn commits_are_on_disk_before_they_are_answered() {
    let (_folder, store) = fresh();
    let durability = store.writer.run(|batch| {
        let db = batch.transaction();
        let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let synchronous: i64 = db.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        Ok((mode, synchronous))
    });
    // 2 is FULL (SQLite, "PRAGMA synchronous").
    assert_eq!(durability.await.unwrap(), ("wal".to_owned(), 2));
}

#[tokio::test]
async fn a_repeat_is_known_before_and_after_its_key_is_in_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let (one, other) = (open(&path), open(&path));
    let first = send(&one, "a", "b", "1").await;
    for store in [&one, &other] {
        let repeat = send(store, "a", "b", "1").await;
        assert_eq!((repeat.message_id, indexed(&one).await), (first.message_id, 0));
    }
    assert_eq!(listed(&one, "b", Page::Unacknowledged).await, [first.message_id]);
    for store in [&one, &other, &open(&path)] {
        let repeat = send(store, "a", "b", "1").await;
        assert_eq!((repeat.message_id, indexed(&one).await), (first.message_id, 1));
    }
    // What is pruned is forgotten.
    let last = send(&other, "a", "b", "2").await;
    one.prune(last.message_id).await.unwrap();
    assert_eq!(send(&other, "a", "b", "2").await.message_id, last.message_id);
    assert!(send(&other, "a", "b", "1").await.message_id > last.message_id);
}

/// Returns the number of messages that are indexed.
async fn indexed(store: &SqliteStore) -> i64 {
    let count = |db: &Connection| db.query_row("SELECT COUNT(*) FROM place", [], |row| row.get(0));
    store.readers.run(count).await.unwrap()
}

#[tokio::test]
async fn a_read_sees_messages_that_were_not_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let first = send_many(&open(&path), "a", "b", 3).await;
    let (one, other) = (open(&path), open(&path));
    let second = send(&one, "b", "a", "4").await;
    assert_eq!((indexed(&one).await, second.seq), (0, Seq(4)));
    assert_eq!(listed(&other, "b", Page::Unacknowledged).await, ids(&first));
    assert_eq!(indexed(&one).await, 4);
    // This store knows what another one has indexed.
    let third = send(&one, "b", "a", "5").await;
    assert_eq!(third.seq, Seq(5));
    assert_eq!(listed(&one, "a", Page::Unacknowledged).await, ids(&[second, third.clone()]));
    other.prune(third.message_id).await.unwrap();
    assert_eq!(indexed(&one).await, 1);
}

#[tokio::test]
async fn cursors_reach_messages_that_are_not_indexed() {
    let (_folder, store) = fresh();
    let sent = send_many(&store, "a", "b", 3).await;
    let acked = |seq| ack_to(&store, "b", &sent[0].conversation, seq);
    assert_eq!(acked(2).await, [(sent[0].conversation.clone(), Seq(2))]);
    assert_eq!(indexed(&store).await, 0);
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, ids(&sent[2..]));
    let next = send(&store, "a", "b", "next").await;
    assert_eq!(acked(99).await, [(sent[0].conversation.clone(), Seq(4))]);
    assert_eq!(indexed(&store).await, 3);
    assert!(listed(&store, "b", Page::Unacknowledged).await.is_empty());
    assert_eq!(next.seq, Seq(4));
    let last = send(&store, "a", "b", "last").await;
    assert_eq!(
        listed(&store, "b", Page::Unacknowledged).await,
        [last.message_id],
        "past the last cursor"
    );
}

#[test]
fn what_is_no_database_is_refused_by_name_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letter.txt");
    std::fs::write(&file, "Dear reader, this is no database at all. ".repeat(100)).unwrap();
    let text = refusal(&file);
    assert!(text.contains("letter.txt") && text.contains("not a database"), "{text}");
    let text = refusal(&file.join("imago.db"));
    assert!(text.contains("letter.txt/imago.db") && text.contains("cannot make"), "{text}");
    let text = refusal(folder.path());
    assert!(text.contains("unable to open"), "{text}");
}

#[test]
fn only_urls_of_files_are_taken() {
    let parsed = |url: &str| SqliteOptions::parse(url).map(|options| options.path);
    assert_eq!(parsed("sqlite://imago.db").unwrap(), Path::new("imago.db"));
    assert_eq!(parsed("sqlite:///var/lib/imago.db").unwrap(), Path::new("/var/lib/imago.db"));
    for wrong in ["", "imago.db", "sqlite://", "sqlite:imago.db", "mysql://x", "sqlite://:memory:"]
    {
        let error = parsed(wrong).unwrap_err().to_string();
        assert!(error.contains("expected"), "{error}");
    }
}

#[tokio::test]
async fn reading_connections_cannot_write() {
    let (_folder, store) = fresh();
    let written = store.readers.run(|db| db.execute("DELETE FROM message", [])).await;
    assert!(matches!(written, Err(StoreError::Failed(_))), "{written:?}");
    send(&store, "a", "b", "1").await;
    let contents = store.contents(&app(), &account("a"), Vec::new()).await.unwrap();
    assert!(contents.is_empty());
}

#[tokio::test]
async fn a_probe_that_fails_says_why_and_fails_alone() {
    let (folder, store) = fresh();
    store.probe().await.unwrap();
    let path = folder.path().join("new/imago.db");
    Connection::open(&path).unwrap().execute_batch("DROP TABLE probe").unwrap();
    let text = store.probe().await.unwrap_err().to_string();
    assert!(text.contains("probe"), "{text}");
    assert_eq!(send(&store, "a", "b", "1").await.seq, Seq(1));
}
