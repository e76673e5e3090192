//! When messages are indexed.

use std::ops::Range;

use super::{
    super::commit::{SHARE_MIN, TAIL_MAX},
    *,
};

/// Messages in a commit of these tests.
const COMMIT: usize = SHARE_MIN;

/// Receivers in these tests; each message goes to the next one.
const RECEIVERS: usize = 10;

/// Appends messages with these requests in one commit. Returns their sequences.
async fn append(store: &SqliteStore, requests: Range<usize>) -> Result<Vec<Seq>> {
    append_to(store, requests, RECEIVERS).await
}

/// As [`append`], to `receivers` accounts by turns.
async fn append_to(
    store: &SqliteStore,
    requests: Range<usize>,
    receivers: usize,
) -> Result<Vec<Seq>> {
    let write = move |batch: &mut Batch<'_>| {
        let append = |request: usize| {
            let receiver = format!("b{}", request % receivers);
            let message = message("a", &receiver, &request.to_string());
            Ok(writes::append(batch, &message)?.unwrap().seq)
        };
        requests.clone().map(append).collect()
    };
    store.writer.run(write).await
}

/// Returns the sequences that messages with these requests should have.
fn sequences(requests: Range<usize>) -> Vec<Seq> {
    requests.map(|request| Seq((request / RECEIVERS + 1) as u64)).collect()
}

/// Returns the number of keys that are indexed.
async fn keys(store: &SqliteStore) -> i64 {
    let count = |db: &Connection| {
        db.query_row("SELECT COUNT(*) FROM message_request", [], |row| row.get(0))
    };
    store.readers.run(count).await.unwrap()
}

#[tokio::test]
async fn a_long_tail_is_indexed_without_a_reader() {
    let (_folder, store) = fresh();
    assert_eq!(append(&store, 0..TAIL_MAX - 1).await.unwrap(), sequences(0..TAIL_MAX - 1));
    assert_eq!((indexed(&store).await, keys(&store).await), (0, 0));
    let rest = TAIL_MAX - 1..2 * TAIL_MAX;
    assert_eq!(append(&store, rest.clone()).await.unwrap(), sequences(rest));
    let all = 2 * TAIL_MAX as i64;
    assert_eq!((indexed(&store).await, keys(&store).await), (all, all));
}

/// Appends messages until some of them are indexed. Returns the number of messages.
async fn append_until_some_are_indexed(store: &SqliteStore) -> usize {
    let mut sent = 0;
    let mut before = 0;
    for _ in 0..TAIL_MAX / COMMIT + 2 {
        let requests = sent..sent + COMMIT;
        assert_eq!(append(store, requests.clone()).await.unwrap(), sequences(requests.clone()));
        sent = requests.end;
        let (now, keys) = (indexed(store).await, keys(store).await);
        assert_eq!(now, keys);
        assert_eq!(now > before, sent >= TAIL_MAX, "{before} of {sent} were indexed, {now} are");
        assert!(now - before < 2 * COMMIT as i64, "all senders wait for {now} - {before} messages");
        before = now;
    }
    assert!((before as usize) < TAIL_MAX, "all are indexed");
    sent
}

#[tokio::test]
async fn each_commit_writes_a_share_of_a_long_tail() {
    let (_folder, store) = fresh();
    let mut sent = append_until_some_are_indexed(&store).await;
    // Repeats are known of indexed, sealed and recent messages.
    assert_eq!(append(&store, 0..sent).await.unwrap(), sequences(0..sent));
    // The tail does not grow.
    while sent < 5 * TAIL_MAX {
        append(&store, sent..sent + COMMIT).await.unwrap();
        sent += COMMIT;
        let without = sent - indexed(&store).await as usize;
        assert!(without <= 2 * TAIL_MAX + COMMIT, "{without} are not indexed");
    }
    assert_eq!(append(&store, sent..sent + 1).await.unwrap(), sequences(sent..sent + 1));
    assert_eq!(append(&store, 0..sent).await.unwrap(), sequences(0..sent));
}

#[tokio::test]
async fn sequences_go_on_between_shares() {
    let (_folder, store) = fresh();
    let all = 0..TAIL_MAX;
    for first in all.clone().step_by(COMMIT) {
        let sent = append_to(&store, first..first + COMMIT, all.end).await.unwrap();
        assert!(sent.iter().all(|seq| *seq == Seq(1)));
    }
    assert!((1..all.end as i64).contains(&indexed(&store).await));
    let sent = append_to(&store, all.end..2 * all.end, all.end).await.unwrap();
    assert!(sent.iter().all(|seq| *seq == Seq(2)), "{sent:?}");
}

