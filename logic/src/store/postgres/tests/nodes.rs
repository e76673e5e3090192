//! Numbers of nodes.

use super::*;

#[tokio::test]
async fn each_server_has_a_number_of_its_own() {
    let url = PostgresServer::shared().await.database().await;
    let stores = join_all((0..4).map(|_| open(&url))).await;
    let mut numbers: Vec<i32> = stores.iter().map(|store| store.node.number()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 4);
    for store in &stores {
        let sent = send(store, "a", "b", &store.node.number().to_string()).await;
        assert_eq!(sent.message_id & 1023, i64::from(store.node.number()));
    }
}

#[tokio::test]
async fn a_lost_number_is_replaced_by_another_one() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let store = open(&url).await;
    let before = store.node.number();
    renew(&store.pools, &store.node).await.unwrap();
    assert_eq!(store.node.number(), before, "it is held");
    // It was frozen for so long that another server took it.
    let take = format!(
        "UPDATE node SET owner = 'other', expires = now() + interval '1 h' WHERE number = {before}"
    );
    server.run_sql(name(&url), &take).await;
    renew(&store.pools, &store.node).await.unwrap();
    let after = store.node.number();
    assert_ne!(after, before);
    assert_eq!(send(&store, "a", "b", "1").await.message_id & 1023, i64::from(after));
    // One that has expired without another taking it goes on.
    let expire = format!("UPDATE node SET expires = now() - interval '1 h' WHERE number = {after}");
    server.run_sql(name(&url), &expire).await;
    renew(&store.pools, &store.node).await.unwrap();
    assert_eq!(store.node.number(), after);
}

#[tokio::test]
async fn an_id_that_another_server_gave_out_is_replaced() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    let store = open(&url).await;
    send(&store, "a", "b", "1").await;
    // As if the next two ids were there.
    let refuse = "
        CREATE FUNCTION refuse_first() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('try') < 3 THEN
                RAISE unique_violation USING MESSAGE = 'duplicate key value violates message_pkey';
            END IF;
            RETURN NEW;
        END $$;
        CREATE SEQUENCE try;
        CREATE TRIGGER refuse_first BEFORE INSERT ON message
            FOR EACH ROW EXECUTE FUNCTION refuse_first()";
    server.run_sql(name(&url), refuse).await;
    assert_eq!(send(&store, "a", "b", "2").await.seq, Seq(2));
    assert_eq!(server.run_sql(name(&url), "SELECT last_value FROM try").await, "3");
}

#[tokio::test]
async fn more_servers_than_there_are_numbers_are_refused() {
    let server = PostgresServer::shared().await;
    let url = server.database().await;
    drop(open(&url).await);
    let lease = "UPDATE node SET owner = 'x', expires = now() + interval '1 h'";
    server.run_sql(name(&url), lease).await;
    let text = refusal(&url).await;
    assert!(text.contains("1024 servers"), "{text}");
}
