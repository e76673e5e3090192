//! `imago chat` and `imago dev` when something is not as it should be: lines that are none, a terminal that
//! closes, a signal.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use imago_tests::{RawClient, Terminal, program};
use rustix::process::{Pid, Signal, kill_process};

/// A running `imago dev`, and the processes of its servers.
fn dev(folder: &Path) -> (Terminal, Vec<u64>, serde_json::Value) {
    let dev = Terminal::run(folder, &["dev", "--gateways", "1", "--logics", "1"]);
    dev.shows("Ctrl-C ends everything");
    let text = std::fs::read_to_string(folder.join(".imago/dev/dev.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let members = state["members"].as_array().unwrap();
    let pids = members.iter().map(|member| member["pid"].as_u64().unwrap()).collect();
    (dev, pids, state)
}

fn all_end(pids: &[u64]) {
    let is_running = |pid: &u64| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        line.is_ok_and(|line| line.contains("imago"))
    };
    let until = Instant::now() + Duration::from_secs(40);
    while pids.iter().any(is_running) {
        assert!(Instant::now() < until, "servers are left: {pids:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn signal(terminal: &Terminal, signal: Signal) {
    let pid = Pid::from_raw(terminal.pid().unwrap().cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Runs `imago chat` with this on its standard input.
fn piped(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program("imago"));
    command.arg("chat").args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_bad_line_does_not_end_the_reading_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (mut dev, pids, _) = dev(folder.path());
    let (long, longer) = ("x".repeat(5001), "y".repeat(2_000_000));
    let lines: [&[u8]; 12] = [
        b"first",
        b"not \xff\xfe a text",
        b"a\0b",
        b"/dance",
        long.as_bytes(),
        longer.as_bytes(),
        b"   \t ",
        b"\x1b[2J\x1b]0;title\x07 cleared",
        b"/history none",
        b"@ nobody",
        b"\r",
        b"last",
    ];
    let said = text(&piped(folder.path(), &["--as", "ann", "--to", "bob"], &lines.join(&b'\n')));
    for answer in [
        "expected UTF-8, byte 5 is not",
        "unknown command /dance",
        "not sent: expected at most 5000 characters, got 5001",
        "a line is dropped: expected at most 65536 bytes",
        "expected /history N",
        "expected @NAME TEXT",
        "✓ to bob (number 4)",
        "-- goodbye",
    ] {
        assert!(said.contains(answer), "{answer:?} is not in\n{said}");
    }
    assert!(!said.contains("number 5"), "{said}");
    let history = text(&piped(folder.path(), &["--as", "bob", "--to", "ann"], b"/history 9\n"));
    for line in
        ["ann: first", "ann: a\u{fffd}b", "ann: \u{fffd}[2J\u{fffd}]0;title\u{fffd} cleared"]
    {
        assert!(history.contains(line), "{line:?} is not in\n{history}");
    }
    assert!(history.contains("ann: last"), "{history}");
    for shown in [&said, &history] {
        assert!(!shown.contains(['\x1b', '\0', '\x07', '\r']), "{shown:?}");
    }

    let mut carl = Terminal::run(folder.path(), &["chat", "--as", "carl", "--to", "bob"]);
    carl.shows("carl to bob> ");
    carl.types_bytes(b"half \xff");
    carl.shows("what was typed is dropped: expected UTF-8");
    carl.types("whole\r");
    carl.shows("✓ to bob (number 1)");
    carl.types("   \r/dance\r");
    carl.shows("unknown command /dance");
    carl.types("/history\r");
    let screen = carl.shows("-- the last 1 with bob");
    assert!(!screen.contains("number 2"), "{screen}");
    carl.types("/quit\r");
    assert_eq!(carl.ends(), 0);
    dev.types("\x03");
    assert_eq!(dev.ends(), 0);
    all_end(&pids);
}

#[test]
fn a_chat_that_is_ended_says_goodbye_and_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut dev, pids, _) = dev(folder.path());
    let mut other = Terminal::run(folder.path(), &["status", "--once"]);
    other.ends();
    let modes = other.modes();
    for end in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut chat = Terminal::run(folder.path(), &["chat", "--as", "ann", "--to", "bob"]);
        chat.shows("ann to bob> ");
        chat.types("half a line");
        chat.shows("half a line");
        assert_ne!(chat.modes(), modes, "lines are edited");
        signal(&chat, end);
        assert_eq!(chat.ends(), 0, "{end:?}");
        chat.shows("-- goodbye");
        assert_eq!(chat.modes(), modes, "{end:?}");
    }
    // The cluster goes while a client chats: so does the chat, some day; the terminal is given back too.
    let mut chat = Terminal::run(folder.path(), &["chat", "--as", "ann"]);
    chat.shows("ann> ");
    dev.types("\x03");
    assert_eq!(dev.ends(), 0);
    all_end(&pids);
    signal(&chat, Signal::TERM);
    chat.ends();
    assert_eq!(chat.modes(), modes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_terminal_closes_drains_and_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (mut dev, pids, state) = dev(folder.path());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, state["jwt_secret"].as_str().unwrap()).unwrap();
    let made = Command::new(program("imago"))
        .args(["token", "--account", "ann", "--secret-file", secret.to_str().unwrap()])
        .output()
        .unwrap();
    let token = text(&made);
    let ws = state["members"][0]["ws"].as_str().unwrap().trim_start_matches("ws://").to_owned();
    let mut client = RawClient::connect_to(&ws).await;
    client.send_login(token.trim()).await;
    assert_eq!(client.packet().await.header.status, 0);
    dev.close();
    assert_eq!(client.closed().await, Some(1001), "the client is sent away");
    assert_eq!(dev.ends(), 0);
    all_end(&pids);
    assert!(!folder.path().join(".imago/dev/dev.json").exists());
    for server in ["gateway-1", "logic-1"] {
        let log = std::fs::read_to_string(folder.path().join(format!(".imago/dev/{server}.log")));
        assert!(log.unwrap().contains("leaving"), "{server}");
    }
}

#[test]
fn a_cluster_that_still_starts_ends_with_all_of_its_servers() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Terminal::run(folder.path(), &["dev", "--gateways", "2", "--logics", "2"]);
    dev.shows("starting the servers");
    let children = format!("/proc/{0}/task/{0}/children", dev.pid().unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    let pids: Vec<u64> = loop {
        let text = std::fs::read_to_string(&children).unwrap();
        let pids: Vec<u64> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        if !pids.is_empty() {
            break pids;
        }
        assert!(Instant::now() < until, "no server was started");
        std::thread::park_timeout(Duration::from_millis(1));
    };
    signal(&dev, Signal::TERM);
    assert_eq!(dev.ends(), 0);
    all_end(&pids);
}
