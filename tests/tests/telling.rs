//! What a running server tells of itself: its start line, and its metrics from the first scrape on.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use imago_proto::{Status, link::RefusedReason};
use imago_tests::{Server, World};

/// Crates whose code counts.
const COUNTING: [&str; 5] = ["kit", "naming", "container", "gateway", "logic"];

/// Nothing is there: a logic server starts without its Redis.
const NO_REDIS: &str = "redis://127.0.0.1:1";

fn sources(of: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut folders, mut found) = (vec![root.join(of).join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                found.push(path);
            }
        }
    }
    found
}

/// The code of a file, without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// Names of metrics that the code of a crate has in it, with how often.
fn named(of: &str) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for path in sources(of) {
        let code = code(&path);
        let literals = code.split('"').skip(1).step_by(2);
        let is_name = |text: &&str| {
            let word =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            text.starts_with("imago_") && text.bytes().all(word)
        };
        for name in literals.filter(is_name) {
            *names.entry(name.to_owned()).or_default() += 1;
        }
    }
    names
}

/// Fails unless `name` is in `text` with its help, its type, and a first value.
fn assert_told(name: &str, text: &str) {
    let begins = |start: String| text.lines().any(|line| line.starts_with(&start));
    let help = text.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
    let help = help.unwrap_or_else(|| panic!("{name} has no help in\n{text}"));
    assert!(help.len() > 15 && help != name, "{name}: {help}");
    let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
    let shown = match kind {
        Some("histogram") => format!("{name}_count"),
        Some(_) => name.to_owned(),
        None => panic!("{name} has no type in\n{text}"),
    };
    assert_eq!(kind == Some("counter"), name.ends_with("_total"), "{name} is a {kind:?}");
    assert!(
        begins(format!("{shown} ")) || begins(format!("{shown}{{")),
        "{name} is not there from the start in\n{text}"
    );
}

