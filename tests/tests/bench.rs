//! `imago bench` counts what really happens: against real servers, for moments only.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{path::Path, process::Stdio, time::Duration};

use imago_tests::{Server, World, eventually, program};
use serde_json::Value;
use tokio::process::{Child, Command};

struct Cluster {
    world: World,
    gateways: [Server; 2],
    _logic: Server,
}

impl Cluster {
    async fn start() -> Self {
        let world = World::gossip().await;
        let logic = world.logic("logic-1", &[]).await;
        let gateways =
            [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
        for server in gateways.iter().chain([&logic]) {
            server.ready().await;
        }
        Self { world, gateways, _logic: logic }
    }

    /// Runs a scenario; gives what it prints, and its figures.
    async fn bench(&self, arguments: &[&str]) -> (String, Value) {
        let secret = self.world.secret_file().display().to_string();
        self.measure(&[arguments, &["--secret-file", &secret]].concat()).await
    }

    /// Runs a scenario without telling it the secret.
    async fn measure(&self, arguments: &[&str]) -> (String, Value) {
        let folder = tempfile::tempdir().unwrap();
        let (json, html) = (folder.path().join("figures.json"), folder.path().join("page.html"));
        let mut command = Command::new(program("imago"));
        command.arg("bench").args(arguments).arg("--json").arg(&json).current_dir(&folder);
        if !arguments.contains(&"--html") {
            command.arg("--html").arg(&html);
        }
        for gateway in &self.gateways {
            command.args(["--gateway", &gateway.ws()]);
        }
        let ran = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {errors}");
        let figures = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        if let Ok(page) = std::fs::read_to_string(html) {
            assert!(page.contains("<polyline") && page.ends_with("</html>\n"), "{page}");
        }
        (String::from_utf8_lossy(&ran.stdout).into_owned(), figures)
    }
}

/// `imago dev` with its data in this folder, grown up.
async fn dev(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(program("imago"));
    command.args(["dev", "--data", "."]).args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let running = command.spawn().unwrap();
    let state = folder.join("dev.json");
    eventually(Duration::from_secs(60), "the cluster is there", || async {
        state.exists().then_some(())
    })
    .await;
    running
}

const BRIEFLY: [&str; 4] = ["--duration", "400ms", "--warm-up", "100ms"];

fn number(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("no {name} in {figures}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn talk_delivers_each_accepted_message_once() {
    let cluster = Cluster::start().await;
    let (text, figures) =
        cluster.bench(&[&["talk", "--clients", "4"][..], &BRIEFLY].concat()).await;
    let accepted = number(&figures, "accepted");
    assert!(accepted > 0.0 && number(&figures, "sent") == accepted, "{figures}");
    assert_eq!(number(&figures, "delivered"), accepted);
    assert!(text.contains("messages a second accepted") && text.contains("P99"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn group_and_fanout_deliver_to_everybody_online_but_the_sender() {
    let cluster = Cluster::start().await;
    let of_ten = ["group", "--members", "10", "--online", "0.6", "--senders", "2"];
    let (_, figures) = cluster.bench(&[&of_ten[..], &BRIEFLY].concat()).await;
    let accepted = number(&figures, "accepted");
    assert!(accepted > 0.0);
    assert_eq!(number(&figures, "delivered"), accepted * 5.0, "six are online");
    let to_seven = ["fanout", "--receivers", "7"];
    let (_, figures) = cluster.bench(&[&to_seven[..], &BRIEFLY].concat()).await;
    assert_eq!(number(&figures, "delivered"), number(&figures, "accepted") * 7.0);
    let (text, figures) = cluster.bench(&[&to_seven[..], &["--whole"], &BRIEFLY].concat()).await;
    assert!(number(&figures, "accepted") > 0.0, "{figures}");
    assert_eq!(number(&figures, "delivered"), number(&figures, "accepted") * 7.0);
    assert!(text.contains("until all have it"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_shows_what_is_bare_beside_what_imago_does() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("limit.html").display().to_string();
    let pid = std::process::id().to_string();
    for (arguments, names) in [
        (
            &["--clients", "4", "--rounds", "2"][..],
            &["relay, plain TCP", "bare WebSocket echo", "imago, 1:1 talk"][..],
        ),
        (&["--fanout", "5"], &["bare WebSocket broadcast", "imago, fan-out"]),
    ] {
        let files = ["--html", &page, "--pid", &pid];
        let arguments = [&["limit"], arguments, &files, &BRIEFLY].concat();
        let (text, figures) = cluster.bench(&arguments).await;
        let sides = figures["figures"].as_array().unwrap();
        assert_eq!(
            sides.iter().map(|side| side["what"].as_str().unwrap()).collect::<Vec<_>>(),
            names
        );
        let rounds = figures["rounds"].as_u64().unwrap() as usize;
        for side in sides {
            assert_eq!(side["rounds"].as_array().unwrap().len(), rounds, "{side}");
            assert!(number(side, "per_second") > 0.0 && number(side, "p99_ms") > 0.0, "{side}");
            assert!(number(side, "cpu_us_per_delivery") >= 0.0, "{side}");
        }
        assert!(text.contains("OF THE LIMIT"), "{text}");
        let page = std::fs::read_to_string(&page).unwrap();
        assert_eq!(page.matches("<rect").count(), 2 * names.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_measures_another_cluster_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let mut clusters = Vec::new();
    for (data, store) in [(&one, "null://"), (&other, "sqlite://imago.db")] {
        std::fs::create_dir(data).unwrap();
        let small = ["--gateways", "1", "--logics", "1", "--store", store];
        clusters.push(dev(data, &small).await);
    }
    let mut command = Command::new(program("imago"));
    command.args(["bench", "limit", "--clients", "4", "--data", "one", "--beside", "other"]);
    command.args(BRIEFLY).args(["--json", "figures.json"]).current_dir(&folder);
    let ran = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let figures = std::fs::read(folder.path().join("figures.json")).unwrap();
    let figures: Value = serde_json::from_slice(&figures).unwrap();
    let sides = figures["figures"].as_array().unwrap();
    let names: Vec<_> = sides.iter().map(|side| side["what"].as_str().unwrap()).collect();
    assert_eq!(names[2..], ["imago, 1:1 talk", "other, 1:1 talk"]);
    for side in &sides[2..] {
        assert!(number(side, "per_second") > 0.0, "{side}");
        // The servers of each cluster, not of the other alone.
        assert!(number(side, "cpu_us_per_delivery") > 0.0, "{side}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_accounts_for_every_message_that_was_due() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("overload.html").display().to_string();
    let pid = std::process::id().to_string();
    let briefly = ["--best", "300ms", "--calm", "300ms", "--duration", "500ms"];
    let offered =
        ["--clients", "4", "--times", "2", "--rounds", "2", "--html", &page, "--pid", &pid];
    let offered = [&offered[..], &["--busy", "0"]].concat();
    let (text, figures) = cluster.bench(&[&["overload"][..], &offered, &briefly].concat()).await;
    assert!(number(&figures, "best_per_second") > 0.0);
    for phase in figures["phases"].as_array().unwrap() {
        let refused = phase["refused"].as_object().unwrap().values();
        let refused: f64 = refused.map(|count| count.as_f64().unwrap()).sum();
        let accepted = number(phase, "accepted");
        let sent = number(phase, "due") - number(phase, "not_sent");
        assert!(accepted > 0.0 && accepted + refused == sent, "{phase}");
        assert_eq!(number(phase, "delivered"), accepted);
    }
    let memory = &figures["memory_bytes"][0];
    assert!(number(memory, "most") > 0.0 && number(memory, "after") > 0.0, "{memory}");
    let rounds = figures["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2, "{figures}");
    // A busy machine may answer nothing within half a second.
    for round in rounds {
        let share = number(round, "accepted_per_second") / number(round, "best_per_second");
        assert!((number(round, "share") - share).abs() < 0.001 && share >= 0.0, "{round}");
    }
    assert!(text.contains("ROUND") && text.contains("The median round of 2"), "{text}");
    assert!(text.contains("NOT SENT") && text.contains("recovered"), "{text}");
    assert_eq!(std::fs::read_to_string(&page).unwrap().matches("<svg").count(), 3);
    assert_eq!(figures["busy"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_tells_what_is_refused_of_a_closed_loop_beside_busy_programs() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("overload.html").display().to_string();
    let briefly = ["--best", "200ms", "--calm", "200ms", "--duration", "500ms", "--times", "1"];
    let busy = ["--clients", "40", "--busy", "2", "--busy-window", "16", "--html", &page];
    let (text, figures) = cluster.bench(&[&["overload"][..], &busy, &briefly].concat()).await;
    let busy = &figures["busy"];
    assert_eq!((&busy["programs"], &busy["window"]), (&Value::from(2), &Value::from(16)));
    let (accepted, refused) = (number(busy, "accepted"), number(busy, "refusals"));
    assert!(accepted > 0.0 && accepted + refused == number(busy, "sent"), "{busy}");
    // 640 under way, which even a slow machine answers within forward.patience.
    assert!(refused <= accepted / 100.0, "{busy}");
    assert!(number(&busy["delivered_ms"], "p99") > 0.0, "{busy}");
    assert!(text.contains("beside 2 busy programs"), "{text}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("beside 2 busy programs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn login_counts_logins_and_failures() {
    let cluster = Cluster::start().await;
    let pid = format!("this={}", std::process::id());
    let arguments = ["login", "--clients", "8", "--threads", "1", "--pid", &pid];
    let (text, figures) = cluster.bench(&[&arguments[..], &BRIEFLY].concat()).await;
    assert!(number(&figures, "logins") > 0.0 && number(&figures["logged_in_ms"], "p99") > 0.0);
    assert_eq!(figures["failures"], Value::Object(serde_json::Map::new()));
    assert!(figures["cpu_seconds"]["this"].is_number(), "{figures}");
    assert!(text.contains("logins a second") && text.contains("this: CPU"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn churn_loses_nothing_and_counts_nothing_twice() {
    let cluster = Cluster::start().await;
    let cut = ["churn", "--clients", "6", "--churn", "20", "--away", "20ms", "--window", "2"];
    let times = ["--duration", "1500ms", "--warm-up", "0s"];
    let (text, figures) = cluster.bench(&[&cut[..], &times].concat()).await;
    let churn = &figures["churn"];
    let delivered = number(&figures, "delivered");
    assert!(delivered > 0.0 && delivered == number(&figures, "accepted"), "{figures}");
    assert_eq!(number(churn, "by_push") + number(churn, "by_sync"), delivered, "{churn}");
    assert!(number(churn, "cut") > 0.0, "{churn}");
    assert!(number(churn, "reconnected") >= number(churn, "cut"), "{churn}");
    assert!(text.contains("cut off") && text.contains("by sync"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_all_clients_are_back() {
    let cluster = Cluster::start().await;
    let (text, figures) = cluster.bench(&["storm", "--clients", "30", "--rounds", "2"]).await;
    let rounds = figures["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        assert!(number(round, "missing") == 0.0 && number(round, "tries") >= 30.0, "{round}");
        let times = ["half_ms", "most_ms", "all_ms"].map(|name| number(round, name));
        assert!(times.is_sorted() && times[0] > 0.0, "{round}");
        assert_eq!(round["online"].as_array().unwrap().last().unwrap().as_f64(), Some(30.0));
    }
    assert!(text.contains("MILLISECONDS UNTIL BACK") && text.contains("round 2"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_are_held_and_ping() {
    let cluster = Cluster::start().await;
    let pid = format!("this={}", std::process::id());
    let held = ["idle", "--connections", "20", "--settle", "0s", "--hold", "1s", "--pid", &pid];
    let arguments = [&held[..], &["--ping-interval", "50ms"]].concat();
    let (text, figures) = cluster.bench(&arguments).await;
    assert!(number(&figures, "pongs") >= 20.0, "{figures}");
    assert_eq!(number(&figures, "lost"), 0.0);
    assert!(figures["samples"].as_array().unwrap().len() >= 2, "{figures}");
    assert!(number(&figures["all"], "bytes_largest") >= number(&figures["all"], "bytes_first"));
    assert!(text.contains("20 idle clients, held for 1s") && text.contains("the kernel"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn promote_shows_what_just_the_bytes_of_the_sessions_take() {
    let folder = tempfile::tempdir().unwrap();
    let _dev = dev(folder.path(), &["--gateways", "3", "--logics", "1"]).await;
    let mut command = Command::new(program("imago"));
    command.args(["bench", "promote", "--times", "2", "--sessions", "31", "--data", "."]);
    command.args(["--json", "figures.json"]).current_dir(&folder).kill_on_drop(true);
    let ran = command.output().await.unwrap();
    let (text, errors) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{errors}");
    let figures = std::fs::read(folder.path().join("figures.json")).unwrap();
    let figures: Value = serde_json::from_slice(&figures).unwrap();
    assert_eq!(number(&figures, "gateways"), 3.0);
    assert_eq!(figures["all_ms"].as_array().unwrap().len(), 2);
    assert!(number(&figures, "limit_bytes") > 31.0 * 60.0, "{figures}");
    assert!(number(&figures, "limit_median_ms") > 0.0, "{figures}");
    assert!(number(&figures, "fresh_median_ms") > 0.0, "{figures}");
    let linked = number(&figures, "linked_median_ms");
    assert!(linked > 0.0 && linked <= number(&figures, "median_ms"), "{figures}");
    assert!(text.contains("the limit, just the"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_out_of_a_file_of_tokens() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let tokens = ["anna", "bert", "carl"].map(|account| cluster.world.token(account));
    std::fs::write(&file, tokens.join("\n")).unwrap();
    let file = file.display().to_string();
    // The second run has what is left of the first.
    for _ in 0..2 {
        let (_, figures) =
            cluster.measure(&[&["talk", "--tokens", &file][..], &BRIEFLY].concat()).await;
        assert_eq!(number(&figures, "delivered"), number(&figures, "accepted"));
    }
    let mut command = Command::new(program("imago"));
    command.args(["bench", "talk", "--clients", "4", "--gateway", "ws://127.0.0.1:1", "--tokens"]);
    let ran = command.arg(&file).output().await.unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(errors.contains("expected 4 tokens, one for each client, got 3"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_refused_by_flag() {
    for (arguments, part) in [
        (&["talk", "--clients", "3"][..], "--clients: expected an even number"),
        (&["group", "--members", "1"], "--members: expected 2 to 100000"),
        (&["talk", "--clients", "2000000000"], "--clients: expected 1 to "),
        (&["group", "--online", "0"], "--online: expected more than 0"),
        (&["fanout", "--receivers", "0"], "--receivers: expected 1"),
        (&["limit", "--rounds", "0"], "--rounds: expected 1 to 100"),
        (&["login", "--clients", "0"], "--clients: expected 1 to "),
        (
            &["login", "--duration", "0s"],
            "--duration <DURATION>': expected a time like 250ms or 2s, from 1ms to 1h",
        ),
        (&["idle", "--connections", "0"], "--connections: expected 1 to 1000000"),
        (
            &["idle", "--ping-interval", "1h"],
            "--ping-interval <PING_INTERVAL>': expected a time like 250ms or 2s, from 10ms to 1m 50s",
        ),
        (
            &["idle", "--hold", "25h"],
            "--hold <HOLD>': expected a time like 250ms or 2s, from 0s to 1day",
        ),
        (&["churn", "--clients", "5"], "--clients: expected an even number"),
        (&["churn", "--churn", "0"], "--churn: expected 0.001 to 100000"),
        (
            &["churn", "--away", "2m"],
            "--away <AWAY>': expected a time like 250ms or 2s, from 0s to 1m",
        ),
        (&["storm", "--clients", "0"], "--clients: expected 1 to "),
        (&["storm", "--rounds", "101"], "--rounds: expected 1 to 100"),
        (
            &["storm", "--deadline", "2h"],
            "--deadline <DEADLINE>': expected a time like 250ms or 2s, from 100ms to 1h",
        ),
        (&["promote", "--times", "0"], "--times: expected 1 to 1000"),
        (&["promote", "--sessions", "1000001"], "--sessions: expected 0 to 1000000"),
        (&["login", "--threads", "0"], "'--threads <N>': 0 is not in 1..=1024"),
        (&["overload", "--times", "0.5"], "--times: expected 1 to 100"),
        (&["overload", "--share", "2"], "--share: expected 0.01 to 0.9"),
        (&["overload", "--rounds", "0"], "--rounds: expected 1 to 100"),
        (&["overload", "--busy", "65"], "--busy: expected 0 to 64"),
        (&["overload", "--busy-window", "0"], "--busy-window: expected 1 to 1000"),
        (
            &["overload", "--calm", "1ms"],
            "--calm <CALM>': expected a time like 250ms or 2s, from 100ms to 10m",
        ),
        (&["talk", "--gateway", "tcp://h:1"], "--gateway \"tcp://h:1\": expected ws://HOST:PORT"),
        (&["idle", "--gateway", "ws://::1:80"], "in brackets"),
        (&["limit", "--fanout", "0"], "--fanout: expected 1 to 99999"),
        (&["talk", "--window", "18446744073709551615"], "--window: expected 1 to 65536"),
    ] {
        let mut command = Command::new(program("imago"));
        let ran = command.arg("bench").args(arguments).output().await.unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && errors.contains(part), "{arguments:?}: {errors}");
    }
}
