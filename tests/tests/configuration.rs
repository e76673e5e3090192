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

fn secrets<'a>(name: &str) -> Vec<(&'a str, &'a str)> {
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

/// What a check says of a URL under this key.
fn check_url(name: &str, key: &str, url: &str) -> Output {
    let variable = format!("IMAGO_{}", key.to_uppercase().replace('.', "__"));
    run(name, &["--check"], &[&secrets(name)[..], &[(&variable, url)]].concat())
}

#[test]
fn a_check_reads_every_url_as_a_start_does() {
    let naming = [
        ("http://x", "unknown scheme http, expected memory, gossip, consul or consul+https"),
        ("no url", "expected scheme://host:port"),
        ("consul://me:hunter2@h:8500", "password: not used"),
        ("consul://hunter2@h:8500", "user: not used"),
        ("consul://h:8500#hunter2", "fragment"),
        ("consul://a,b", "several hosts"),
        ("consul://h?tokn=hunter2", "unknown parameter tokn"),
        ("consul+https://h/a/b?wait=1", "expected a time like"),
        ("gossip://127.0.0.1:0/path", "path"),
        ("gossip://localhost:0", "expected an IP address"),
        ("gossip://127.0.0.1:0?seed=nowhere", "expected HOST:PORT, got no port"),
        ("memory://a?x=hunter2", "unknown parameter x"),
    ];
    let store = [
        ("sqlite://a.db?cache=hunter2", "parameters, what follows ?"),
        ("sqlite://a.db#f", "fragment"),
        ("sqlite://me:hunter2@h/a.db", "expected the path of a file"),
        ("sqlite:///tmp", "this is a folder"),
        ("postgres://me:hunter2@db/imago#f", "fragment"),
        ("postgres://me:hunter2@db/imago/x", "path"),
        (
            "postgres://me:hunter2@db/imago?sslrootcert=/nowhere",
            "sslrootcert: cannot read /nowhere",
        ),
        ("null://x", "expected sqlite://FILE or postgres://"),
    ];
    let directory = [
        ("redis://:hunter2@h/1#f", "fragment"),
        ("redis://:hunter2@h?lease=1s&lease=2s", "parameter lease: expected it once"),
        ("redis://:hunter2@h/1/2", "database: expected a number"),
    ];
    let cases = naming.map(|case| ("gateway", "naming.url", case)).into_iter();
    let cases = cases.chain(naming.map(|case| ("logic", "naming.url", case)));
    let cases = cases.chain(store.map(|case| ("logic", "store.url", case)));
    let cases = cases.chain(directory.map(|case| ("logic", "directory.url", case)));
    for (name, key, (url, part)) in cases {
        let checked = check_url(name, key, url);
        let text = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{name}: {key} = {url} was taken");
        assert!(text.starts_with("error: 1 error in the configuration"), "{text}");
        assert!(text.contains(part), "{url}: {part:?} is not in\n{text}");
        assert_eq!(text.matches(key).count(), 1, "{text}");
        assert!(!text.contains("naming url"), "{text}");
    }
    for (key, url) in [
        ("naming.url", "consul://h:8500/consul/?token=abc&dc=x"),
        ("naming.url", "memory://name"),
        ("store.url", "sqlite:///tmp/imago@1/imago.db"),
        ("store.url", "postgres://me:a@db,other:1/imago?sslmode=disable"),
        ("directory.url", "redis+cluster://:a@h:1,h:2?lease=2s"),
    ] {
        let checked = check_url("logic", key, url);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
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

#[test]
fn a_variable_of_no_program_is_an_error_and_a_key_of_the_other_program_is_named() {
    for (name, other, key) in
        [("logic", "gateway", "auth.login_timeout"), ("gateway", "logic", "store.retention")]
    {
        let variable = format!("IMAGO_{}", key.replace('.', "__").to_uppercase());
        let mut environment = secrets(name);
        environment.push((&variable, "1m"));
        let checked = run(name, &["--check"], &environment);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

        let mistyped = format!("{variable}S");
        environment.push((&mistyped, "1m"));
        let set = ["--check", "--set", &format!("{key}=1m")];
        let checked = run(name, &set, &environment);
        assert_eq!(checked.status.code(), Some(1));
        let text = String::from_utf8_lossy(&checked.stderr).into_owned();
        let flag = format!("{key} (from --set): this is a key of {other}");
        let hint = format!("(from {mistyped}): unknown key, did you mean {key} of {other}?");
        assert!(text.contains(&flag) && text.contains(&hint), "{text}");
    }
}

/// Runs `imago` in a folder of its own, with a file of these bytes there.
fn with_file(arguments: &[&str], bytes: &[u8], secret: Option<&str>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), bytes).unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let mut command = Command::new(program("imago"));
    command.args(arguments).env_clear().current_dir(folder.path());
    command.envs(secret.map(|secret| ("IMAGO_AUTH__JWT_SECRET", secret))).output().unwrap()
}

#[test]
fn a_secret_means_the_same_wherever_it_comes_from_and_whatever_surrounds_it() {
    let token = ["token", "--account", "a", "--secret-file", "file"];
    for (arguments, bytes, variable) in [
        (&token[..], "a secret of tokens", None),
        (&token, "\u{feff}a secret of tokens\r\n", None),
        (&token, "\r\n a secret of tokens \n\n", None),
        (&token[..3], "", Some("a secret of tokens\n")),
        (&token[..3], "", Some("\u{feff}a secret of tokens\r\n")),
    ] {
        let made = with_file(arguments, bytes.as_bytes(), variable);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let key = imago_kit::jwt::DecodingKey::from_secret(b"a secret of tokens");
        let text = String::from_utf8(made.stdout).unwrap();
        let claims = imago_kit::jwt::decode::<serde_json::Value>(
            text.trim(),
            &key,
            &imago_kit::jwt::Validation::default(),
        );
        assert_eq!(claims.unwrap().claims["acc"], "a", "{bytes:?} {variable:?}");
    }
}

#[test]
fn files_of_secrets_and_tokens_that_are_none_are_named_with_what_is_wrong() {
    let utf16 = "\u{feff}sesame".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for flag in [
        &["token", "--account", "a", "--secret-file"][..],
        &["chat", "--gateway", "ws://127.0.0.1:1", "--token"],
        &["bench", "talk", "--gateway", "ws://127.0.0.1:1", "--tokens"],
        &["bench", "talk", "--gateway", "ws://127.0.0.1:1", "--secret-file"],
    ] {
        let name = flag[flag.len() - 1];
        let takes_lines = name == "--tokens";
        for (file, bytes, why) in [
            ("file", &utf16[..], "expected UTF-8, got UTF-16"),
            ("file", b"sesame\0", "NUL byte at byte 7"),
            ("file", b"sesame\xff", "expected UTF-8, got something else at byte 7"),
            ("folder", b"", "expected a file, got a folder"),
            ("./nowhere", b"", "expected a readable file"),
            ("file", b"", "got an empty one"),
            ("file", b"sesame\nopen", "expected one line"),
            ("file", &[b'x'; 70_000], "at most 65536 bytes"),
        ] {
            if takes_lines && !why.contains("UTF-8") && !why.contains("fold") {
                continue;
            }
            let ended = with_file(&[flag, &[file]].concat(), bytes, None);
            assert_eq!(ended.status.code(), Some(1), "{flag:?}");
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            let begins = format!("error: {name} {file}: ");
            assert!(text.starts_with(&begins) && text.contains(why), "{flag:?}: {text}");
            assert!(!text.contains("sesame"), "{text}");
        }
    }
}