async fn metrics(server: &Server) -> String {
    server.monitor().metrics().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_the_code_can_write_is_there_from_the_start() {
    let world = World::gossip().await;
    let gateway = world.gateway("gateway-1", &[]).await;
    let logic = world.logic("logic-1", &[("directory.url", NO_REDIS)]).await;
    let (of_gateway, of_logic) = (metrics(&gateway).await, metrics(&logic).await);
    for (of, scrapes) in [
        ("kit", [&of_gateway, &of_logic].as_slice()),
        ("naming", &[&of_gateway, &of_logic]),
        ("container", &[&of_gateway, &of_logic]),
        ("gateway", &[&of_gateway]),
        ("logic", &[&of_logic]),
    ] {
        for name in named(of).keys() {
            scrapes.iter().for_each(|text| assert_told(name, text));
        }
    }
    assert!(named("container").len() > 20 && named("gateway").len() > 10, "names are found");
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_with_labels_are_there_with_each_of_their_values() {
    let world = World::gossip().await;
    let gateway = world.gateway("gateway-1", &[]).await;
    let logic = world.logic("logic-1", &[]).await;
    let (of_gateway, of_logic) = (metrics(&gateway).await, metrics(&logic).await);
    let has = |text: &str, series: &str| {
        assert!(text.lines().any(|line| line == format!("{series} 0")), "{series} in\n{text}");
    };
    let statuses = (1..1000).filter_map(Status::from_code).map(Status::code);
    for status in statuses {
        has(&of_gateway, &format!("imago_requests_refused_total{{status=\"{status}\"}}"));
        has(&of_gateway, &format!("imago_logins_refused_total{{status=\"{status}\"}}"));
    }
    for reason in ["duplicate", "no_room"] {
        has(&of_gateway, &format!("imago_pushes_skipped_total{{reason=\"{reason}\"}}"));
    }
    let reasons = (0..64).filter_map(|number| RefusedReason::try_from(number).ok());
    for reason in reasons {
        let reason = reason.as_str_name().trim_start_matches("REFUSED_REASON_").to_lowercase();
        let series = format!("imago_link_refused_total{{reason=\"{reason}\"}}");
        has(&of_gateway, &series);
        has(&of_logic, &series);
    }
    for reason in ["server_busy", "session_busy", "session_unknown"] {
        has(&of_logic, &format!("imago_handler_refusals_total{{reason=\"{reason}\"}}"));
    }
    for command in ["chat.user.talk", "login.signin"] {
        has(&of_logic, &format!("imago_handler_seconds_count{{command=\"{command}\"}}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_is_said_of_it() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[]).await;
    let text = metrics(&logic).await;
    // A gauge at 0 would say that it is down.
    assert!(!text.contains("imago_directory_redis_up"), "{text}");
    assert!(text.contains("imago_directory_sessions 0"), "{text}");
}

#[test]
fn metrics_have_one_owner_and_are_declared_in_one_way() {
    let mut owners: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for of in COUNTING {
        for (name, times) in named(of) {
            assert_eq!(times, 1, "{name} is written {times} times in {of}");
            owners.entry(name).or_default().insert(of);
        }
    }
    for (name, crates) in owners {
        assert_eq!(crates.len(), 1, "{name} is a metric of {crates:?}");
    }
    for path in ["container", "gateway", "logic"].into_iter().flat_map(sources) {
        // What declares metrics shows them from the start.
        if path.ends_with("kit/src/meter.rs") {
            continue;
        }
        let code = code(&path);
        for call in ["counter!(", "gauge!(", "histogram!("] {
            assert!(!code.contains(call), "{}: {call}", path.display());
        }
    }
}

/// Value of a metric without labels.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} in\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_its_version_and_what_its_process_takes() {
    let world = World::gossip().await;
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let gateway = world.gateway("gateway-1", &[]).await;
    let logic = world.logic("logic-1", &[]).await;
    for server in [&gateway, &logic] {
        let text = metrics(server).await;
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        let build = text.lines().find(|line| line.starts_with("imago_build_info{")).unwrap();
        assert!(build.contains(&version) && build.ends_with("} 1"), "{build}");
        assert_told("imago_build_info", &text);
        for name in ["cpu_seconds_total", "open_fds", "max_fds", "threads", "start_time_seconds"] {
            assert_told(&format!("process_{name}"), &text);
        }
        assert!((10.0..10_000.0).contains(&value(&text, "process_open_fds")), "{text}");
        assert!(value(&text, "process_max_fds") >= value(&text, "process_open_fds"), "{text}");
        assert!(value(&text, "process_threads") >= 1.0, "{text}");
        let (resident, all) = (
            value(&text, "process_resident_memory_bytes"),
            value(&text, "process_virtual_memory_bytes"),
        );
        assert!(1e6 < resident && resident < all, "{text}");
        // The boot time that it is counted from is told in whole seconds.
        let started = value(&text, "process_start_time_seconds");
        assert!((begun - 5.0..begun + 60.0).contains(&started), "{started}, begun {begun}");
    }
    // Held open, each takes a descriptor, and asking takes time: both are read when they are asked for.
    let before = metrics(&gateway).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(tokio::net::TcpStream::connect(gateway.address("ws")).await.unwrap());
    }
    imago_tests::eventually(std::time::Duration::from_secs(20), "more descriptors", || async {
        let now = metrics(&gateway).await;
        let more = |name| value(&now, name) - value(&before, name);
        (more("process_open_fds") >= 20.0 && more("process_cpu_seconds_total") > 0.0).then_some(())
    })
    .await;
}

/// The line of a log that says that the server has started.
fn start_line(server: &Server) -> String {
    let log = server.log();
    let is_start =
        |line: &&str| line.contains("gateway started") || line.contains("logic server started");
    let lines: Vec<&str> = log.lines().filter(is_start).collect();
    assert!(matches!(lines[..], [_]), "one start line in\n{log}");
    lines[0].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_says_what_has_started_in_words() {
    let world = World::gossip().await;
    let logic = world.logic("logic-1", &[("directory.url", NO_REDIS)]).await;
    let gateway = world.gateway("gateway-1", &[]).await;
    let (of_gateway, of_logic) = (start_line(&gateway), start_line(&logic));
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let registry = format!("registry=\"{}\"", world.naming());
    let store = format!("store=\"sqlite://{}\"", world.folder().join("imago.db").display());
    for (line, parts) in [
        (
            &of_gateway,
            [
                "gateway started",
                &format!("ws={}", gateway.address("ws")),
                &format!("tcp={}", gateway.address("tcp")),
                &format!("monitor={}", gateway.address("monitor")),
                "id=\"gateway-1\"",
                "connections=",
            ],
        ),
        (
            &of_logic,
            [
                "logic server started",
                &format!("link={}", logic.address("link")),
                &format!("monitor={}", logic.address("monitor")),
                &store,
                "id=\"logic-1\"",
                "directory=\"redis://127.0.0.1:1",
            ],
        ),
    ] {
        assert!(line.contains(" INFO "), "{line}");
        let shared =
            [&*version, &registry, "registry_form=\"gossip", "cluster=\"imago\"", "open_files="];
        for part in shared.into_iter().chain(parts) {
            assert!(line.contains(part), "{part} is not in: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_has_the_same_fields_as_json_and_no_secrets() {
    let mut world = World::consul().await;
    let agent = world.agent().address().to_string();
    let naming = format!("consul://{agent}?token=hunter2&check=ttl&ttl=7s");
    // All in the environment, where secrets may be.
    let shared = |id| {
        [
            ("IMAGO_SERVICE__ID", id),
            ("IMAGO_CLUSTER__SECRET", "hunter2-hunter2-hunter2"),
            ("IMAGO_LOG__FORMAT", "json"),
        ]
    };
    let of_gateway = [
        ("IMAGO_NAMING__URL", &*naming),
        ("IMAGO_AUTH__JWT_SECRET", "hunter2-hunter2-hunter2"),
        ("IMAGO_LISTEN__WS", "127.0.0.1:0"),
        ("IMAGO_LISTEN__TCP", "127.0.0.1:0"),
    ];
    let of_gateway = [&shared("gateway-1")[..], &of_gateway].concat();
    let gateway = world.server("gateway", "gateway-1", &of_gateway).await;
    let naming = format!("consul://{agent}");
    let store = format!("sqlite://{}", world.folder().join("imago.db").display());
    let of_logic = [
        ("IMAGO_NAMING__URL", &*naming),
        ("IMAGO_STORE__URL", &store),
        ("IMAGO_DIRECTORY__URL", "redis://:hunter2@127.0.0.1:1/3"),
    ];
    let of_logic = [&shared("logic-1")[..], &of_logic].concat();
    let logic = world.server("logic", "logic-1", &of_logic).await;
    for (server, names) in [
        (&gateway, ["ws", "tcp", "connections"].as_slice()),
        (&logic, &["link", "store", "directory"]),
    ] {
        let line: serde_json::Value = serde_json::from_str(&start_line(server)).unwrap();
        assert_eq!(line["level"], "INFO");
        let fields = &line["fields"];
        let shared =
            ["version", "service", "id", "cluster", "monitor", "registry", "registry_form"];
        for name in shared.iter().chain(names) {
            assert!(!fields[name].is_null(), "{name} is not in {line}");
        }
        assert!(fields["open_files"].as_u64().is_some_and(|limit| limit > 0), "{line}");
        assert_eq!(fields["monitor"], server.address("monitor"));
        assert!(!line.to_string().contains("hunter2"), "{line}");
    }
    let line: serde_json::Value = serde_json::from_str(&start_line(&gateway)).unwrap();
    let registry = &line["fields"]["registry"];
    assert_eq!(*registry, format!("consul://{agent}?token=(hidden)&check=ttl&ttl=7s"));
    assert_eq!(line["fields"]["registry_form"], "Consul, ttl check of 7s");
    let line: serde_json::Value = serde_json::from_str(&start_line(&logic)).unwrap();
    assert_eq!(line["fields"]["registry_form"], "Consul asks every 10s");
}
