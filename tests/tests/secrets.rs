//! No secret is shown: neither by the programs, whatever is wrong with what they are given, nor in
//! their logs and pages.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use imago_tests::{Trial, program, setting_keys};

/// Part of every secret; nothing else that is shown holds it.
const MARKER: &str = "S3CRET";
/// How long a server that starts all the same is looked at.
const LOOK: Duration = Duration::from_millis(1000);

/// Keys of a program that take a URL or a secret, by their names.
fn delicate_keys(name: &str) -> Vec<String> {
    let endings = ["url", "secret", "token", "password", "key", "_file"];
    let is_delicate = |key: &String| endings.iter().any(|ending| key.ends_with(ending));
    setting_keys(name).into_iter().filter(is_delicate).collect()
}

/// Values that cannot be right, or that are and hold a secret.
fn broken(scheme: &str) -> Vec<String> {
    let mut values: Vec<String> = [
        "://h1:1,h2:1?token=S3CRET",
        "://h:port?token=S3CRET",
        "://h:99999?password=S3CRET",
        "://127.0.0.1:1?tokn=S3CRET",
        "://127.0.0.1:1?token=a&S3CRET",
        "://127.0.0.1:1?S3CRET",
        "://127.0.0.1:1?S3CRET=1",
        "://127.0.0.1:1?token=S3CRET",
        "://127.0.0.1:1?password=S3CRET#S3CRET",
        "://user:S3CRET@127.0.0.1:1/x",
        "://S3CRET@127.0.0.1:1/x",
        "://user:S3CRET@:1",
        "://user:S3CRET@h:x/x",
        "://user:a@S3CRET@127.0.0.1:1/x",
        "://user:a/S3CRET@127.0.0.1:1/x",
        "://user:1/S3CRET@127.0.0.1:1/x",
        "://user:a?S3CRET@127.0.0.1:1/x",
        "://user:1?S3CRET=1@127.0.0.1:1/x",
        "://user:a#S3CRET@127.0.0.1:1/x",
        "://user:%ZZS3CRET@127.0.0.1:1/x",
        "://user:%ff%feS3CRET@127.0.0.1:1/x",
        "://127.0.0.1:1/S3CRET",
        "://user:x S3CRET@127.0.0.1:1/x",
        "://user:x\u{1}S3CRET@127.0.0.1:1/x",
        "://user:x\u{1b}[2JS3CRET@127.0.0.1:1\r\n/x",
        ":/user:S3CRET@127.0.0.1:1/x",
        ":S3CRET",
        "s://user:S3CRET@127.0.0.1:1/x",
    ]
    .map(|rest| format!("{scheme}{rest}"))
    .into();
    values.push(format!(" {scheme}://user:S3CRET@127.0.0.1:1/x"));
    values.push(format!("{scheme}://user:{}S3CRET@127.0.0.1:1/x", "x".repeat(20_000)));
    values.push("S3CRET".to_owned());
    values.push("user:S3CRET@127.0.0.1:1/x".to_owned());
    values.push("eyJhbGciOi/S3CRET.S3CRET+/==".to_owned());
    values
}

/// Schemes of a key that takes a URL.
fn schemes(key: &str) -> &'static [&'static str] {
    match key {
        "naming.url" => &["consul", "gossip", "memory"],
        "store.url" => &["postgres", "sqlite", "mysql"],
        "directory.url" => &["redis", "redis+cluster"],
        key if key.ends_with("url") => panic!("{key}: which schemes does it take?"),
        _ => &["consul"],
    }
}

/// A server that is given nothing but what is named here.
fn server(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(program(name));
    command.env_clear().current_dir(folder);
    command
}

fn variable(key: &str) -> String {
    format!("IMAGO_{}", key.replace('.', "__").to_uppercase())
}

fn toml(key: &str, value: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("{key} = \"{}\"\n", value.chars().map(escape).collect::<String>())
}

