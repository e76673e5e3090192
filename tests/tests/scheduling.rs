//! How the kernel schedules the threads of servers.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{collections::BTreeSet, fs, path::Path, process::Stdio, time::Duration};

use imago_tests::{eventually, program};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

const NORMAL: u32 = 0;
const BATCH: u32 = 3;

/// Starts a server alone; it runs once it says where it listens.
async fn start(name: &str, arguments: &[&str], folder: &Path) -> Child {
    let store = format!("sqlite://{}", folder.join("imago.db").display());
    let (ports, key, value) = match name {
        "logic" => (&["link"][..], "IMAGO_STORE__URL", &*store),
        _ => (&["ws", "tcp"][..], "IMAGO_AUTH__JWT_SECRET", "a secret that signs all tokens"),
    };
    let mut command = Command::new(program(name));
    command.env_clear().env("IMAGO_CLUSTER__SECRET", "a secret of the cluster").env(key, value);
    for port in ports {
        command.arg("--set").arg(format!("listen.{port}=127.0.0.1:0"));
    }
    command.args(["--set", "naming.url=gossip://127.0.0.1:0"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn().unwrap();
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    let read = timeout(Duration::from_secs(30), stdout.read_line(&mut line)).await;
    assert!(matches!(read, Ok(Ok(1..))), "{name} did not start");
    server
}

/// Returns the policies of the threads whose names begin with `name` (proc_pid_stat(5), field 41).
fn policies(server: &Child, name: &str) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id().unwrap())).unwrap();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let policy = |stat: String| {
        let (start, fields) = stat.rsplit_once(") ")?;
        let is_meant = start.split_once('(')?.1.starts_with(name);
        is_meant.then(|| fields.split(' ').nth(41 - 3).unwrap().parse().unwrap())
    };
    stats.filter_map(policy).collect()
}

#[tokio::test]
async fn with_batch_scheduling_only_the_thread_that_commits_interrupts_others() {
    let folder = tempfile::tempdir().unwrap();
    let batch = ["--scheduling", "batch"];
    let logic = start("logic", &batch, folder.path()).await;
    assert_eq!(policies(&logic, "tokio-"), [BATCH].into());
    // The thread starts with the policy of the others, and may just have started.
    eventually(Duration::from_secs(10), "the writing thread has the normal policy", || async {
        (policies(&logic, "store-writer") == [NORMAL].into()).then_some(())
    })
    .await;
    let gateway = start("gateway", &batch, folder.path()).await;
    assert_eq!(policies(&gateway, "tokio-"), [BATCH].into());
}

#[tokio::test]
async fn threads_have_the_normal_policy_unless_another_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["logic", "gateway"] {
        for arguments in [&[][..], &["--scheduling", "normal"]] {
            let server = start(name, arguments, folder.path()).await;
            assert_eq!(policies(&server, ""), [NORMAL].into(), "{name} {arguments:?}");
        }
    }
}
