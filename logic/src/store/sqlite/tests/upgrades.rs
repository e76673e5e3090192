//! Files that other versions wrote.

use super::*;
use crate::store::conformance::{ack, given, named};

#[tokio::test]
async fn a_file_of_a_later_version_is_refused_and_left_alone() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join("new/imago.db");
    let version = |version: u32| -> u32 {
        let db = Connection::open(&path).unwrap();
        let before = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        db.pragma_update(None, "user_version", version).unwrap();
        before
    };
    let own = version(999);
    let text = refusal(&path);
    assert!(text.contains("imago.db") && text.contains("version 999"), "{text}");
    version(own);
    assert!(listed(&open(&path), "a", Page::Unacknowledged).await.is_empty());
}

#[tokio::test]
async fn a_file_of_the_first_version_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(migrations::MIGRATIONS[0]).unwrap();
    db.execute_batch(
        "INSERT INTO conversation VALUES (7, 'kim', 'a', 'b', 3);
         INSERT INTO member VALUES ('kim', 'a', 7, 0), ('kim', 'b', 7, 1);
         INSERT INTO message VALUES (20001, 7, 1, 'a', 1, 'one', '', 20001, '3:kim1:ax1');
         INSERT INTO message VALUES (20002, 7, 2, 'a', 1, 'two', '', 20002, '3:kim1:ax2');
         INSERT INTO message VALUES (20003, 7, 3, 'a', 1, 'three', '', 20003, '3:kim1:ac:tür:ä 3');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(db);
    let store = open(&path);
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, [20_002, 20_003]);
    assert_eq!(listed(&store, "b", Page::Everything).await, [20_001, 20_002, 20_003]);
    let repeat = send(&store, "a", "b", "x2").await;
    assert_eq!((repeat.message_id, repeat.seq), (20_002, Seq(2)));
    let repeat = send(&store, "a", "b", "c:tür:ä 3").await;
    assert_eq!((repeat.message_id, repeat.seq), (20_003, Seq(3)));
    let next = send(&store, "b", "a", "3").await;
    assert_eq!((next.conversation.as_str(), next.seq), ("d7", Seq(4)));
}

#[tokio::test]
async fn a_file_of_the_third_version_gets_places_for_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let db = Connection::open(&path).unwrap();
    migrations::MIGRATIONS[..3].iter().for_each(|version| db.execute_batch(version).unwrap());
    db.execute_batch(
        "INSERT INTO conversation VALUES (7, 'kim', 'a', 'b', 2), (8, 'kim', 'b', 'c', 1);
         INSERT INTO member (app, account, conversation, cursor)
             VALUES ('kim', 'a', 7, 0), ('kim', 'b', 7, 1), ('kim', 'b', 8, 0), ('kim', 'c', 8, 0);
         INSERT INTO message VALUES (20001, 7, 1, 'a', 1, 'one', '', 20001, '1');
         INSERT INTO message VALUES (20002, 8, 1, 'c', 1, 'two', '', 20002, '2');
         INSERT INTO message VALUES (20003, 7, 2, 'a', 1, 'three', '', 20003, '3');
         PRAGMA user_version = 3;",
    )
    .unwrap();
    let append = "UPDATE conversation SET head_seq = head_seq + 1 WHERE id = 7";
    let mut earlier = db.prepare(append).unwrap();
    let store = open(&path);
    assert_eq!(indexed(&store).await, 3);
    assert!(earlier.execute([]).is_err(), "who has the file open still gives sequences out");
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, [20_002, 20_003]);
    let next = send(&store, "b", "a", "4").await;
    assert_eq!((next.conversation.as_str(), next.seq), ("d7", Seq(3)));
    assert_eq!(listed(&store, "a", Page::Unacknowledged).await, [next.message_id]);
}

