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
            if path.is_dir() && !["target", ".git", ".imago", "generated"].contains(&name.as_str())
            {
                folders.push(path);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The crates of ARCHITECTURE.md's table: package, folder, and the packages it may depend on; None: all.
fn table_of_crates() -> BTreeMap<String, (String, Option<BTreeSet<String>>)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## Crates\n").expect("a section about crates");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let plain = |cell: &str| cell.trim_matches('`').trim_end_matches('/').to_owned();
    let package_of: BTreeMap<String, String> =
        rows.iter().map(|row| (plain(row[0]), plain(row[1]))).collect();
    let allowed = |cell: &str| match cell {
        "all" => None,
        "nothing of ours" => Some(BTreeSet::new()),
        names => Some(names.split(", ").map(|folder| package_of[folder].clone()).collect()),
    };
    rows.iter().map(|row| (plain(row[1]), (plain(row[0]), allowed(row[3])))).collect()
}

#[test]
fn crates_depend_on_each_other_as_the_architecture_says() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut table = table_of_crates();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let row = table.remove(name);
        let (folder, allowed) = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        let manifest = package["manifest_path"].as_str().unwrap();
        assert_eq!(Path::new(manifest), root().join(folder).join("Cargo.toml"));
        let Some(allowed) = allowed else { continue };
        let used: BTreeSet<String> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("imago"))
            .map(ToOwned::to_owned)
            .collect();
        assert_eq!(used, allowed, "what {name} depends on, and what the table allows");
    }
    assert!(table.is_empty(), "no such crates: {:?}", table.keys());
}

/// The headings of a page, without their marks.
fn headings(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

#[test]
fn cited_pages_and_their_headings_exist() {
    let mut faults = Vec::new();
    let mut cited = 0;
    for path in files(&[".rs", ".toml", ".proto", ".sql", ".md"]) {
        let text = fs::read_to_string(&path).unwrap();
        // Comments wrap: their line breaks and marks count as one space.
        let text =
            text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '#', '-']).trim());
        let text = text.collect::<Vec<_>>().join(" ");
        for (at, _) in text.match_indices("docs/") {
            let rest = &text[at..];
            let Some(end) = rest.find(".md").map(|end| end + ".md".len()) else { continue };
            let page = &rest[..end];
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
            if !page.chars().all(is_name) {
                continue;
            }
            cited += 1;
            let Ok(content) = fs::read_to_string(root().join(page)) else {
                faults.push(format!("{}: no {page}", path.display()));
                continue;
            };
            let heading = rest[end..].strip_prefix(", \"").and_then(|rest| rest.split('"').next());
            if heading.is_some_and(|heading| !headings(&content).contains(heading)) {
                faults.push(format!("{}: no heading {heading:?} in {page}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(cited > 20, "only {cited} citations found");
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
