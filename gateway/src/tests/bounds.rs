//! Clients get in beside connections that never log in, also where there is no place for any more.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::support::{Client, PATIENCE, World, eventually};

#[tokio::test]
async fn a_full_house_of_silent_connections_makes_room_for_a_client() {
    let world = World::start(&[("limits.connections", "2"), ("auth.login_timeout", "5m")]).await;
    let mut silent = [Client::ws(world.ws).await, Client::tcp(world.tcp).await];
    eventually("both are there", || world.entrance.unauthenticated.len() == 2).await;
    world.client("alice").await;
    silent[0].expect_close(1013).await;
    eventually("the other keeps its place", || world.entrance.unauthenticated.len() == 1).await;
}

#[tokio::test]
async fn a_connection_that_is_no_websocket_yet_is_told_in_the_words_of_http() {
    let world = World::start(&[("auth.login_timeout", "5m")]).await;
    let mut half = TcpStream::connect(world.ws).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    eventually("it is there", || world.entrance.unauthenticated.len() == 1).await;
    assert!(world.entrance.unauthenticated.evict());
    let mut answer = String::new();
    timeout(PATIENCE, half.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("not logged in"), "{answer}");
}
