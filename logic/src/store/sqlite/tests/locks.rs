//! Waiting for the file's lock, and what becomes of messages that wait in vain.

use std::time::{Duration, Instant};

use super::*;
use crate::store::{Chain, NewMessage};

fn locked(path: &Path) -> Connection {
    let other = Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

#[tokio::test]
async fn a_write_waits_for_another_process_that_writes() {
    let (folder, store) = fresh();
    let other = locked(&folder.path().join("new/imago.db"));
    let sent = send(&store, "a", "b", "1");
    tokio::pin!(sent);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut sent).await;
    assert!(early.is_err(), "written while another process held the lock");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(sent.await.seq, Seq(1));
}

/// A process that was stopped while it wrote.
#[tokio::test]
async fn writes_are_turned_away_in_time_while_the_lock_is_kept() {
    const PATIENCE: Duration = Duration::from_secs(5);
    let (folder, store) = fresh();
    let first = send(&store, "a", "b", "first").await;
    store.index_tail().await.unwrap();
    let other = locked(&folder.path().join("new/imago.db"));
    let started = Instant::now();
    let mut taken = Box::pin(store.append(message("a", "b", "1")));
    assert!(futures::poll!(&mut taken).is_pending());
    while store.writer.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    // It comes while the writer waits.
    let queued = store.append(message("a", "b", "2"));
    let (taken, queued) = futures::join!(taken, queued);
    let waited = started.elapsed();
    assert!(matches!((&taken, &queued), (Err(StoreError::Busy), Err(StoreError::Busy))));
    assert!((PATIENCE..2 * PATIENCE).contains(&waited), "{waited:?}");
    // Reads go on.
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, [first.message_id]);
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(send(&store, "a", "b", "2").await.seq, Seq(first.seq.0 + 1));
}

#[tokio::test]
async fn a_message_behind_a_failed_one_of_its_chain_is_not_stored() {
    let (_folder, store) = fresh();
    let chain = Chain::default();
    let of = |chain: &Chain, request| {
        store.append(NewMessage { chain: chain.clone(), ..message("a", "b", request) })
    };
    let bad = store.writer.run_in_chain(chain.clone(), |batch| {
        batch.transaction().execute("INSERT INTO nowhere VALUES (1)", []).map(|_| ())
    });
    let (bad, behind, other) = futures::join!(bad, of(&chain, "1"), of(&Chain::default(), "2"));
    assert!(matches!(bad, Err(StoreError::Failed(_))), "{bad:?}");
    assert!(matches!(behind, Err(StoreError::Overtaking)), "{behind:?}");
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, [other.unwrap().message_id]);
}

#[tokio::test]
async fn a_message_that_is_given_up_breaks_its_chain_off_before_the_next_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let store =
        SqliteStore::open(&SqliteOptions { batch: 1, ..SqliteOptions::new(&path) }).unwrap();
    let other = locked(&path);
    let chain = Chain::default();
    let append = |request| {
        Box::pin(store.append(NewMessage { chain: chain.clone(), ..message("a", "b", request) }))
    };
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
    let (first, third) = futures::join!(first, third);
    assert!(matches!(third, Err(StoreError::Overtaking)), "{third:?}");
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, [first.unwrap().message_id]);
}
