//! The rules of how this project is built and written.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file that is, or would be, in the repository, with one of these endings.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !["target", ".git", ".imago"].contains(&name.as_str()) {
                folders.push(path);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn crates_depend_on_each_other_as_the_architecture_says() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut graph = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let ours: BTreeSet<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("imago"))
            .collect();
        graph.insert(package["name"].as_str().unwrap(), ours);
    }
    let servers = ["imago-container", "imago-kit", "imago-naming", "imago-proto"];
    for (package, allowed) in [
        ("imago-kit", &[][..]),
        ("imago-proto", &[]),
        ("imago-naming", &["imago-kit"]),
        ("imago-container", &["imago-kit", "imago-naming", "imago-proto"]),
        ("imago-gateway", &servers),
        ("imago-logic", &servers),
        ("imago-client", &["imago-kit", "imago-proto"]),
        ("imago-benches", &["imago-container", "imago-logic", "imago-proto"]),
    ] {
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let used = graph.get(package).unwrap_or_else(|| panic!("no package {package}"));
        assert!(used.is_subset(&allowed), "{package} depends on {used:?}, allowed are {allowed:?}");
    }
}

#[test]
fn every_source_file_says_what_it_is_for_and_is_short() {
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        let is_test_module =
            path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        if !text.starts_with("//!") && !is_test_module {
            faults.push(format!("{} does not begin with //!", path.display()));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!(
                "{} has {lines} lines, expected at most {LINES_MAX}",
                path.display()
            ));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn library_sources_neither_unwrap_nor_leave_things_undone() {
    let undone = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("FIX", "ME"),
    ];
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for mark in undone {
            if text.contains(mark) {
                faults.push(format!("{name}: {mark}"));
            }
        }
        let is_test = name.contains("tests")
            || name.contains("model")
            || name.contains("conformance")
            || name.contains("support");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if !is_test && (code.contains(".unwrap()") || code.contains(".expect(\"\")")) {
            faults.push(format!("{name}: unwrap"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn nothing_names_this_machine_or_where_packages_come_from() {
    let hosts = [
        concat!("crates", ".io"),
        concat!("deb.", "debian.org"),
        concat!("index.", "crates"),
        concat!("/work/", "main"),
        concat!("/root", "/"),
    ];
    let mut faults = Vec::new();
    let kinds = [
        ".rs",
        ".md",
        ".toml",
        ".tsv",
        ".proto",
        ".sh",
        "test",
        "run",
        "instructions",
        "install-consul",
        "install-iproute2",
        "install-redis",
        "install-valgrind",
    ];
    for path in files(&kinds) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for host in hosts {
            if text.contains(host) {
                faults.push(format!("{}: {host}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
