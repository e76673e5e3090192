//! The rows of devices, and the messages of the tail that devices are owed.

use imago_kit::unix_nanos;

use super::*;
use crate::store::conformance::{
    ack, device, envelopes, given,
    groups::{create, join, quit, say},
    named, sorted_ids,
};

const DAY: i64 = 24 * 3600 * 1_000_000_000;

/// The only number of a row.
fn number(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_login_writes_when_the_device_was_last_seen_a_day_ago() {
    let (folder, store) = fresh();
    let phone = named("a", "phone");
    store.enter(&phone).await.unwrap();
    let other = Connection::open(folder.path().join("new/imago.db")).unwrap();
    let version = || number(&other, "PRAGMA data_version");
    let seen_at = || number(&other, "SELECT seen_at FROM device");
    let (before, first) = (version(), seen_at());
    assert!(first.abs_diff(unix_nanos()) < DAY.unsigned_abs());
    store.enter(&phone).await.unwrap();
    assert_eq!((version(), seen_at()), (before, first));
    // Long ago, and at a time to come: the clock was wrong.
    for wrong in [first - 2 * DAY, first + 2 * DAY] {
        other.execute("UPDATE device SET seen_at = ?1", [wrong]).unwrap();
        store.enter(&phone).await.unwrap();
        assert!(seen_at().abs_diff(first) < DAY.unsigned_abs());
        let sent = send(&store, "b", "a", &wrong.to_string()).await;
        other.execute("UPDATE device SET seen_at = ?1", [wrong]).unwrap();
        ack(&store, &phone, vec![given(&sent.conversation, 0, 9)]).await;
        assert!(seen_at().abs_diff(first) < DAY.unsigned_abs());
    }
}

#[tokio::test]
async fn forgotten_devices_go_with_their_cursors_some_at_a_time() {
    let (folder, store) = fresh();
    store.enter(&named("a", "phone")).await.unwrap();
    let other = Connection::open(folder.path().join("new/imago.db")).unwrap();
    other
        .execute_batch(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 300)
             INSERT INTO device_cursor SELECT d, n, 0, 1 FROM n, (SELECT 101 d UNION SELECT 102 UNION SELECT 103);
             INSERT INTO device VALUES (101, 'kim', 'x', '1', 5), (102, 'kim', 'x', '2', 4),
                                       (103, 'kim', 'x', '3', 6);",
        )
        .unwrap();
    let counts = || {
        let cursors = number(&other, "SELECT COUNT(*) FROM device_cursor");
        (number(&other, "SELECT COUNT(*) FROM device"), cursors)
    };
    assert_eq!(counts(), (4, 900));
    let below = unix_nanos() - 2 * DAY;
    for (forgotten, left) in [(2, (2, 300)), (1, (1, 0)), (0, (1, 0))] {
        assert_eq!(store.prune(below).await.unwrap(), forgotten);
        assert_eq!(counts(), left);
    }
    // It may have been there all day since it was last written.
    let seen_at = number(&other, "SELECT seen_at FROM device");
    assert_eq!(store.prune(seen_at + DAY / 2).await.unwrap(), 0);
    assert_eq!(store.prune(seen_at + DAY + 1).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_not_owed_gets_no_place_for_being_asked() {
    let (_folder, store) = fresh();
    let a = device("a");
    let empty = store.enter(&a).await.unwrap();
    let sent = send(&store, "b", "a", "1").await;
    let mark = store.enter(&a).await.unwrap();
    send_many(&store, "b", "c", 10).await;
    let owed = async |mark: &Mark, have| {
        let owed = store.owed(&a, mark, have, 100).await.unwrap();
        assert!(owed.mark.covers(sent.message_id.unsigned_abs()));
        sorted_ids(envelopes(&owed.messages))
    };
    // Covered by the mark; among what it has; acknowledged.
    assert_eq!(owed(&mark, Vec::new()).await, [0i64; 0]);
    assert_eq!(owed(&empty, vec![given(&sent.conversation, 1, 1)]).await, [0i64; 0]);
    ack(&store, &a, vec![given(&sent.conversation, 1, 1)]).await;
    assert_eq!(owed(&empty, Vec::new()).await, [0i64; 0]);
    assert_eq!(indexed(&store).await, 0);
    let next = send(&store, "b", "a", "2").await;
    assert_eq!(owed(&mark, Vec::new()).await, [next.message_id]);
    assert_eq!(indexed(&store).await, 12);
    assert_eq!(owed(&mark, Vec::new()).await, [next.message_id]);
}

#[tokio::test]
async fn what_a_member_saw_before_it_left_needs_no_place() {
    let (_folder, store) = fresh();
    let b = device("b");
    let mark = store.enter(&b).await.unwrap();
    let group = create(&store, "a", &["b"]).await;
    let seen = say(&store, "a", &group, "1").await;
    quit(&store, &group, "b", "b", "q").await.unwrap();
    say(&store, "a", &group, "2").await;
    assert_eq!(indexed(&store).await, 1);
    let owed = store.owed(&b, &mark, Vec::new(), 100).await.unwrap();
    assert_eq!(sorted_ids(envelopes(&owed.messages)), [seen.message_id]);
    assert_eq!(indexed(&store).await, 1);
    // A mark that tells some later commits from others, as those of other stores do.
    join(&store, &group, "a", "b", "j").await.unwrap();
    let late = [say(&store, "a", &group, "3").await, say(&store, "a", &group, "4").await];
    let [open, high] = late.each_ref().map(|late| late.message_id.unsigned_abs());
    let mark = Mark { low: seen.message_id.unsigned_abs(), high: high + 1, open: vec![open] };
    let owed = store.owed(&b, &mark, Vec::new(), 1).await.unwrap();
    assert_eq!(sorted_ids(envelopes(&owed.messages)), [late[0].message_id]);
}

/// A read begins between shares: the last messages of a conversation are not indexed yet.
#[test]
fn messages_before_the_tail_are_found() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE place (conversation, seq, message_id, PRIMARY KEY (conversation, seq));
         WITH RECURSIVE n(n) AS (SELECT 21 UNION ALL SELECT n + 1 FROM n WHERE n < 60)
         INSERT INTO place SELECT 1, n, n * 10 FROM n;",
    )
    .unwrap();
    let last_until = |low, high, id| reads::last_until(&db, 1, low, high, id).unwrap();
    // Up to 20 they are pruned, and past 60 they are not indexed.
    assert_eq!(last_until(0, 100, 405), 40);
    assert_eq!(last_until(0, 100, 400), 40);
    assert_eq!(last_until(45, 50, 400), 45);
    assert_eq!(last_until(0, 100, 150), 20);
    assert_eq!(last_until(0, 100, 600), 100);
    assert_eq!(last_until(0, 10, 0), 10);
    assert_eq!(last_until(70, 100, 0), 100);
    assert_eq!(last_until(7, 5, 0), 7);
}
