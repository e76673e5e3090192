//! `imago dev`, `chat`, `token` and `status`, driven through a terminal as a person would.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use imago_tests::Terminal;

/// Processes of the servers that `imago dev` has started.
fn servers(folder: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(folder.join(".imago/dev/dev.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let members = state["members"].as_array().unwrap();
    members.iter().map(|member| member["pid"].as_u64().unwrap()).collect()
}

fn is_running(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("imago"))
}

fn all_end(pids: &[u64]) {
    let until = Instant::now() + Duration::from_secs(40);
    while pids.iter().any(|pid| is_running(*pid)) {
        assert!(Instant::now() < until, "servers are left: {pids:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn dev_says_at_once_why_a_server_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, url, why) in [
        ("--store", "nonsense://", "store.url"),
        ("--directory", "nonsense://", "directory.url"),
        ("--naming", "nonsense://x", "unknown scheme nonsense"),
        ("--store", "sqlite:///dev/null/imago.db", "/dev/null/imago.db"),
    ] {
        let begun = Instant::now();
        let mut dev = Terminal::run(folder.path(), &["dev", flag, url]);
        dev.shows("did not start, see");
        let screen = dev.shows(why);
        assert!(screen.contains(": error: "), "{screen}");
        assert_eq!(dev.ends(), 1, "{flag} {url}");
        // It would wait for 20 s for a server that says nothing.
        assert!(begun.elapsed() < Duration::from_secs(15), "{flag} {url}:\n{screen}");
    }
}

#[test]
fn two_people_start_a_cluster_and_chat() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Terminal::run(folder.path(), &["dev"]);
    let welcome = dev.shows("Ctrl-C ends everything");
    for part in [
        "gateway-1",
        "gateway-2",
        "logic-1",
        "logic-2",
        "token of alice: ey",
        "token of bob: ey",
        "chat --as alice",
    ] {
        assert!(welcome.contains(part), "{part:?} is not in\n{welcome}");
    }
    let pids = servers(folder.path());
    assert_eq!(pids.len(), 4);

    let mut second = Terminal::run(folder.path(), &["dev"]);
    second.shows("another `imago dev` runs");
    assert_eq!(second.ends(), 1);

    let mut alice = Terminal::run(folder.path(), &["chat", "--as", "alice", "--to", "bob"]);
    let mut bob = Terminal::run(folder.path(), &["chat", "--as", "bob"]);
    alice.shows("alice to bob> ");
    bob.shows("bob> ");
    alice.types("hello bob\r");
    bob.shows("alice: hello bob");
    alice.shows("✓ to bob");
    bob.types("what?\r");
    bob.shows("to whom?");
    bob.types("/to alice\r");
    bob.shows("bob to alice>");
    bob.types("hi alice\r");
    alice.shows("bob: hi alice");
    bob.types("@alice and again\r");
    alice.shows("bob: and again");
    bob.types("/help\r");
    bob.shows("/quit");
    bob.types("/quit\r");
    assert_eq!(bob.ends(), 0);
    // What comes while bob is away is there when he is back.
    alice.types("see you later\r");
    alice.shows("(number 4)");
    let bob = Terminal::run(folder.path(), &["chat", "--as", "bob"]);
    bob.shows("alice: see you later");

    let mut status = Terminal::run(folder.path(), &["status"]);
    let table = status.shows("Ctrl-C ends");
    for part in ["gateway-1", "logic-2", "adult", "SESSIONS"] {
        assert!(table.contains(part), "{part:?} is not in\n{table}");
    }
    status.types("\x03");
    status.ends();

    dev.types("\x03");
    assert_eq!(dev.ends(), 0);
    all_end(&pids);
    alice.shows("-- reconnecting");
}

/// The id that the screen shows in parentheses behind a text.
fn id_behind(screen: &str, text: &str) -> String {
    let (_, rest) = screen.split_once(text).unwrap();
    rest.trim_start_matches(" (").split(')').next().unwrap().to_owned()
}

#[test]
fn people_talk_in_groups() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Terminal::run(folder.path(), &["dev", "--gateways", "2", "--logics", "2"]);
    dev.shows("Ctrl-C ends everything");
    let pids = servers(folder.path());
    let chat = |account: &str| {
        let terminal = Terminal::run(folder.path(), &["chat", "--as", account]);
        terminal.shows(&format!("online as {account}"));
        terminal
    };
    let (mut alice, mut bob) = (chat("alice"), chat("bob"));
    alice.types("/groups\r");
    alice.shows("you are in no group");
    alice.types("/group create team bob carol\r");
    let team = id_behind(&alice.shows("✓ made the group team"), "✓ made the group team");
    bob.shows("-- you are in the group team");
    alice.types("@#team hello all\r");
    alice.shows("✓ to #team (number 1)");
    bob.shows("[team] alice: hello all");
    bob.types("/to #team\r");
    bob.shows("bob to #team> ");
    bob.types("hi\r");
    alice.shows("[team] bob: hi");
    bob.types("/who\r");
    bob.shows(&format!("in team ({team}): alice (owner), bob, carol"));
    bob.types("/history 2\r");
    bob.shows("-- the last 2 with #team");
    bob.shows("[team] you: hi");

    let mut carol = chat("carol");
    carol.shows("[team] bob: hi");
    assert!(carol.shows("[team] bob: hi").contains("[team] alice: hello all"));
    carol.types("/groups\r");
    carol.shows(&format!("team ({team}): 3 in it, "));
    carol.types(&format!("@#{team} me too\r"));
    bob.shows("[team] carol: me too");

    alice.types("/group open plaza\r");
    let plaza = id_behind(&alice.shows("✓ made the group plaza"), "✓ made the group plaza");
    let mut dave = chat("dave");
    dave.types(&format!("/join {team}\r"));
    dave.shows(&format!("✗ /join {team}: refused with status 105"));
    dave.types(&format!("/join {plaza}\r"));
    dave.shows(&format!("✓ dave is in plaza ({plaza}) now"));
    alice.shows("-- dave is in the group plaza");
    dave.types("@#plaza anybody?\r");
    alice.shows("[plaza] dave: anybody?");
    alice.types("/group add plaza bob\r");
    bob.shows("-- you are in the group plaza");
    dave.types("/leave plaza\r");
    dave.shows("✓ left plaza");
    alice.shows("-- dave is no longer in the group plaza");
    alice.types("@#plaza dave?\r");
    bob.shows("[plaza] alice: dave?");
    dave.types("/groups\r");
    dave.shows("you are in no group");
    dave.types("/help\r");
    dave.shows("marks: …");
    dave.types("/quit\r");
    assert_eq!(dave.ends(), 0);

    dev.types("\x03");
    assert_eq!(dev.ends(), 0);
    all_end(&pids);
}

#[test]
fn servers_end_with_whoever_started_them_and_a_dead_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Terminal::run(folder.path(), &["dev", "--gateways", "1", "--logics", "2"]);
    dev.shows("Ctrl-C ends everything");
    let pids = servers(folder.path());
    assert_eq!(pids.len(), 3);
    let status = Command::new("kill").args(["-9", &pids[1].to_string()]).status().unwrap();
    assert!(status.success());
    dev.shows("has ended (signal: 9");
    // Killed at once, it cannot end anything by itself.
    dev.kill();
    dev.ends();
    all_end(&pids);
}

#[test]
fn without_a_cluster_people_are_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["chat", "--as", "alice"][..], &["status"], &["token", "--account", "alice"]]
    {
        let mut terminal = Terminal::run(folder.path(), arguments);
        terminal.shows("start one with `imago dev`");
        assert_eq!(terminal.ends(), 1);
    }
}

#[test]
fn a_token_is_made_from_the_secret_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "a secret of the tokens\n").unwrap();
    let arguments = ["token", "--account", "alice", "--secret-file", "secret", "--ttl", "1h"];
    let mut terminal = Terminal::run(folder.path(), &arguments);
    assert_eq!(terminal.ends(), 0);
    let token = terminal.shows("ey");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}
