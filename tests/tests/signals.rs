//! How programs end: a signal, a terminal that closes, standard streams that nothing reads.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use imago_tests::{RawClient, Server, World, eventually, program};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

/// More than a drain takes, less than what ends a program that waits for a database.
const SOON: Duration = Duration::from_secs(10);

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

async fn code(child: &mut Child) -> Option<i32> {
    timeout(SOON, child.wait()).await.expect("it ends in time").unwrap().code()
}

async fn cluster(world: &World) -> (Server, Server) {
    let logic = world.logic("logic-1", &[]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    logic.ready().await;
    gateway.ready().await;
    (logic, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_terminal_closes_drains() {
    let world = World::gossip().await;
    let (mut logic, mut gateway) = cluster(&world).await;
    let mut client = RawClient::login(&gateway, &world.token("ann")).await;
    // A shell sends one to its jobs, and the system another one.
    gateway.signal(Signal::HUP);
    gateway.signal(Signal::HUP);
    assert_eq!(client.closed().await, Some(1001), "the client is sent away");
    assert_eq!(gateway.ended().await, Some(0));
    logic.signal(Signal::HUP);
    assert_eq!(logic.ended().await, Some(0));
    assert!(logic.log().contains("leaving"), "{}", logic.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_to_end_ends_at_once_and_a_hang_up_is_none() {
    let world = World::gossip().await;
    let (mut logic, gateway) = cluster(&world).await;
    // It does not say that it needs nothing more, so that the drain takes its time.
    gateway.freeze();
    logic.signal(Signal::TERM);
    let what = "the logic server leaves";
    eventually(SOON, what, || async { logic.log().contains("leaving").then_some(()) }).await;
    for _ in 0..3 {
        logic.signal(Signal::HUP);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    logic.signal(Signal::INT);
    assert_eq!(logic.ended().await, Some(130));
}

/// A server that a shell has started, with some words before it.
async fn by_shell(world: &World, before: &str, streams: &str) -> (Child, String) {
    let script = format!(
        "{before} \"$0\" gateway --set service.id=gateway-9 --set naming.url='{}' \
         --set listen.ws=127.0.0.1:0 --set listen.tcp=127.0.0.1:0 --set log.level=trace {streams}",
        world.naming()
    );
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program("imago")).kill_on_drop(true);
    command.env("IMAGO_CLUSTER__SECRET", "cluster-secret-of-this-test-world");
    command.env("IMAGO_AUTH__JWT_SECRET", "jwt-secret-of-this-test-world");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    timeout(SOON, stdout.read_line(&mut line)).await.unwrap().unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, said["monitor"].as_str().unwrap().replace("0.0.0.0", "127.0.0.1"))
}

/// Processor time that a process has used.
fn cpu(child: &Child) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id().unwrap())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_up_that_is_ignored_at_the_start_stays_so() {
    let world = World::gossip().await;
    let (mut child, monitor) = by_shell(&world, "trap '' HUP; exec", "").await;
    signal(&child, Signal::HUP);
    let monitor = imago_tests::Monitor::new(&monitor);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(monitor.peers().await.unwrap().own.state, "young");
    }
    signal(&child, Signal::TERM);
    assert_eq!(code(&mut child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_outlives_the_readers_of_its_streams() {
    let world = World::gossip().await;
    let (mut child, monitor) = by_shell(&world, "exec", "").await;
    // By now nothing reads standard output any more, and from here on nothing standard error.
    drop(child.stderr.take());
    let monitor = imago_tests::Monitor::new(&monitor);
    let before = cpu(&child);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        assert_eq!(monitor.peers().await.unwrap().own.state, "young");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let used = cpu(&child) - before;
    assert!(used < Duration::from_secs(1), "{used:?} of processor time");
    signal(&child, Signal::TERM);
    assert_eq!(code(&mut child).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_a_reader_is_no_panic() {
    let script = "\"$0\" gateway --set nonsense=1 2>&1 >/dev/null | true; exec \"$0\" gateway \
                  --set nonsense=1 2>&-";
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(program("imago")).stdin(Stdio::null());
    let ran = timeout(SOON, command.output()).await.unwrap().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    // A pipe whose reader is gone before anything is said.
    let mut command = Command::new(program("imago"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.args(["gateway", "--set", "nonsense=1"]).stdin(Stdio::null()).stderr(writer);
    assert_eq!(timeout(SOON, command.status()).await.unwrap().unwrap().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_still_starts_ends_at_the_first_signal() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let world = World::gossip().await;
    let mut command = Command::new(program("logic"));
    command.args(["--set", "service.id=logic-1", "--set", "listen.link=127.0.0.1:0"]);
    command.arg("--set").arg(format!("naming.url={}", world.naming()));
    command.env("IMAGO_STORE__URL", format!("postgres://imago@127.0.0.1:{port}/imago"));
    command.env("IMAGO_CLUSTER__SECRET", "cluster-secret-of-this-test-world");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let _connection = timeout(SOON, silent.accept()).await.expect("it asks for the store").unwrap();
    let started = Instant::now();
    signal(&child, Signal::TERM);
    assert_eq!(code(&mut child).await, Some(0));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}