#[tokio::test]
async fn small_commits_wait_for_each_other_with_their_shares() {
    let (_folder, store) = fresh();
    append(&store, 0..SHARE_MIN - 1).await.unwrap();
    append(&store, SHARE_MIN - 1..TAIL_MAX - 1).await.unwrap();
    append(&store, TAIL_MAX - 1..TAIL_MAX).await.unwrap();
    assert_eq!(indexed(&store).await, 0);
    append(&store, TAIL_MAX..TAIL_MAX + SHARE_MIN).await.unwrap();
    assert!(indexed(&store).await > 0);
}

#[tokio::test]
async fn a_file_is_whole_between_shares() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let sent = append_until_some_are_indexed(&open(&path)).await;
    let store = open(&path);
    assert_eq!(append(&store, 0..sent).await.unwrap(), sequences(0..sent));
    let next = sent..sent + 2 * TAIL_MAX;
    assert_eq!(append(&store, next.clone()).await.unwrap(), sequences(next.clone()));
    let history = listed(&store, "b0", Page::Unacknowledged).await;
    assert_eq!(history.len(), next.end.div_ceil(RECEIVERS));
    assert_eq!(indexed(&store).await as usize, next.end);
}

#[tokio::test]
async fn stores_that_share_a_file_write_each_others_shares() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let stores = [open(&path), open(&path)];
    let commits = 5 * TAIL_MAX / COMMIT;
    for commit in 0..commits {
        // Each store finds that the other has written since.
        let store = &stores[commit / 3 % 2];
        let requests = commit * COMMIT..(commit + 1) * COMMIT;
        assert_eq!(append(store, requests.clone()).await.unwrap(), sequences(requests));
    }
    for store in &stores {
        let all = 0..commits * COMMIT;
        assert_eq!(append(store, all.clone()).await.unwrap(), sequences(all.clone()));
        assert_eq!(listed(store, "b9", Page::Unacknowledged).await.len(), all.end / RECEIVERS);
    }
}

#[tokio::test]
async fn a_sequence_is_never_given_to_a_second_message() {
    let (_folder, store) = fresh();
    append(&store, 0..1).await.unwrap();
    let taken = |batch: &mut Batch<'_>| {
        batch.transaction().execute("INSERT INTO place VALUES (1, 1, 7)", []).map(|_| ())
    };
    store.writer.run(taken).await.unwrap();
    let indexed = store.writer.run(|batch| batch.indexed().map(|_| ())).await;
    assert!(matches!(indexed, Err(StoreError::Failed(_))), "{indexed:?}");
}

/// Returns the last sequences that a reading thread knows of the tail, by conversation.
async fn unindexed(store: &SqliteStore, known: &mut UnindexedHeads) -> Vec<Option<i64>> {
    let mut own = std::mem::take(known);
    let read = move |db: &Connection| {
        own.catch_up(db)?;
        Ok(own)
    };
    *known = store.readers.run(read).await.unwrap();
    (1..=RECEIVERS as i64).map(|row| known.head(row).map(|head| head.seq)).collect()
}

#[tokio::test]
async fn a_reading_thread_knows_the_heads_of_the_tail() {
    let (_folder, store) = fresh();
    let mut known = UnindexedHeads::default();
    assert_eq!(unindexed(&store, &mut known).await, [None; RECEIVERS]);
    append(&store, 0..2 * RECEIVERS).await.unwrap();
    assert_eq!(unindexed(&store, &mut known).await, [Some(2); RECEIVERS]);
    append(&store, 2 * RECEIVERS..2 * RECEIVERS + 1).await.unwrap();
    let mut expected = [Some(2); RECEIVERS];
    expected[0] = Some(3);
    assert_eq!(unindexed(&store, &mut known).await, expected);
    store.index_tail().await.unwrap();
    assert_eq!(unindexed(&store, &mut known).await, [None; RECEIVERS]);
    append(&store, 2 * RECEIVERS + 1..2 * RECEIVERS + 2).await.unwrap();
    let mut expected = [None; RECEIVERS];
    expected[1] = Some(3);
    assert_eq!(unindexed(&store, &mut known).await, expected);
    let mut fresh = UnindexedHeads::default();
    assert_eq!(unindexed(&store, &mut fresh).await, expected);
    assert_eq!(fresh.last_id(), known.last_id());
}
