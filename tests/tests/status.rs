//! `imago status`: which monitor ports it takes, and what it says of servers that do not answer.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{process::Output, time::Duration};

use imago_tests::{HttpAnswer, HttpStub, World, eventually, program};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
};

async fn status(arguments: &[&str]) -> Output {
    let mut command = Command::new(program("imago"));
    command.arg("status").args(arguments).env_clear().output().await.unwrap()
}

async fn shown(arguments: &[&str]) -> String {
    let ran = status(arguments).await;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

async fn refusal(arguments: &[&str]) -> String {
    let ran = status(arguments).await;
    assert!(!ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    String::from_utf8(ran.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_port_is_given_with_or_without_a_scheme() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let at = logic.address("monitor");
    for url in [at.clone(), format!("http://{at}"), format!("http://{at}/"), format!("HTTP://{at}")]
    {
        let table = shown(&["--once", "--monitor", &url]).await;
        assert!(table.contains("logic-1"), "{url}: {table}");
    }
    // Named twice, it is shown once.
    let localhost = at.replace("127.0.0.1", "localhost");
    let table = shown(&["--once", "--monitor", &at, "--monitor", &localhost]).await;
    assert_eq!(table.matches("logic-1 ").count(), 1, "{table}");
}

#[tokio::test]
async fn what_is_no_monitor_port_is_refused_with_the_reason() {
    for (url, why) in [
        ("https://127.0.0.1:9000", "https is not supported"),
        ("127.0.0.1", "expected HOST:PORT"),
        ("::1:9000", "brackets"),
        ("ftp://127.0.0.1:9000", "expected HOST:PORT or http://HOST:PORT"),
        ("127.0.0.1:port", "port"),
        ("127.0.0.1:0", "port"),
        ("a b:9000", "host name"),
        ("\"h\":9000", "host name"),
        ("http://h\u{7}:9000", "host name"),
        ("", "expected HOST:PORT"),
    ] {
        let error = refusal(&["--once", "--monitor", url]).await;
        assert!(error.contains(why) && error.contains("--monitor"), "{url}: {error}");
        assert!(!error.contains('\u{7}'), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_answer_are_named_with_id_role_url_and_reason() {
    let world = World::gossip().await;
    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let logic = world.logic("logic-1", &[]).await;
    let mut dead = world.gateway("gateway-1", &[]).await;
    let mut frozen = world.gateway("gateway-2", &[]).await;
    for server in [&logic, &dead, &frozen] {
        server.ready().await;
    }
    let (dead_at, frozen_at) = (dead.address("monitor"), frozen.address("monitor"));
    dead.kill9().await;
    frozen.freeze();
    let table = shown(&["--once", "--monitor", &logic.address("monitor")]).await;
    for part in [
        format!("gateway gateway-1 at http://{dead_at} does not answer: connection refused"),
        format!("gateway gateway-2 at http://{frozen_at} does not answer: timed out after 2s"),
    ] {
        assert!(table.to_lowercase().contains(&part), "{part:?} is not in\n{table}");
    }
    frozen.thaw();
    frozen.kill9().await;

    let silent_at = silent.local_addr().unwrap().to_string();
    let error = refusal(&["--once", "--monitor", &silent_at]).await;
    assert!(error.contains(&silent_at) && error.contains("timed out after 2s"), "{error}");
    let error = refusal(&["--once", "--monitor", "nohost.invalid:9000"]).await;
    assert!(error.contains("nohost.invalid:9000"), "{error}");
    assert!(error.contains("lookup") || error.contains("timed out"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_status_than_200_is_told_with_its_reason() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let stub = HttpStub::start(|_| async {
        let body = r#"{"error":"expected another Host: name others in monitor.hosts"}"#.to_owned();
        HttpAnswer { status: 421, index: 0, body }
    })
    .await;
    let error = refusal(&["--once", "--monitor", &stub.url()]).await;
    for part in [&stub.url(), "answers with status 421", "name others in monitor.hosts"] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    // A port that speaks something else.
    let link = logic.address("link");
    let error = refusal(&["--once", "--monitor", &link]).await;
    assert!(error.contains(&format!("http://{link} does not answer: ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_the_monitor_ports_do_not_hide_a_cluster() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[("monitor.connections", "64")]).await;
    let gateway = world.gateway("gateway-1", &[("monitor.connections", "64")]).await;
    logic.ready().await;
    gateway.ready().await;
    let mut idle = Vec::new();
    for server in [&logic, &gateway] {
        for _ in 0..65 {
            idle.push(TcpStream::connect(server.address("monitor")).await.unwrap());
        }
    }
    let table = shown(&["--once", "--monitor", &logic.address("monitor")]).await;
    for part in ["logic-1", "gateway-1", "1/1"] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
    assert!(!table.contains("does not answer"), "{table}");
    eventually(Duration::from_secs(10), "room was made for the question", || async {
        let evicted = logic.monitor().metric("imago_monitor_evicted_total").await.ok()?;
        (evicted > 0.0).then_some(())
    })
    .await;
    drop(idle);
}