#[track_caller]
fn assert_hidden(trial: &Trial, what: &str) {
    let end = trial.shown.chars().take(4000).collect::<String>();
    assert!(!trial.shown.contains(MARKER), "{what} shows the secret:\n{end}");
}

/// Gives values to keys in each way that there is, and checks the configuration only.
fn check(name: &str, values: &[(String, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let file: String = values.iter().map(|(key, value)| toml(key, value)).collect();
    std::fs::write(folder.path().join("own.toml"), file).unwrap();
    let mut by_file = server(name, folder.path());
    by_file.args(["--config", "own.toml"]);
    let mut by_variable = server(name, folder.path());
    by_variable.envs(values.iter().map(|(key, value)| (variable(key), value)));
    let (mut by_flag, mut as_key) = (server(name, folder.path()), server(name, folder.path()));
    for (key, value) in values {
        by_flag.args(["--set", &format!("{key}={value}")]);
        as_key.args(["--set", value]);
    }
    for mut command in [by_file, by_variable, by_flag, as_key] {
        let trial = Trial::run(command.arg("--check"), Duration::from_secs(30));
        assert!(trial.code.is_some(), "does not end: {command:?}");
        assert_hidden(&trial, &format!("{command:?}"));
    }
}

#[test]
fn no_check_of_a_configuration_shows_a_secret() {
    let mut cases = Vec::new();
    for name in ["gateway", "logic"] {
        // A secret and the file that it may stand in exclude each other.
        let (files, others): (Vec<_>, Vec<_>) =
            delicate_keys(name).into_iter().partition(|key| key.ends_with("_file"));
        for (number, round) in
            (0..broken("").len()).flat_map(|at| (0..4).map(move |round| (at, round)))
        {
            let keys = if round == 3 { &files } else { &others };
            let values = keys.iter().map(|key| {
                let schemes = schemes(key);
                (key.clone(), broken(schemes[round % schemes.len()])[number].clone())
            });
            cases.push((name, values.collect::<Vec<_>>()));
        }
    }
    Trial::each(cases, |(name, values)| check(name, &values));
}

/// Starts a server that has this value, and looks at it.
fn start(name: &str, key: &str, value: &str) -> Trial {
    let folder = tempfile::tempdir().unwrap();
    let mut command = server(name, folder.path());
    command.env("IMAGO_CLUSTER__SECRET", "S3CRET of the cluster");
    command.env("IMAGO_MONITOR__ADMIN_TOKEN", "S3CRET of the admin");
    if name == "gateway" {
        command.env("IMAGO_AUTH__JWT_SECRET", "S3CRET of the tokens");
        command.args(["--set", "listen.ws=127.0.0.1:0", "--set", "listen.tcp="]);
    }
    command.args(["--set", "log.level=trace"]).env("IMAGO_NAMING__URL", "memory://x");
    let trial = Trial::run(command.env(variable(key), value), LOOK);
    assert_hidden(&trial, &format!("{name}, {key} = {value:?}"));
    trial
}

#[test]
fn no_server_that_starts_shows_a_secret() {
    let mut cases = Vec::new();
    for name in ["gateway", "logic"] {
        for key in delicate_keys(name).into_iter().filter(|key| key.ends_with("url")) {
            let values = schemes(&key).iter().flat_map(|scheme| broken(scheme));
            // Of a file, the path is no secret.
            let is_file =
                |url: &String| url.starts_with("sqlite://127") && !url.contains(['?', '#', '@']);
            let values = values.filter(|url| !is_file(url));
            cases.extend(values.map(|value| (name, key.clone(), value)));
        }
    }
    let started = AtomicUsize::new(0);
    Trial::each(cases, |(name, key, value)| {
        let trial = start(name, &key, &value);
        let has_pages = trial.shown.contains("imago_") && trial.shown.contains("TRACE");
        started.fetch_add(usize::from(has_pages), Ordering::Relaxed);
    });
    // Those whose registry or Redis is away.
    assert!(started.into_inner() > 4, "no server has started: nothing was looked at");
}

#[test]
fn no_server_shows_what_it_says_to_a_registry_a_store_or_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Whatever is asked, this is no answer that is of use.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0; 1024];
            // A client that has gone is no matter here.
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
        }
    });
    Trial::each(
        [
            ("gateway", "naming.url", format!("consul://{address}?token=S3CRET")),
            ("logic", "naming.url", format!("consul://{address}?token=S3CRET")),
            ("logic", "store.url", format!("postgres://me:S3CRET@{address}/x?sslmode=disable")),
            ("logic", "directory.url", format!("redis://me:S3CRET@{address}")),
            ("logic", "directory.url", format!("redis+cluster://me:S3CRET@{address}")),
        ],
        |(name, key, value)| drop(start(name, key, &value)),
    );
}

