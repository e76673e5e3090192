//! No secret is shown: neither by the programs, whatever is wrong with what they are given, nor in
//! their logs and pages.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{path::Path, process::Command, time::Duration};

use imago_tests::{Trial, program};

/// Part of every secret; nothing else that is shown holds it.
const MARKER: &str = "S3CRET";
/// How long a server that starts all the same is looked at.
const LOOK: Duration = Duration::from_millis(1200);

/// Keys of a program that take a URL or a secret, by their names, from its own default file.
fn delicate_keys(name: &str) -> Vec<String> {
    let printed = Command::new(program(name)).arg("--print-config").env_clear().output().unwrap();
    let (mut section, mut keys) = (String::new(), Vec::new());
    for line in String::from_utf8(printed.stdout).unwrap().lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let endings = ["url", "secret", "token", "password", "key", "_file"];
            if endings.iter().any(|ending| key.ends_with(ending)) {
                keys.push(format!("{section}.{key}"));
            }
        }
    }
    assert!(keys.len() > 4 && keys.contains(&"naming.url".to_owned()), "{keys:?}");
    keys
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
        "store.url" => &["postgres", "postgresql", "sqlite", "mysql"],
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
    let (section, name) = key.split_once('.').unwrap();
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("[{section}]\n{name} = \"{}\"\n", value.chars().map(escape).collect::<String>())
}

#[track_caller]
fn assert_hidden(trial: &Trial, what: &str) {
    let end = trial.shown.chars().take(4000).collect::<String>();
    assert!(!trial.shown.contains(MARKER), "{what} shows the secret:\n{end}");
}

/// Gives a value to a key in each way that there is, and checks the configuration only.
fn check(name: &str, key: &str, value: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut trials = Vec::new();
    let mut by_file = server(name, folder.path());
    std::fs::write(folder.path().join("own.toml"), toml(key, value)).unwrap();
    trials.push(by_file.args(["--check", "--config", "own.toml"]).env_clear());
    let mut by_variable = server(name, folder.path());
    trials.push(by_variable.arg("--check").env(variable(key), value));
    let mut by_flag = server(name, folder.path());
    trials.push(by_flag.args(["--check", "--set", &format!("{key}={value}")]));
    let mut as_key = server(name, folder.path());
    trials.push(as_key.args(["--check", "--set", value]));
    for command in trials {
        let trial = Trial::run(command, Duration::from_secs(20));
        assert!(trial.code.is_some(), "{name} --check does not end: {key}");
        assert_hidden(&trial, &format!("{name} --check, {key} = {value:.200}"));
    }
}

#[test]
fn no_check_of_a_configuration_shows_a_secret() {
    let mut cases = Vec::new();
    for name in ["gateway", "logic"] {
        for key in delicate_keys(name) {
            let values = schemes(&key).iter().flat_map(|scheme| broken(scheme));
            cases.extend(values.map(|value| (name, key.clone(), value)));
        }
    }
    Trial::each(cases, |(name, key, value)| check(name, &key, &value));
}

#[test]
fn no_server_that_starts_shows_a_secret() {
    let mut cases = Vec::new();
    for name in ["gateway", "logic"] {
        for key in delicate_keys(name).into_iter().filter(|key| key.ends_with("url")) {
            let values = schemes(&key).iter().flat_map(|scheme| broken(scheme));
            cases.extend(values.map(|value| (name, key.clone(), value)));
        }
    }
    Trial::each(cases, |(name, key, value)| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = server(name, folder.path());
        command.env("IMAGO_CLUSTER__SECRET", "S3CRET of the cluster");
        command.env("IMAGO_MONITOR__ADMIN_TOKEN", "S3CRET of the admin");
        if name == "gateway" {
            command.env("IMAGO_AUTH__JWT_SECRET", "S3CRET of the tokens");
            command.args(["--set", "listen.ws=127.0.0.1:0", "--set", "listen.tcp="]);
        }
        command.args(["--set", "log.level=trace"]).env("IMAGO_NAMING__URL", "memory://x");
        let Ok(value) = std::ffi::CString::new(value) else { return };
        command.env(variable(&key), value.to_str().unwrap());
        let trial = Trial::run(&mut command, LOOK);
        assert_hidden(&trial, &format!("{name}, {key} = {value:?}"));
    });
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
    let commands: &[&[&str]] = &[
        &["token", "--account", "a", "--secret-file"],
        &["chat", "--as", "a", "--secret-file"],
        &["chat", "--as", "a", "--secret-file", "secret", "--gateway"],
        &["chat", "--gateway", "ws://127.0.0.1:1", "--token"],
        &["status", "--once", "--monitor"],
        &["status", "--json", "--monitor"],
        &["bench", "talk", "--gateway", "ws://127.0.0.1:1", "--tokens"],
        &["bench", "talk", "--gateway", "ws://127.0.0.1:1", "--secret-file"],
        &["bench", "talk", "--secret-file", "secret", "--gateway"],
        &["bench", "login", "--secret-file", "secret", "--gateway"],
        &["gateway", "--check", "--set"],
        &["logic", "--check", "--set"],
    ];
    let values = ["ws", "tcp", "http"].map(broken).concat();
    let cases =
        commands.iter().flat_map(|command| values.iter().map(move |value| (command, value)));
    Trial::each(cases, |(command, value)| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "S3CRET of the tokens").unwrap();
        let mut command = imago(folder.path(), command);
        let trial = Trial::run(command.arg(value), LOOK);
        assert_hidden(&trial, &format!("{command:?}"));
    });
}
