//! Databases of earlier versions.

use imago_proto::link::Mark;

use super::*;
use crate::store::{Target, conformance::named};

/// What version 1 held of two accounts and a group: messages, read up to some.
const OLD: &str = "
    CREATE TABLE imago_schema (version bigint NOT NULL);
    INSERT INTO imago_schema VALUES (1);
    INSERT INTO conversation (app, a, b, head_seq)
        VALUES ('kim', 'a', 'b', 3), ('kim', '', 'digest', 2);
    INSERT INTO grp VALUES (2, 'Pilots', '', '', 'a', false, 5, 2, 2);
    INSERT INTO member VALUES
        ('kim', 'a', 1, 0, NULL, 3, 0, NULL), ('kim', 'b', 1, 0, NULL, 2, 0, NULL),
        ('kim', 'a', 2, 0, NULL, 0, 5, 0), ('kim', 'b', 2, 1, NULL, 1, 5, 1);
    INSERT INTO message
        SELECT 20000 + n, 1, n, 'a'::bytea, 1, 'said'::bytea, ''::bytea, 20000 + n, ('r' || n)::bytea
        FROM generate_series(1, 3) AS n
        UNION ALL SELECT 30000 + n, 2, n, 'a'::bytea, 1, 'said to all'::bytea, ''::bytea, 30000 + n, ('g' || n)::bytea
        FROM generate_series(1, 2) AS n";

#[tokio::test]
async fn cursors_of_version_1_become_read_marks() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    server.run_sql(name(&url), schema::MIGRATIONS[0]).await;
    server.run_sql(name(&url), OLD).await;
    let store = open(&url).await;
    let version = server.run_sql(name(&url), "SELECT version FROM imago_schema").await;
    assert_eq!(version, schema::MIGRATIONS.len().to_string());

    // A device begins where its account had read, whether it is known or not.
    let phone = named("b", "phone");
    for _ in 0..2 {
        let page = store.index(&phone, Page::Unacknowledged).await.unwrap();
        let listed: Vec<i64> = page.messages.iter().map(|message| message.message_id).collect();
        assert_eq!(listed, [20_003, 30_002]);
        store.enter(&phone).await.unwrap();
    }
    // Any mark covers what was there before; none is owed anew.
    let mark = store.enter(&phone).await.unwrap();
    let next = send(&store, "a", "b", "next").await;
    assert_eq!((next.seq, next.after), (Seq(4), 0));
    let owed = store.owed(&phone, &mark, Vec::new(), 10).await.unwrap();
    assert_eq!(owed.messages.len(), 1);
    assert_eq!(owed.messages[0].envelope.message_id, next.message_id);
    let all = store.owed(&phone, &Mark::default(), Vec::new(), 10).await.unwrap();
    assert_eq!(all.messages.len(), 3);
    // Groups go on.
    let group = "g2".into();
    let said = groups::say(&store, "b", &group, "1").await;
    assert_eq!((said.seq, said.members), (Seq(3), 2));
    let synced = store.sync(&named("a", "web"), Vec::new(), 10).await.unwrap();
    assert!(synced.iter().any(|stored| stored.envelope.other == Target::Group(group.clone())));
}
