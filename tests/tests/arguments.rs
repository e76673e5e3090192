//! No argument and no value of a setting makes a program panic: each flag and each key is given what
//! nobody means, as the programs themselves list them.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt,
    path::Path,
    process::Command,
    time::Duration,
};

use imago_tests::{RawClient, Trial, World, program, setting_keys};

/// How long a program may run on, to whom nothing is wrong.
const LOOK: Duration = Duration::from_millis(700);

/// A flag of a command, as `--help` lists it.
#[derive(Clone, Debug)]
struct Flag {
    name: String,
    takes_value: bool,
    /// The default, or an empty text.
    default: String,
}

/// A command with its flags and those that it requires.
#[derive(Clone, Debug)]
struct Listed {
    words: Vec<String>,
    flags: Vec<Flag>,
    required: Vec<String>,
}

fn help(words: &[String]) -> String {
    let mut command = Command::new(program(&words[0]));
    let shown = command.args(&words[1..]).arg("--help").env_clear().output().unwrap();
    assert!(shown.status.success(), "{words:?} --help");
    String::from_utf8(shown.stdout).unwrap()
}

/// A command and all that are below it.
fn list(words: Vec<String>, into: &mut Vec<Listed>) {
    let text = help(&words);
    let mut listed = Listed { words, flags: Vec::new(), required: Vec::new() };
    let mut part = "";
    for line in text.lines() {
        if let Some(usage) = line.strip_prefix("Usage: ") {
            let optional = |word: &&str| !word.contains('[') && word.starts_with("--");
            listed.required.extend(usage.split(' ').filter(optional).map(str::to_owned));
        } else if !line.starts_with(' ') {
            part = line;
        } else if part == "Commands:" {
            let name = line.split_whitespace().next().unwrap();
            if name != "help" {
                list([&listed.words[..], &[name.to_owned()]].concat(), into);
            }
        } else if let Some(at) = line.find("--").filter(|_| part == "Options:") {
            let (name, rest) = line[at..].split_once(' ').unwrap_or((&line[at..], ""));
            let default = rest.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
            listed.flags.push(Flag {
                name: name.to_owned(),
                takes_value: rest.starts_with('<'),
                default: default.map_or_else(String::new, |(text, _)| text.to_owned()),
            });
        }
    }
    into.push(listed);
}

/// All commands of all programs.
fn commands() -> Vec<Listed> {
    let mut all = Vec::new();
    for name in ["gateway", "logic", "imago"] {
        list(vec![name.to_owned()], &mut all);
    }
    assert!(all.len() > 15 && all.iter().any(|listed| listed.words.ends_with(&["talk".into()])));
    all
}

impl Flag {
    /// What nobody means by it; what comes first fits the kind of its default.
    fn extremes(&self) -> Vec<OsString> {
        let begins_with_digit = self.default.starts_with(|c: char| c.is_ascii_digit());
        let fitting: &[&str] = if !begins_with_digit {
            &[
                "18446744073709551615",
                "0",
                "[",
                "a=b=c",
                "log.level=[{a=\"(\"}]=trace",
                "x\n\u{1b}[2J",
            ]
        } else if self.default.ends_with(|c: char| c.is_ascii_alphabetic()) {
            &[
                "0s",
                "1ns",
                "18446744073709551615s",
                "18446744073709551615years",
                "584942417355y",
                "-1s",
            ]
        } else {
            &["0", "1", "-1", "4294967296", "18446744073709551615", "1e308", "1e-308", "NaN"]
        };
        let mut values: Vec<OsString> = fitting.iter().map(OsString::from).collect();
        values.push(OsString::new());
        if !begins_with_digit {
            values.push(OsString::from_vec(b"\xff\xfe".to_vec()));
            values.push("x".repeat(100_000).into());
        }
        values
    }
}

/// What lets a command come far, and to an end: a cluster, little to do, nothing that stays.
fn small(listed: &Listed, cluster: &[(&str, String)]) -> Vec<(String, String)> {
    let mut flags = cluster.to_vec();
    let words: Vec<&str> = listed.words.iter().map(String::as_str).collect();
    match words[..] {
        ["imago", "bench", "limit" | "overload" | "promote", ..] => {
            flags.retain(|(name, _)| *name != "--gateway");
            flags.push(("--gateway", "ws://127.0.0.1:1".to_owned()));
        }
        // Its servers end at once, and so does it.
        ["imago", "dev"] => flags.push(("--naming", "nonsense://x".to_owned())),
        _ => {}
    }
    let has = |name: &str| listed.flags.iter().any(|flag| flag.name == name);
    let mut all: Vec<(String, String)> = flags
        .into_iter()
        .filter(|(name, _)| has(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    for name in &listed.required {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.clone(), "alice".to_owned()));
        }
    }
    all
}

