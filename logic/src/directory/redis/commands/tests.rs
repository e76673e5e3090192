//! What the commands do in a real Redis.

use imago_tests::RedisServer;

use super::{
    super::{RedisOptions, link::Link},
    *,
};
use crate::directory::conformance::{PATIENCE, gateway, session};

const LEASE: Duration = Duration::from_secs(60);

async fn fresh() -> (RedisServer, Link, Keys) {
    let server = RedisServer::start().await;
    let link = Link::connect(&RedisOptions::parse(&server.url()).unwrap()).await.unwrap();
    (server, link, Keys::new("imago"))
}

async fn run(link: &Link, command: Cmd) -> Value {
    link.run(&[command], PATIENCE).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_lease_is_of_one_writer_until_it_is_given_back_or_a_new_life_begins() {
    let (_server, link, keys) = fresh().await;
    let (old, new) = (gateway("a", 1), gateway("a", 2));
    let (one, two) = (Incarnation(10), Incarnation(20));
    let claimed = async |gateway: &PeerId, writer, evidence| {
        Claim::of(&run(&link, claim(&keys, gateway, writer, LEASE, evidence)).await)
    };
    assert_eq!(claimed(&old, one, Evidence::Old).await, Claim::Taken);
    assert_eq!(claimed(&old, one, Evidence::Old).await, Claim::Renewed);
    assert_eq!(claimed(&old, two, Evidence::Fresh).await, Claim::Others);
    assert_eq!(claimed(&new, two, Evidence::Old).await, Claim::Others);
    assert_eq!(claimed(&new, two, Evidence::Fresh).await, Claim::Taken);
    assert_eq!(claimed(&old, one, Evidence::Old).await, Claim::Others);
    // Only its holder can give it back.
    run(&link, release(&keys, &old, one)).await;
    run(&link, release(&keys, &new, one)).await;
    let held = run(&link, lease(&keys, &new.service_id)).await;
    let Value::BulkString(held) = held else { panic!("no lease: {held:?}") };
    assert_eq!(entry::incarnation(std::str::from_utf8(&held).unwrap()), Some(new.incarnation));
    run(&link, release(&keys, &new, two)).await;
    assert_eq!(run(&link, lease(&keys, &new.service_id)).await, Value::Nil);
    assert_eq!(claimed(&old, one, Evidence::Old).await, Claim::Taken);
}

#[tokio::test]
async fn a_lease_that_its_writer_left_counts_until_another_takes_it() {
    let (server, link, keys) = fresh().await;
    let (old, new) = (gateway("a", 1), gateway("a", 2));
    let (one, two) = (Incarnation(10), Incarnation(20));
    let claimed = async |gateway: &PeerId, writer| {
        Claim::of(&run(&link, claim(&keys, gateway, writer, LEASE, Evidence::Old)).await)
    };
    assert_eq!(claimed(&new, one).await, Claim::Taken);
    run(&link, leave(&keys, &new, two)).await;
    assert_eq!(claimed(&new, two).await, Claim::Others, "left by another server");
    run(&link, leave(&keys, &new, one)).await;
    let Value::BulkString(left) = run(&link, lease(&keys, &new.service_id)).await else {
        panic!("no lease");
    };
    assert_eq!(entry::incarnation(std::str::from_utf8(&left).unwrap()), Some(new.incarnation));
    assert_ne!(server.ask("PTTL imago:imago:gateway:a").await.as_deref(), Some(":-1\r\n"));
    assert_eq!(claimed(&old, two).await, Claim::Others, "of an old life");
    assert_eq!(claimed(&new, two).await, Claim::Taken);
}

#[tokio::test]
async fn writing_a_session_removes_what_has_expired_or_is_rubbish_beside_it() {
    let (server, link, keys) = fresh().await;
    let gateway = gateway("a", 1);
    let (first, second) = (session(&gateway, 1, "ann", "phone"), session(&gateway, 2, "ann", ""));
    let key = keys.account(&first.app, &first.account);
    for field in ["a/1/8 1", "a/1/9 rubbish"] {
        server.ask(&format!("HSET {key} {field}")).await.unwrap();
    }
    run(&link, put(&keys, &first, LEASE)).await;
    run(&link, put(&keys, &second, LEASE)).await;
    let fields: Vec<(String, Vec<u8>)> =
        redis::from_redis_value(run(&link, read(&keys, &first.app, &first.account)).await).unwrap();
    let mut found: Vec<_> =
        fields.iter().filter_map(|(field, value)| entry::decode(field, value)).collect();
    found.sort_by_key(|session| session.id);
    assert_eq!((found, fields.len()), (vec![first.clone(), second.clone()], 2));
    for session in [&first, &second] {
        let Session { app, account, id, .. } = session;
        run(&link, remove(&keys, app, account, &gateway, *id)).await;
    }
    assert_eq!(server.ask("DBSIZE").await.as_deref(), Some(":0\r\n"), "the key is left");
}
