//! The modules of a crate import each other in one direction.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Circles among the top-level modules of a crate that are left, with the reason. The list only shrinks.
const KNOWN_CIRCLES: [(&str, &[&str], &str); 4] = [
    (
        "client",
        &["builder", "client", "core", "driver", "push", "request"],
        "a client begins with a builder and makes requests, both of which name it",
    ),
    ("gateway", &["builder", "gateway"], "a gateway begins with a builder, which builds a gateway"),
    (
        "gateway",
        &["delivery", "redelivery", "session"],
        "what a session was given decides what it is owed, and both are asked for by session",
    ),
    ("logic", &["layer", "router"], "a layer is around a handler, and a router has layers"),
];

/// The top-level modules of a crate, each with those that it imports from.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// A source file without comments and inline tests.
struct Source {
    /// Names of the modules from the crate's root to the file's own.
    module: Vec<String>,
    text: String,
}

/// The sources of a crate, without test modules.
fn sources(root: &Path) -> Vec<Source> {
    let (mut sources, mut tests, mut folders) = (Vec::new(), Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = module_of(path.strip_prefix(root).unwrap());
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
                let text = lines.collect::<Vec<_>>().join("\n");
                for declared in text.split("#[cfg(test)]").skip(1) {
                    let Some(name) = declared.trim_start().strip_prefix("mod ") else { continue };
                    let name = name.split([';', ' ']).next().unwrap_or_default().to_owned();
                    tests.push([module.clone(), vec![name]].concat());
                }
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                sources.push(Source { module, text: code.to_owned() });
            }
        }
    }
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    sources
}

/// The module of a file, as a path below the crate's root.
fn module_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let parts = parts.iter().map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| !["mod", "lib", "main"].contains(&part.as_str())).collect()
}

/// The end of what is one path, or one tree of paths, at the begin of `text`.
fn path_end(text: &str) -> usize {
    let mut depth = 0_u32;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if text[..at].ends_with("::") || depth > 0 => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' if depth > 1 => depth -= 1,
            _ if depth > 0 => {}
            letter if letter.is_alphanumeric() || letter == '_' || letter == ':' => {}
            _ => return at,
        }
    }
    text.len()
}

/// The paths of a tree such as `crate::{a, b::{c, d as e}}`. What is renamed has its new name at the end.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let Some((head, inner)) = tree.split_once('{') else {
        let mut words = tree.split_whitespace();
        let path = words.next().unwrap_or_default();
        let names = path.split("::").filter(|name| !name.is_empty());
        // `as` and another name.
        return vec![names.chain(words.nth(1)).map(Into::into).collect()];
    };
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    let head: Vec<String> =
        head.trim().split("::").filter(|name| !name.is_empty()).map(Into::into).collect();
    let (mut depth, mut branches) = (0_u32, vec![String::new()]);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(String::new());
                continue;
            }
            _ => {}
        }
        branches.last_mut().unwrap().push(letter);
    }
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches.flat_map(|branch| paths(branch)).map(|path| [head.clone(), path].concat()).collect()
}

/// All paths of a text that begin with one of `roots`.
fn paths_from(text: &str, roots: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in roots {
        let begin = format!("{root}::");
        for (at, _) in text.match_indices(&begin) {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            if !(before.is_alphanumeric() || before == '_' || before == ':') {
                found.extend(paths(&text[at..at + path_end(&text[at..])]));
            }
        }
    }
    found
}

/// The path from the crate's root that `path` stands for in `module`; `None` where it does not begin there.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    if path.first()? == "crate" {
        return Some(path[1..].to_vec());
    }
    let ups = path.iter().take_while(|name| *name == "super").count();
    let base = module.len().checked_sub(ups)?;
    Some([&module[..base], &path[ups..]].concat())
}

