//! `imago bench` counts what really happens: against real servers, for moments only.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::process::Stdio;

use imago_tests::{Server, World, program};
use serde_json::Value;
use tokio::process::Command;

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
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("figures.json");
        let mut command = Command::new(program("imago"));
        command.arg("bench").args(arguments).arg("--json").arg(&json);
        for gateway in &self.gateways {
            command.args(["--gateway", &gateway.ws()]);
        }
        command.arg("--secret-file").arg(self.world.secret_file()).stdin(Stdio::null());
        let ran = command.kill_on_drop(true).output().await.unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {errors}");
        let figures = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        (String::from_utf8_lossy(&ran.stdout).into_owned(), figures)
    }
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
async fn overload_accounts_for_every_message_that_was_due() {
    let cluster = Cluster::start().await;
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("overload.html").display().to_string();
    let pid = std::process::id().to_string();
    let briefly = ["--best", "300ms", "--calm", "300ms", "--duration", "500ms"];
    let offered = ["--clients", "4", "--times", "2", "--html", &page, "--pid", &pid];
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
    assert!(text.contains("NOT SENT") && text.contains("recovered"), "{text}");
    assert_eq!(std::fs::read_to_string(&page).unwrap().matches("<svg").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_refused_by_flag() {
    for (arguments, part) in [
        (&["talk", "--clients", "3"][..], "--clients: expected an even number"),
        (&["group", "--members", "1"], "--members: expected 2 to 100000"),
        (&["group", "--online", "0"], "--online: expected more than 0"),
        (&["fanout", "--receivers", "0"], "--receivers: expected 1"),
        (&["limit", "--rounds", "0"], "--rounds: expected 1 to 100"),
        (&["overload", "--times", "0.5"], "--times: expected 1 to 100"),
        (&["overload", "--share", "2"], "--share: expected 0.01 to 0.9"),
        (&["overload", "--calm", "1ms"], "--calm: expected 100ms to 10m"),
        (&["limit", "--fanout", "0"], "--fanout: expected 1 to 99999"),
    ] {
        let mut command = Command::new(program("imago"));
        let ran = command.arg("bench").args(arguments).output().await.unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(!ran.status.success() && errors.contains(part), "{arguments:?}: {errors}");
    }
}