#[tokio::test]
async fn a_file_of_the_fourth_version_knows_its_requests_also_those_of_messages_without_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let db = Connection::open(&path).unwrap();
    migrations::MIGRATIONS[..4].iter().for_each(|version| db.execute_batch(version).unwrap());
    db.execute_batch(
        "INSERT INTO conversation VALUES (7, 'kim', 'a', 'b', 1);
         INSERT INTO member (app, account, conversation) VALUES ('kim', 'a', 7), ('kim', 'b', 7);
         INSERT INTO message VALUES (20001, 7, 1, 'a', 1, 'one', '', 20001, '1kima|1:3');
         INSERT INTO message VALUES (20002, 7, 2, 'a', 1, 'two', '', 20002, '2kima|1:3');
         INSERT INTO place VALUES (7, 1, 20001);
         UPDATE placed SET until = 20001;
         PRAGMA user_version = 4;",
    )
    .unwrap();
    let mut earlier = db
        .prepare("INSERT INTO message VALUES (20003, 7, 3, 'a', 1, '', '', 1, '') ON CONFLICT (request) DO NOTHING")
        .unwrap();
    let store = open(&path);
    assert!(earlier.execute([]).is_err(), "who has the file open still stores requests unseen");
    for (request, id) in [("1", 20_001), ("2", 20_002)] {
        assert_eq!(send(&store, "a", "b", request).await.message_id, id);
    }
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, [20_001, 20_002]);
    for (request, id) in [("1", 20_001), ("2", 20_002)] {
        assert_eq!(send(&store, "a", "b", request).await.message_id, id);
    }
    assert_eq!(send(&store, "a", "b", "3").await.seq, Seq(3));
}

#[tokio::test]
async fn a_file_of_the_sixth_version_knows_the_last_message_of_each_conversation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imago.db");
    let db = Connection::open(&path).unwrap();
    migrations::MIGRATIONS[..6].iter().for_each(|version| db.execute_batch(version).unwrap());
    // The second message has its row in `place`, but is not its conversation's last sequence. The last message
    // of another conversation is pruned; that of a third is the last sequence, without a row in `place`.
    db.execute_batch(
        "INSERT INTO conversation VALUES (7, 'kim', 'a', 'b', 1), (8, 'kim', 'b', 'c', 4), (9, 'kim', 'a', 'c', 1);
         INSERT INTO member (app, account, conversation, cursor)
             VALUES ('kim', 'a', 7, 0), ('kim', 'b', 7, 1), ('kim', 'b', 8, 4), ('kim', 'c', 8, 0),
                    ('kim', 'a', 9, 0), ('kim', 'c', 9, 0);
         INSERT INTO message VALUES (20001, 7, 1, 'a', 1, 'one', '', 20001, '1');
         INSERT INTO message VALUES (20002, 7, 2, 'a', 1, 'two', '', 20002, '2');
         INSERT INTO message VALUES (20003, 9, 1, 'c', 1, 'three', '', 20003, '3');
         INSERT INTO place VALUES (7, 1, 20001), (7, 2, 20002);
         UPDATE placed SET until = 20001;
         PRAGMA user_version = 6;",
    )
    .unwrap();
    let mut earlier = db.prepare("UPDATE conversation SET placed_seq = 2 WHERE id = 7").unwrap();
    let store = open(&path);
    assert!(earlier.execute([]).is_err(), "who has the file open still writes no ids");
    for (from, to, seq, after) in [("b", "a", 3, 20_002), ("b", "c", 5, 0), ("a", "c", 2, 20_003)] {
        let sent = send(&store, from, to, &format!("to {to}")).await;
        assert_eq!((sent.seq, sent.after), (Seq(seq), after));
    }
    // A device begins at what its account has read.
    let phone = named("b", "phone");
    assert!(store.enter(&phone).await.unwrap().covers(20_003));
    let conversation = ConversationId::from("d7");
    ack(&store, &named("b", "web"), vec![given(&conversation, 2, 2)]).await;
    let listing = store.index(&phone, Page::Unacknowledged).await.unwrap();
    assert_eq!(listing.given, [given(&conversation, 2, 2)]);
}
