//! Programs raise their limit of open files as far as they may, and say when that is not enough.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{os::unix::fs::PermissionsExt, path::Path, process::Stdio, time::Duration};

use imago_tests::{RawClient, Server, World, eventually, program};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::Command,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(40);

/// A program that lowers its limits, and then becomes `name`.
fn limited(folder: &Path, name: &str, limit: &str) -> String {
    let path = folder.join(format!("{name}{}", limit.replace(' ', "")));
    let text = format!("#!/bin/sh\nulimit {limit} && exec '{}' \"$@\"\n", program(name).display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.display().to_string()
}

async fn connected(address: &str, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    held
}

/// Fails unless a server says this much at WARN.
async fn warns(server: &Server, parts: &[&str]) {
    eventually(PATIENCE, "a warning", || async {
        let log = server.log();
        let mut warnings = log.lines().filter(|line| line.contains(" WARN "));
        warnings.any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_a_low_soft_limit_get_in() {
    let world = World::gossip().await;
    let path = limited(world.folder(), "gateway", "-S -n 256");
    let gateway = world.gateway_by(&path, "gateway-1", &[]).await;
    let logic = world.logic("logic-1", &[]).await;
    gateway.ready().await;
    let mut clients = Vec::new();
    for number in 0..300 {
        clients.push(RawClient::login(&gateway, &world.token(&format!("client-{number}"))).await);
    }
    let open = gateway.monitor().metric("process_open_fds").await.unwrap();
    assert!(open > 300.0, "{open} files are open");
    assert!(gateway.monitor().metric("process_max_fds").await.unwrap() > 256.0);
    drop(logic);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logic_server_answers_beside_more_connections_than_a_low_soft_limit() {
    let world = World::gossip().await;
    let path = limited(world.folder(), "logic", "-S -n 100");
    let logic = world.logic_by(&path, "logic-1", &[("link.dial_timeout", "1m")]).await;
    let held = connected(&logic.address("link"), 150).await;
    eventually(PATIENCE, "all are in their handshake", || async {
        let open = logic.monitor().metric("imago_link_handshakes_open").await.ok()?;
        (open >= 150.0).then_some(())
    })
    .await;
    let gateway = world.gateway("gateway-1", &[]).await;
    gateway.ready().await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_too_low_is_warned_of() {
    let world = World::gossip().await;
    let path = limited(world.folder(), "gateway", "-n 400");
    let gateway = world.gateway_by(&path, "gateway-1", &[("limits.connections", "500")]).await;
    warns(&gateway, &["limits.connections", "configured=500", "open_files=400"]).await;
    let path = limited(world.folder(), "logic", "-n 300");
    let logic = world.logic_by(&path, "logic-1", &[]).await;
    warns(&logic, &["link.handshakes", "monitor.connections", "open_files=300"]).await;
    // Low as it is, they work.
    gateway.ready().await;
    RawClient::login(&gateway, &world.token("alice")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_high_enough_is_not_warned_of() {
    let world = World::gossip().await;
    let path = limited(world.folder(), "gateway", "-n 2000");
    let gateway = world.gateway_by(&path, "gateway-1", &[("limits.connections", "500")]).await;
    let path = limited(world.folder(), "logic", "-n 2000");
    let logic = world.logic_by(&path, "logic-1", &[]).await;
    gateway.ready().await;
    logic.ready().await;
    for server in [&gateway, &logic] {
        let log = server.log();
        assert!(log.contains("open_files=2000"), "{log}");
        assert!(!log.contains("the limit of open files"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_under_a_low_soft_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Command::new(limited(folder.path(), "imago", "-S -n 16"));
    dev.args(["dev", "--gateways", "2", "--logics", "2"]).current_dir(folder.path());
    let mut dev = dev.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let said = async {
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if line.contains("Ctrl-C ends everything") {
                return said;
            }
        }
        panic!("it ended:\n{said}");
    };
    let said = timeout(PATIENCE * 2, said).await.unwrap();
    let version = format!("imago {}: 2 gateways, 2 logic servers", env!("CARGO_PKG_VERSION"));
    for part in [&version, "registry:", "store: sqlite://", "directory:", "open files"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}