/// Runs a command with a value of a flag.
fn run(listed: &Listed, flag: &Flag, value: Option<&OsStr>, cluster: &[(&str, String)]) -> Trial {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program(&listed.words[0]));
    command.env_clear().current_dir(folder.path()).args(&listed.words[1..]);
    for (name, text) in small(listed, cluster).into_iter().filter(|(name, _)| *name != flag.name) {
        command.arg(format!("{name}={text}"));
    }
    if listed.words.iter().any(|word| word == "gateway" || word == "logic") {
        command.env("IMAGO_CLUSTER__SECRET", "a secret of the cluster").arg("--check");
    }
    let mut given = OsString::from(&flag.name);
    if let Some(value) = value {
        given.push("=");
        given.push(value);
    }
    Trial::run(command.arg(given), LOOK)
}

/// No program panics: a trial fails where one does.
#[tokio::test(flavor = "multi_thread")]
async fn no_argument_makes_a_program_panic() {
    let world = World::gossip().await;
    let (logic, gateway) =
        (world.logic("logic-1", &[]).await, world.gateway("gateway-1", &[]).await);
    logic.ready().await;
    gateway.ready().await;
    let cluster = [
        ("--gateway", gateway.ws()),
        ("--monitor", format!("http://{}", gateway.address("monitor"))),
        ("--secret-file", world.secret_file().display().to_string()),
        ("--pid", std::process::id().to_string()),
        ("--clients", "2".to_owned()),
        ("--members", "2".to_owned()),
        ("--receivers", "1".to_owned()),
        ("--connections", "2".to_owned()),
        ("--duration", "100ms".to_owned()),
        ("--warm-up", "0s".to_owned()),
        ("--settle", "0s".to_owned()),
        ("--gateways", "1".to_owned()),
        ("--logics", "1".to_owned()),
        ("--as", "alice".to_owned()),
    ];
    let (mut cases, mut seen) = (Vec::new(), HashSet::new());
    for listed in commands() {
        // What the scenarios of `bench` share is the same code.
        let group = listed.words.iter().take(2).cloned().collect::<Vec<_>>();
        for flag in listed.flags.clone() {
            let is_number = flag.default.starts_with(|c: char| c.is_ascii_digit());
            if !is_number && !seen.insert((group.clone(), flag.name.clone())) {
                continue;
            }
            let values = if flag.takes_value { flag.extremes() } else { Vec::new() };
            if !flag.takes_value {
                cases.push((listed.clone(), flag.clone(), None));
            }
            cases.extend(
                values.into_iter().map(|value| (listed.clone(), flag.clone(), Some(value))),
            );
        }
    }
    tokio::task::block_in_place(|| {
        Trial::each(cases, |(listed, flag, value)| {
            let trial = run(&listed, &flag, value.as_deref(), &cluster);
            // Codes of a success, an error, and of arguments that cannot be.
            let is_told = matches!(trial.code, Some(0..=2) | None);
            assert!(is_told, "{listed:?} {flag:?} {value:?}:\n{}", trial.shown);
        });
    });
}

#[test]
fn a_time_beyond_all_bounds_is_refused_with_its_flag_and_its_limit() {
    for (arguments, why) in [
        (&["token", "-a", "x", "--ttl", "18446744073709551615s"][..], "from 1s to 100years"),
        (&["bench", "talk", "--warm-up", "18446744073709551615s"], "from 0s to 1h"),
        (&["bench", "storm", "--deadline", "584942417355y"], "from 100ms to 1h"),
    ] {
        let mut command = Command::new(program("imago"));
        let trial = Trial::run(command.args(arguments).env_clear(), LOOK);
        assert_eq!(trial.code, Some(2));
        let flag = arguments[arguments.len() - 2];
        assert!(trial.shown.contains(why) && trial.shown.contains(flag), "{}", trial.shown);
    }
}

