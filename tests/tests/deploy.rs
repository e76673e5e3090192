//! The files in `deploy/` work as they are: every server in them takes its configuration.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use imago_tests::program;
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

#[test]
fn every_server_of_the_compose_file_takes_its_configuration() {
    let mut compose: Value = serde_yaml_ng::from_str(&read("compose/compose.yaml")).unwrap();
    compose.apply_merge().unwrap();
    // The services themselves are merged from templates.
    let Value::Mapping(services) = &mut compose["services"] else { panic!("no services") };
    let known = secrets();
    let mut checked = Vec::new();
    for (id, service) in services {
        service.apply_merge().unwrap();
        service["environment"].apply_merge().unwrap();
        let Some(name @ ("gateway" | "logic")) = service["command"][0].as_str() else { continue };
        let environment: Variables =
            serde_yaml_ng::from_value(service["environment"].clone()).unwrap();
        let filled = environment.iter().map(|(name, text)| (name.clone(), filled_in(text, &known)));
        check(name, &[], &filled.collect());
        assert_eq!(environment["IMAGO_SERVICE__ID"], id.as_str().unwrap());
        assert!(service["stop_grace_period"].is_string(), "{id:?} may not drain");
        checked.push(name.to_owned());
    }
    assert_eq!(checked, ["gateway", "gateway", "logic", "logic"]);
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