/// Reads which top-level module of a crate imports from which. What the root re-exports counts for the
/// module that it comes from.
fn graph(root: &Path) -> Graph {
    let sources = sources(root);
    let (roots, inner): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| source.module.is_empty());
    let mut graph = Graph::new();
    for source in &inner {
        graph.entry(source.module[0].clone()).or_default();
    }
    let mut origin: BTreeMap<String, String> = BTreeMap::new();
    let modules: Vec<&str> = graph.keys().map(String::as_str).collect();
    for source in &roots {
        for item in source.text.split("use ").skip(1) {
            let item = item.split(';').next().unwrap_or_default();
            for path in paths(item.trim_start_matches("self::").trim_start_matches("crate::")) {
                if let [module, .., name] = path.as_slice()
                    && modules.contains(&module.as_str())
                {
                    origin.insert(name.clone(), module.clone());
                }
            }
        }
    }
    for source in &inner {
        for path in paths_from(&source.text, &["crate", "super"]) {
            let Some(path) = absolute(&source.module, &path) else { continue };
            let Some(name) = path.first() else { continue };
            let used = if graph.contains_key(name) { Some(name) } else { origin.get(name) };
            if let Some(used) = used.filter(|used| **used != source.module[0]) {
                graph.get_mut(&source.module[0]).unwrap().insert(used.clone());
            }
        }
    }
    graph
}

/// All that `from` imports from, by itself or through others.
fn reach(graph: &Graph, from: &str) -> BTreeSet<String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = next.pop() {
        for used in &graph[&module] {
            if reached.insert(used.clone()) {
                next.push(used.clone());
            }
        }
    }
    reached
}

/// Sets of modules that all reach each other.
fn circles(graph: &Graph) -> BTreeSet<Vec<String>> {
    let reached: BTreeMap<&String, _> = graph.keys().map(|it| (it, reach(graph, it))).collect();
    let of = |one: &String| -> Vec<String> {
        graph
            .keys()
            .filter(|it| reached[one].contains(*it) && reached[it].contains(one))
            .cloned()
            .collect()
    };
    graph.keys().map(of).filter(|circle| circle.len() > 1).collect()
}

/// The folders of the workspace that hold a crate.
fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut crates: Vec<_> =
        folders.filter(|it| it.join("Cargo.toml").is_file() && it.join("src").is_dir()).collect();
    crates.sort();
    assert!(crates.len() > 5, "only {crates:?} found");
    crates
}

#[test]
fn modules_import_each_other_in_one_direction() {
    let mut found = BTreeSet::new();
    for path in crates() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let graph = graph(&path.join("src"));
        for circle in circles(&graph) {
            for module in &circle {
                let within: Vec<_> =
                    graph[module].iter().filter(|it| circle.contains(it)).collect();
                println!("{name}: {module} imports from {within:?}");
            }
            found.insert((name.clone(), circle));
        }
    }
    let known: BTreeSet<_> = KNOWN_CIRCLES
        .iter()
        .map(|(name, circle, _)| {
            ((*name).to_owned(), circle.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(found, known, "circles that there are, and KNOWN_CIRCLES");
}

#[test]
fn a_circle_is_found_through_re_exports_and_super() {
    let folder = std::env::temp_dir().join(format!("imago-circles-{}", std::process::id()));
    fs::create_dir_all(folder.join("b")).unwrap();
    let file = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    file("lib.rs", "mod a;\nmod b;\nmod c;\npub use b::{inner::Thing as Renamed, Other};\n");
    file("a.rs", "use crate::{Renamed, c};\n#[cfg(test)]\nmod tests { use crate::b; }\n");
    file("b/mod.rs", "mod inner;\n#[cfg(test)]\nmod model;\n// use crate::c;\n");
    file("b/inner.rs", "use super::{Own, super::c::{self, Name}};\n");
    file("b/model.rs", "use crate::a;\n");
    file("c.rs", "fn it() -> super::Other { it() }\n");
    let graph = graph(&folder);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(graph["a"], ["b".to_owned(), "c".to_owned()].into());
    assert_eq!(graph["b"], ["c".to_owned()].into());
    assert_eq!(graph["c"], ["b".to_owned()].into());
    assert_eq!(circles(&graph), [vec!["b".to_owned(), "c".to_owned()]].into());
}
