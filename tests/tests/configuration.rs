//! Configuration of both servers, as their users meet it.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::process::{Command, Output};

use imago_tests::program;

/// Runs a server with arguments and a clean environment.
fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program(name));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().unwrap()
}

const SECRETS: [(&str, &str); 1] = [("IMAGO_CLUSTER__SECRET", "a secret of the cluster")];

fn secrets(name: &str) -> Vec<(&'static str, &'static str)> {
    let mut secrets = SECRETS.to_vec();
    if name == "gateway" {
        secrets.push(("IMAGO_AUTH__JWT_SECRET", "a secret of the tokens"));
    }
    secrets
}

#[test]
fn the_printed_default_configuration_is_right() {
    for name in ["gateway", "logic"] {
        let printed = run(name, &["--print-config"], &[]);
        assert!(printed.status.success());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("printed.toml");
        std::fs::write(&file, &printed.stdout).unwrap();
        let checked = run(name, &["--config", file.to_str().unwrap(), "--check"], &secrets(name));
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        assert_eq!(checked.stdout, b"configuration ok\n");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_key_and_range() {
    for name in ["gateway", "logic"] {
        let arguments = [
            "--check",
            "--set",
            "drain.timeout=2h",
            "--set",
            "link.queue_frame=3",
            "--set",
            "log.level=loud",
        ];
        let checked = run(name, &arguments, &[("IMAGO_PROMOTION__WARN_AFTER", "soon")]);
        assert_eq!(checked.status.code(), Some(1));
        let text = String::from_utf8_lossy(&checked.stderr).into_owned();
        for part in [
            "drain.timeout = \"2h\" (from --set)",
            "100ms",
            "10m",
            "link.queue_frame",
            "did you mean link.queue_frames",
            "log.level = \"loud\"",
            "promotion.warn_after = \"soon\" (from IMAGO_PROMOTION__WARN_AFTER)",
            "cluster.secret",
            "IMAGO_CLUSTER__SECRET",
        ] {
            assert!(text.contains(part), "{name}: {part:?} is not in\n{text}");
        }
        assert!(!text.contains("stack backtrace"), "{text}");
    }
}

#[test]
fn a_bound_over_all_clients_is_not_below_that_of_one() {
    let arguments = [
        "--check",
        "--set",
        "limits.packet=2 MiB",
        "--set",
        "limits.input_total=1 MiB",
        "--set",
        "limits.queue_total=0",
        "--set",
        "limits.unauthenticated=0",
        "--set",
        "limits.login_packet=2 MiB",
        "--set",
        "link.handshakes=1",
        "--set",
        "monitor.connections=0",
        "--set",
        "monitor.hosts=http://a.example",
    ];
    let checked = run("gateway", &arguments, &secrets("gateway"));
    assert_eq!(checked.status.code(), Some(1));
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    for part in [
        "limits.input_total = \"1 MiB\" (from --set): expected at least limits.packet",
        "limits.queue_total = \"0\"",
        "limits.unauthenticated = \"0\" (from --set): expected a whole number from 1",
        "limits.login_packet = \"2 MiB\"",
        "link.handshakes = \"1\" (from --set): expected a whole number from 16 to 65536",
        "monitor.connections = \"0\"",
        "monitor.hosts",
        "without scheme, port",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn secrets_are_neither_taken_from_flags_nor_shown() {
    let set = ["--check", "--set", "cluster.secret=hush-hush-hush-hush"];
    let checked = run("logic", &set, &[]);
    assert_eq!(checked.status.code(), Some(1));
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(text.contains("cluster.secret") && !text.contains("hush"), "{text}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("monitor.listen={}", taken.local_addr().unwrap());
    let ended =
        run("logic", &["--set", &listen, "--set", "listen.link=127.0.0.1:0"], &secrets("logic"));
    assert_eq!(ended.status.code(), Some(1));
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(text.contains("monitor.listen: cannot listen on 127.0.0.1:"), "{text}");
}

#[test]
fn whoever_stops_reading_is_no_error() {
    for name in ["gateway", "logic"] {
        let mut command = Command::new(program(name));
        command.arg("--print-config").env_clear();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = command.stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}