/// `imago` in a folder of its own.
fn imago(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = server("imago", folder);
    command.args(arguments);
    command
}

/// What the folder's logs hold.
fn logs(folder: &Path) -> String {
    let Ok(found) = std::fs::read_dir(folder.join(".imago/dev")) else { return String::new() };
    let files = found.map(|entry| entry.unwrap().path());
    let logs = files.filter(|file| file.extension().is_some_and(|ending| ending == "log"));
    logs.map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect()
}

#[test]
fn imago_dev_shows_no_secret() {
    let mut cases = Vec::new();
    for (flag, key) in
        [("--naming", "naming.url"), ("--store", "store.url"), ("--directory", "directory.url")]
    {
        let scheme = schemes(key)[0];
        for rest in ["://h1:1,h2:1?token=S3CRET", "://user:S3CRET@127.0.0.1:1/x", ":S3CRET"] {
            cases.push((flag, key, format!("{scheme}{rest}")));
        }
    }
    Trial::each(cases, |(flag, key, value)| {
        for by_flag in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let mut command = imago(folder.path(), &["dev", "--gateways", "1", "--logics", "1"]);
            command.args(["--log", "trace"]);
            if by_flag {
                command.args([flag, &value]);
            } else {
                command.env(variable(key), &value);
            }
            let mut trial = Trial::run(&mut command, Duration::from_secs(3));
            trial.shown += &logs(folder.path());
            assert_hidden(&trial, &format!("imago dev {flag} {value}, by flag: {by_flag}"));
        }
    });
}

#[test]
fn no_other_command_shows_a_secret() {
    let commands: &[(&str, &[&str])] = &[
        ("ws", &["token", "--account", "a", "--secret-file"]),
        ("ws", &["chat", "--as", "a", "--secret-file"]),
        ("ws", &["chat", "--as", "a", "--secret-file", "secret", "--gateway"]),
        ("tcp", &["chat", "--as", "a", "--secret-file", "secret", "--gateway"]),
        ("ws", &["chat", "--gateway", "ws://127.0.0.1:1", "--token"]),
        ("http", &["status", "--once", "--monitor"]),
        ("http", &["status", "--json", "--monitor"]),
        ("ws", &["bench", "talk", "--gateway", "ws://127.0.0.1:1", "--tokens"]),
        ("ws", &["bench", "talk", "--gateway", "ws://127.0.0.1:1", "--secret-file"]),
        ("ws", &["bench", "talk", "--secret-file", "secret", "--gateway"]),
        ("ws", &["bench", "idle", "--secret-file", "secret", "--pid", "1", "--gateway"]),
        ("consul", &["gateway", "--check", "--set"]),
        ("postgres", &["logic", "--check", "--set"]),
    ];
    let cases = commands.iter().flat_map(|(scheme, command)| {
        broken(scheme).into_iter().map(move |value| (command, value))
    });
    Trial::each(cases, |(command, value)| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "S3CRET of the tokens").unwrap();
        let mut command = imago(folder.path(), command);
        let trial = Trial::run(command.arg(value), LOOK);
        assert_hidden(&trial, &format!("{command:?}"));
    });
}
