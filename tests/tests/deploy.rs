//! The files in `deploy/` work as they are: every server in them takes its configuration.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use futures::StreamExt;
use imago_client::{Client, NewGroup};
use imago_tests::{ConsulAgent, PostgresServer, RedisServer, Server, World, program};
use serde::Deserialize;
use serde_yaml_ng::Value;

type Variables = BTreeMap<String, String>;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

fn read(file: impl AsRef<Path>) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap()
}

/// Runs a server's `--check` with these variables and nothing else.
fn check(name: &str, arguments: &[&str], variables: &Variables) {
    let mut command = Command::new(program(name));
    command.args(arguments).arg("--check").env_clear().envs(variables);
    let checked = command.output().unwrap();
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.stdout, b"configuration ok\n", "{name} {arguments:?}: {errors}");
}

/// Lines `NAME=value` of an environment file.
fn variables(text: &str) -> Variables {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What `deploy/make-secrets` makes up.
fn secrets() -> Variables {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made-up.env");
    let made = || Command::new(deploy().join("make-secrets")).arg(&file).output().unwrap();
    assert!(made().status.success());
    let first = std::fs::read_to_string(&file).unwrap();
    // Made up once: a second call would lock everybody out.
    assert!(made().status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    variables(&first)
}

/// Replaces `${NAME:?why}` (compose) and `$(NAME)` (Kubernetes).
fn filled_in(text: &str, known: &Variables) -> String {
    let mut filled = text.to_owned();
    for (open, close) in [("${", '}'), ("$(", ')')] {
        while let Some((before, rest)) = filled.split_once(open) {
            let (reference, after) = rest.split_once(close).unwrap();
            let name = reference.split(':').next().unwrap();
            let value = known.get(name).unwrap_or_else(|| panic!("{name} is nowhere set"));
            filled = format!("{before}{value}{after}");
        }
    }
    filled
}

/// Program and environment of each of our servers in the compose file.
fn composed(known: &Variables) -> Vec<(String, Variables)> {
    let mut compose: Value = serde_yaml_ng::from_str(&read("compose/compose.yaml")).unwrap();
    compose.apply_merge().unwrap();
    // The services themselves are merged from templates.
    let Value::Mapping(services) = &mut compose["services"] else { panic!("no services") };
    let mut found = Vec::new();
    for (id, service) in services {
        service.apply_merge().unwrap();
        service["environment"].apply_merge().unwrap();
        let Some(name @ ("gateway" | "logic")) = service["command"][0].as_str() else { continue };
        let environment: Variables =
            serde_yaml_ng::from_value(service["environment"].clone()).unwrap();
        assert_eq!(environment["IMAGO_SERVICE__ID"], id.as_str().unwrap());
        assert!(service["stop_grace_period"].is_string(), "{id:?} may not drain");
        let filled = environment.iter().map(|(name, text)| (name.clone(), filled_in(text, known)));
        found.push((name.to_owned(), filled.collect()));
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["gateway", "gateway", "logic", "logic"]);
    found
}

#[test]
fn every_server_of_the_compose_file_takes_its_configuration() {
    for (name, environment) in composed(&secrets()) {
        check(&name, &[], &environment);
    }
}

/// As docs/operations.md has it: `set -a; . deploy/compose/.env`, and whatever else is in the same environment.
#[test]
fn every_program_takes_the_variables_of_all_programs() {
    let page = std::fs::read_to_string(deploy().join("../docs/operations.md")).unwrap();
    assert!(
        page.contains("\nset -a; . deploy/compose/.env "),
        "docs/operations.md tells of another way"
    );
    let mut all = secrets();
    for known in [all.clone(), {
        all.extend(composed(&all).into_iter().flat_map(|(_, environment)| environment));
        all
    }] {
        check("gateway", &[], &known);
        check("logic", &[], &known);
        assert!(token("alice", &known).starts_with("ey"));
    }
}

/// A token as a user makes one with the secrets.
fn token(account: &str, known: &Variables) -> String {
    let mut command = Command::new(program("imago"));
    let made = command.args(["token", "--account", account]).env_clear().envs(known).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// The servers of the compose file on this machine, with real backends: only addresses differ.
#[tokio::test(flavor = "multi_thread")]
async fn people_chat_on_the_cluster_of_the_compose_file() {
    let (consul, redis) = (ConsulAgent::start().await, RedisServer::start().await);
    let (world, known) = (World::gossip().await, secrets());
    let addresses = [
        ("IMAGO_NAMING__URL", format!("consul://{}", consul.address())),
        ("IMAGO_STORE__URL", PostgresServer::shared().await.database().await),
        ("IMAGO_DIRECTORY__URL", redis.url()),
        ("IMAGO_SERVICE__ADDRESS", "127.0.0.1".to_owned()),
        ("IMAGO_MONITOR__LISTEN", "127.0.0.1:0".to_owned()),
        ("IMAGO_LISTEN__LINK", "127.0.0.1:0".to_owned()),
    ];
    let mut servers = Vec::new();
    for (name, mut environment) in composed(&known) {
        for (variable, address) in &addresses {
            if let Some(value) = environment.get_mut(*variable) {
                value.clone_from(address);
            }
        }
        if name == "gateway" {
            for variable in ["IMAGO_LISTEN__WS", "IMAGO_LISTEN__TCP"] {
                environment.insert(variable.to_owned(), "127.0.0.1:0".to_owned());
            }
        }
        let id = environment["IMAGO_SERVICE__ID"].clone();
        let variables: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        servers.push(world.server(&name, &id, &variables).await);
    }
    for server in &servers {
        server.ready().await;
    }
    let log_in = async |account: &str, gateway: &Server| {
        let client = Client::builder([gateway.ws()]).token(token(account, &known));
        client.connect().await.unwrap()
    };
    let (alice, bob) = (log_in("alice", &servers[0]).await, log_in("bob", &servers[1]).await);
    let team = alice.group_create(NewGroup::new("team", ["bob"])).await.unwrap();
    alice.talk("bob", "hello").await.unwrap();
    alice.group_talk(team, "hello all").await.unwrap();
    let mut messages = bob.messages();
    let mut received = BTreeSet::new();
    while received.len() < 2 {
        let next = tokio::time::timeout(Duration::from_secs(20), messages.next()).await;
        received.insert(next.unwrap().unwrap().body);
    }
    assert_eq!(received, ["hello", "hello all"].map(String::from).into());
}

/// A variable of a container in Kubernetes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodVariable {
    name: String,
    value: Option<String>,
    value_from: Option<Value>,
}

impl PodVariable {
    fn resolved(&self, known: &Variables) -> String {
        if let Some(text) = &self.value {
            return filled_in(text, known);
        }
        let source = self.value_from.as_ref().unwrap();
        match source["secretKeyRef"]["key"].as_str() {
            Some(key) => known[key].clone(),
            None if source["fieldRef"]["fieldPath"] == "status.podIP" => "10.1.2.3".to_owned(),
            None => "pod-7d4b9c-x2x4z".to_owned(),
        }
    }
}

#[test]
fn every_server_of_the_kubernetes_manifests_takes_its_configuration() {
    let known = secrets();
    let mut checked = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(&read("kubernetes/imago.yaml")) {
        let manifest = Value::deserialize(document).unwrap();
        if manifest["kind"] != "Deployment" {
            continue;
        }
        let container = &manifest["spec"]["template"]["spec"]["containers"][0];
        let name = container["command"][0].as_str().unwrap();
        let listed: Vec<PodVariable> = serde_yaml_ng::from_value(container["env"].clone()).unwrap();
        let is_ours = |variable: &&PodVariable| variable.name.starts_with("IMAGO_");
        let environment = listed.iter().filter(is_ours);
        let environment: Variables = environment
            .map(|variable| (variable.name.clone(), variable.resolved(&known)))
            .collect();
        check(name, &[], &environment);
        for (probe, path) in [("readinessProbe", "/ready"), ("livenessProbe", "/health")] {
            assert_eq!(container[probe]["httpGet"]["path"], path, "{name}");
        }
        assert!(container["lifecycle"]["preStop"].is_mapping(), "{name} has no drain hook");
        checked.push(name.to_owned());
    }
    assert_eq!(checked, ["gateway", "logic"]);
}

#[test]
fn the_services_of_systemd_take_their_configuration() {
    for name in ["gateway", "logic"] {
        let unit = read(format!("systemd/imago-{name}.service"));
        let installed = format!("/etc/imago/{name}.toml");
        let command = format!("ExecStart=/usr/local/bin/{name} --config {installed}");
        assert!(unit.lines().any(|line| line == command), "{unit}");
        assert!(unit.contains(&format!("EnvironmentFile=/etc/imago/{name}.env\n")));
        let file = deploy().join(format!("systemd/{name}.toml"));
        let example = variables(&read(format!("systemd/{name}.env.example")));
        check(name, &["--config", file.to_str().unwrap()], &example);
    }
}
