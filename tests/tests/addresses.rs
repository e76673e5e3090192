//! Every key that takes a host or an address is checked where it is configured.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::process::Command;

use imago_tests::program;

/// What `--check` says of a server whose keys come from a file.
fn check(name: &str, file: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.toml");
    std::fs::write(&path, file).unwrap();
    let mut command = Command::new(program(name));
    command.arg("--check").arg("--config").arg(path).env_clear();
    command.env("IMAGO_CLUSTER__SECRET", "a secret of the cluster");
    if name == "gateway" {
        command.env("IMAGO_AUTH__JWT_SECRET", "a secret of the tokens");
    }
    let checked = command.output().unwrap();
    match checked.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8(checked.stderr).unwrap()),
    }
}

/// A file with one key.
fn with(key: &str, value: &str) -> String {
    let (section, name) = key.split_once('.').unwrap();
    let value = value.replace('"', "\\\"").replace('\u{7}', "\\u0007");
    match key {
        "monitor.hosts" => format!("[{section}]\n{name} = [\"{value}\"]"),
        _ => format!("[{section}]\n{name} = \"{value}\""),
    }
}

const NO_HOSTS: [&str; 9] = [
    "http://h.example",
    "h.example:8000",
    "[::1]",
    "a b",
    "\"h\"",
    "h/p",
    "300.0.0.1",
    "h\u{7}",
    "-h",
];

#[test]
fn hosts_are_names_or_addresses_and_nothing_else() {
    for (name, key) in [
        ("gateway", "service.address"),
        ("logic", "service.address"),
        ("gateway", "service.domain"),
        ("gateway", "monitor.hosts"),
        ("logic", "monitor.hosts"),
    ] {
        for value in NO_HOSTS {
            let error = check(name, &with(key, value)).unwrap_err();
            assert!(error.contains(key) && error.contains("expected "), "{value:?}: {error}");
            assert!(!error.contains('\u{7}'), "{error:?}");
        }
        for value in ["h.example", "10.0.0.5", "::1", "fd00::5", "h_1"] {
            assert_eq!(check(name, &with(key, value)), Ok(()), "{key} = {value:?}");
        }
    }
}

/// Others would dial themselves.
#[test]
fn a_wildcard_is_not_told_to_others() {
    for name in ["gateway", "logic"] {
        for value in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            let error = check(name, &with("service.address", value)).unwrap_err();
            assert!(error.contains("service.address"), "{error}");
            assert!(error.contains("not a wildcard"), "{value}: {error}");
        }
        let error = check(name, &with("service.address", "")).unwrap_err();
        assert!(error.contains("service.address") && error.contains("expected a host"), "{error}");
    }
    assert_eq!(check("gateway", &with("service.domain", "")), Ok(()));
}

#[test]
fn listeners_have_an_ip_address_and_a_port() {
    for (name, key) in [
        ("gateway", "listen.ws"),
        ("gateway", "listen.tcp"),
        ("gateway", "monitor.listen"),
        ("logic", "listen.link"),
        ("logic", "monitor.listen"),
    ] {
        for value in ["8000", "::1:8000", "0.0.0.0", "[::]", "http://0.0.0.0:1", "a b:1", "h:65536"]
        {
            let error = check(name, &with(key, value)).unwrap_err();
            let expected = "expected an IP address and a port like 0.0.0.0:8000 or [::]:8000";
            assert!(error.contains(key) && error.contains(expected), "{value}: {error}");
        }
        for value in ["0.0.0.0:8000", "[::]:8000", "[::1]:0"] {
            assert_eq!(check(name, &with(key, value)), Ok(()), "{key} = {value:?}");
        }
    }
}

#[test]
fn urls_of_backends_name_hosts_and_ports() {
    for (name, key, value) in [
        ("gateway", "naming.url", "consul://\"h\":8500"),
        ("gateway", "naming.url", "consul://::1:8500"),
        ("gateway", "naming.url", "zebra://h"),
        ("gateway", "naming.url", "gossip://h.example:1"),
        ("logic", "naming.url", "gossip://[::1]:0?seed=127.0.0.1:1"),
        ("logic", "naming.url", "gossip://127.0.0.1:0?seed=0.0.0.0:1"),
        ("logic", "naming.url", "gossip://0.0.0.0:1?advertise=0.0.0.0:1"),
        ("logic", "store.url", "postgres://a%20b/imago"),
        ("logic", "directory.url", "redis://\"h\""),
        ("logic", "directory.url", "redis://::1:6379"),
    ] {
        let error = check(name, &with(key, value)).unwrap_err();
        assert!(error.contains(key) && error.contains("expected "), "{value}: {error}");
    }
    for (name, key, value) in [
        ("gateway", "naming.url", "gossip://[::1]:7946?seed=[::1]:7947&seed=h.example:1"),
        ("logic", "naming.url", "consul+https://[fd00::5]:8500"),
        ("logic", "store.url", "postgres://imago@[::1],h.example:5433/imago"),
        ("logic", "directory.url", "redis+cluster://[::1]:7000,h.example"),
    ] {
        assert_eq!(check(name, &with(key, value)), Ok(()), "{key} = {value:?}");
    }
}
