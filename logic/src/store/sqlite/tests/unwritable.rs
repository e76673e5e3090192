//! Reads while the file cannot be written: they answer what is durable, in time.

use std::time::{Duration, Instant};

use imago_proto::GroupId;

use super::{super::commit::TAIL_MAX, *};
use crate::store::{MemberChange, NewGroup, Target};

/// Less than any writer waits for a lock.
const SOON: Duration = Duration::from_secs(2);

/// Returns everything that an account can read, as text.
async fn everything(store: &SqliteStore, name: &str, group: &GroupId) -> String {
    let device = Device { app: app(), account: account(name), name: "".into() };
    let unacknowledged = store.index(&device, Page::Unacknowledged).await.unwrap();
    let all = store.index(&device, Page::Everything).await.unwrap();
    let ids: Vec<i64> = all.messages.iter().map(|message| message.message_id).collect();
    let contents = store.contents(&app(), &account(name), ids).await.unwrap();
    let synced = store.sync(&device, Vec::new(), 5000).await.unwrap();
    let owed = store.owed(&device, &Mark::default(), Vec::new(), 5000).await.unwrap();
    let mut histories = Vec::new();
    for place in [ConversationRef::With(account("a")), ConversationRef::Group(group.clone())] {
        for range in [Range::Before(Seq(u64::MAX)), Range::After(Seq(1))] {
            let (app, account) = (app(), account(name));
            let history = store.history(&app, &account, place.clone(), range, 50).await.unwrap();
            histories.push(history);
        }
    }
    let conversations = store.conversations(&app(), &account(name), None, 50).await.unwrap();
    let group_read = store.group(&app(), group).await.unwrap();
    let members = store.members(&app(), group).await.unwrap().unwrap();
    let mut since = members.since.to_vec();
    since.sort();
    format!(
        "{unacknowledged:?}\n{all:?}\n{contents:?}\n{synced:?}\n{owed:?}\n{histories:?}\n\
         {conversations:?}\n{group_read:?}\n{since:?} {}",
        members.version
    )
}

/// Sends some messages, too few to be indexed, and acknowledges one.
async fn talk(store: &SqliteStore) -> GroupId {
    let group = NewGroup {
        app: app(),
        owner: account("a"),
        name: "team".to_owned(),
        avatar: String::new(),
        introduction: String::new(),
        open: true,
        members: vec![account("b"), account("c")],
        request: "make".to_owned(),
    };
    let group = store.create_group(group, 10).await.unwrap().group;
    let say = |request: &'static str| {
        let target = Target::Group(group.clone());
        store.append(NewMessage { target, ..message("a", "", request) })
    };
    say("g1").await.unwrap();
    let change = MemberChange {
        app: app(),
        caller: account("c"),
        account: account("c"),
        group: group.clone(),
        request: "quit".to_owned(),
    };
    store.quit_group(change).await.unwrap();
    let first = send_many(store, "a", "b", 30).await;
    ack_to(store, "b", &first[0].conversation, 3).await;
    say("g2").await.unwrap();
    send(store, "b", "a", "own").await;
    group
}

/// Makes each commit of a store fail.
async fn forbid_commits(store: &SqliteStore) {
    let forbid =
        |batch: &mut Batch<'_>| batch.transaction().pragma_update(None, "query_only", "on");
    store.writer.run(forbid).await.unwrap();
    assert!(matches!(store.probe().await, Err(StoreError::Failed(_))));
}

/// Reads everything of some accounts while the store is hindered, and again when it is not.
async fn reads_are_the_same<T>(store: &SqliteStore, path: &Path, group: &GroupId, hindrance: T) {
    let (mut hindered, mut well) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c", "d"] {
        let started = Instant::now();
        hindered.push(everything(store, name, group).await);
        let took = started.elapsed();
        assert!(took < SOON, "{took:?}");
    }
    drop(hindrance);
    let healthy = open(path);
    for name in ["a", "b", "c", "d"] {
        well.push(everything(&healthy, name, group).await);
    }
    for (hindered, well) in hindered.iter().zip(&well) {
        for (line, expected) in hindered.lines().zip(well.lines()) {
            assert_eq!(line, expected);
        }
    }
    assert!(well[1].contains("a g2"), "{}", well[1]);
}

#[tokio::test]
async fn what_is_durable_is_read_while_no_commit_succeeds() {
    let (folder, store) = fresh();
    let path = folder.path().join("new/imago.db");
    let group = talk(&store).await;
    forbid_commits(&store).await;
    reads_are_the_same(&store, &path, &group, ()).await;
}

#[tokio::test]
async fn what_is_durable_is_read_while_a_part_of_the_tail_is_indexed() {
    let (folder, store) = fresh();
    let path = folder.path().join("new/imago.db");
    let group = talk(&store).await;
    send_many(&store, "a", "b", TAIL_MAX + TAIL_MAX / 2).await;
    let rows = indexed(&store).await;
    assert!((100..TAIL_MAX as i64 + 100).contains(&rows), "{rows}");
    forbid_commits(&store).await;
    reads_are_the_same(&store, &path, &group, ()).await;
}

#[tokio::test]
async fn a_read_does_not_wait_for_the_lock_of_another_process() {
    let (folder, store) = fresh();
    let path = folder.path().join("new/imago.db");
    let group = talk(&store).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await.len(), 29);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    reads_are_the_same(&store, &path, &group, other).await;
}

#[tokio::test]
async fn a_file_that_is_up_to_date_is_opened_without_a_write() {
    let (folder, store) = fresh();
    let path = folder.path().join("new/imago.db");
    let group = talk(&store).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let late = open(&path);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    reads_are_the_same(&late, &path, &group, other).await;
}

#[tokio::test]
async fn an_acknowledgement_that_cannot_be_stored_fails_and_leaves_the_cursor() {
    let (_folder, store) = fresh();
    let sent = send_many(&store, "a", "b", 5).await;
    ack_to(&store, "b", &sent[0].conversation, 2).await;
    forbid_commits(&store).await;
    let device = Device { app: app(), account: account("b"), name: "".into() };
    let conversation = sent[0].conversation.clone();
    let given = vec![Given { conversation, from: Seq(0), to: Seq(5) }];
    let text = store.ack(&device, given).await.unwrap_err().to_string();
    assert!(text.contains("mounted read-only"), "{text}");
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, ids(&sent[2..]));
}

#[tokio::test]
async fn what_comes_while_some_cannot_write_is_read_once() {
    let (folder, store) = fresh();
    let other = open(&folder.path().join("new/imago.db"));
    let mut sent = send_many(&store, "a", "b", 3).await;
    forbid_commits(&store).await;
    for round in 0..4 {
        assert_eq!(listed(&store, "b", Page::Unacknowledged).await, ids(&sent));
        sent.push(send(&other, "a", "b", &format!("later {round}")).await);
        if round == 1 {
            other.index_tail().await.unwrap();
        }
    }
    assert_eq!(listed(&store, "b", Page::Unacknowledged).await, ids(&sent));
}