/// Keys of a server with the least and the most that each takes, as its own errors say.
fn ends(name: &str, folder: &Path) -> Vec<(String, [String; 2])> {
    let wrong = setting_keys(name).iter().map(|key| format!("{key}=?")).collect::<Vec<_>>();
    let text = check(name, folder, &wrong).shown;
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((key, _)) = line.trim().split_once(" = \"?\"") else { continue };
        let range = line.rsplit_once(" from ").and_then(|(_, range)| range.split_once(" to "));
        if let Some((least, most)) = range {
            let most = most.trim_end_matches(" bytes");
            found.push((key.to_owned(), [least.to_owned(), most.to_owned()]));
        }
    }
    assert!(found.len() > 20, "{text}");
    found
}

/// Checks the configuration of a server with these values and its secrets.
fn check(name: &str, folder: &Path, values: &[String]) -> Trial {
    let mut command = Command::new(program(name));
    command.env_clear().current_dir(folder).arg("--check");
    command.env("IMAGO_CLUSTER__SECRET", "a secret of the cluster");
    command.env("IMAGO_AUTH__JWT_SECRET", "a secret of the tokens");
    for value in values {
        command.args(["--set", value]);
    }
    Trial::run(&mut command, Duration::from_secs(20))
}

/// The values that a server takes together: what its limits do not allow beside each other is left out.
fn taken(name: &str, folder: &Path, end: usize) -> Vec<(String, String)> {
    let all = ends(name, folder).into_iter();
    let mut values: Vec<(String, String)> =
        all.map(|(key, ends)| (key, ends[end].clone())).collect();
    loop {
        let set: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let checked = check(name, folder, &set);
        let before = values.len();
        values.retain(|(key, _)| !checked.shown.contains(&format!("{key} = ")));
        if checked.code == Some(0) {
            return values;
        }
        assert!(values.len() < before, "{}", checked.shown);
    }
}

/// Starts both servers with all settings at one end of their ranges, and has a client send a message.
async fn at_the_end(end: usize) -> String {
    let world = World::gossip().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = |name: &str| taken(name, folder.path(), end);
    let (of_logic, of_gateway) = (settings("logic"), settings("gateway"));
    fn pairs(values: &[(String, String)]) -> Vec<(&str, &str)> {
        let own = |key: &str| key != "service.port";
        let pairs = values.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        pairs.filter(|(key, _)| own(key)).collect()
    }
    let logic = world.logic("logic-1", &pairs(&of_logic)).await;
    let gateway = world.gateway("gateway-1", &pairs(&of_gateway)).await;
    let mut text = String::new();
    if end == 1 {
        logic.ready().await;
        gateway.ready().await;
        let mut alice = RawClient::login(&gateway, &world.token("alice")).await;
        alice.talk(2, "bob", "hello").await;
        assert_eq!(alice.packet().await.header.status, 0);
    }
    for mut server in [gateway, logic] {
        assert_eq!(server.stop().await, Some(0), "{}", server.log());
        text += &server.log();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_run_with_all_settings_at_either_end_of_their_ranges() {
    for end in [0, 1] {
        let log = at_the_end(end).await;
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn no_value_of_a_setting_makes_a_server_panic() {
    let values = [
        "",
        "0",
        "-1",
        "-0",
        "1e308",
        "NaN",
        "inf",
        "18446744073709551615",
        "99999999999999999999",
        "18446744073709551615s",
        "18446744073709551615years",
        "18446744073709551615 GiB",
        "_",
        "__",
        "[",
        "[{a=\"(\"}]=trace",
        "a=b=c",
        ";;;",
        "=",
        ":",
        "[::1]:",
        "*",
        "*:=,",
        "account/:=",
        "%00",
        "é",
        "\u{feff}",
        "\u{1}",
        "://",
        "redis://",
        "gossip://",
        "consul://",
        "postgres://",
        "sqlite://",
        "redis://[",
        "postgres://[",
        "gossip://[::",
        "sqlite://:",
        "redis+cluster://,,",
        "consul://%",
        "gossip://127.0.0.1:1?seed=",
        "redis://h?lease=18446744073709551615s",
        "postgres://h?port=99999999",
    ];
    let mut cases = Vec::new();
    for name in ["gateway", "logic"] {
        cases.extend(values.map(|value| (name, value.to_owned())));
        cases.push((name, "x".repeat(2_000)));
        cases.push((name, "9".repeat(2_000)));
    }
    Trial::each(cases, |(name, value)| {
        let folder = tempfile::tempdir().unwrap();
        let set: Vec<String> =
            setting_keys(name).iter().map(|key| format!("{key}={value}")).collect();
        let trial = check(name, folder.path(), &set);
        assert!(trial.code.is_some(), "{name} --check does not end with {value:?}");
    });
}
