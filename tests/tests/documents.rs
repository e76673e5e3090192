//! Pages that are written from other files: `UPDATE_DOCS=1 cargo test -p imago-tests --test documents`.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use imago_container::PROGRAMS;
use imago_tests::World;

const INTRODUCTION: &str = r#"# Configuration

Every key of both servers, with its default. This page is written from the files that are compiled into the programs
(`container/defaults`); `gateway --print-config` and `logic --print-config` print them.

Later layers win: defaults, then the file of `--config`, then the environment (`IMAGO_<SECTION>__<KEY>`, two underscores where a
dot is; lists separated by semicolons), then `--set KEY=VALUE`. An unknown key is an error; in the environment, keys of the other
program are ignored. Times are written `"250ms"`, `"2s"`, `"1m 30s"`, `"15days"`; sizes `"64 KiB"`, `"4 MiB"`, `"1 GiB"`, or as a number of bytes.
Secrets are taken from the environment and from files only.
"#;

/// Writes a comment as paragraphs; lines that are indented in it are kept as they are.
fn write_comment(page: &mut String, comment: &[&str]) {
    let mut is_block = false;
    for line in comment {
        let is_indented = line.starts_with("   ");
        if is_indented != is_block {
            page.push_str(if is_indented { "\n```text\n" } else { "```\n\n" });
            is_block = is_indented;
        }
        let text = if is_indented { line.trim_end() } else { line.trim() };
        writeln!(page, "{text}").unwrap();
    }
    if is_block {
        page.push_str("```\n");
    }
}

/// The keys of one program: a heading, the default and the comment of each.
fn write_program(page: &mut String, name: &str, defaults: &str) {
    writeln!(page, "\n## {name}").unwrap();
    let (mut section, mut comment) = (String::new(), Vec::new());
    for line in defaults.lines().skip_while(|line| !line.starts_with('[')) {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.strip_prefix(' ').unwrap_or(text));
        } else if let Some(name) = line.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            section = name.to_owned();
            writeln!(page, "\n### [{section}]").unwrap();
            comment.clear();
        } else if let Some((key, value)) = line.split_once(" = ") {
            writeln!(page, "\n**`{section}.{key}`** = `{value}`\n").unwrap();
            write_comment(page, &std::mem::take(&mut comment));
        }
    }
}

/// Compares a page with the one in `docs`, or writes that one.
fn compare(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/{name} is out of date: run this test with UPDATE_DOCS=1");
}

#[test]
fn the_page_of_the_configuration_is_that_of_the_defaults() {
    let mut page = INTRODUCTION.to_owned();
    for program in PROGRAMS {
        write_program(&mut page, program.name, program.defaults);
    }
    compare("configuration.md", &page);
}

/// Name, type and help of each of our metrics in a scrape.
fn described(scrape: &str) -> BTreeMap<String, (String, String)> {
    let of = |line: &str, kind: &str| {
        let (name, text) = line.strip_prefix(kind)?.split_once(' ')?;
        name.starts_with("imago_").then(|| (name.to_owned(), text.to_owned()))
    };
    let types: BTreeMap<String, String> =
        scrape.lines().filter_map(|line| of(line, "# TYPE ")).collect();
    let helps = scrape.lines().filter_map(|line| of(line, "# HELP "));
    helps.map(|(name, help)| (name.clone(), (types[&name].clone(), help))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_is_that_of_running_servers() {
    let world = World::gossip().await;
    let gateway = world.gateway("gateway-1", &[]).await;
    // Its Redis is away: metrics of one are there all the same.
    let logic = world.logic("logic-1", &[("directory.url", "redis://127.0.0.1:1")]).await;
    let gateway = described(&gateway.monitor().metrics().await.unwrap());
    let logic = described(&logic.monitor().metrics().await.unwrap());
    let mut page = "# Metrics\n\nEvery metric of both servers, as `GET /metrics` on the monitor port describes it. This page \
         is written from running servers.\n[operations.md](operations.md) says what to watch. Beside these there are the \
         `process_*` metrics that Prometheus\nprograms have.\n\n| metric | of | type | |\n| --- | --- | --- | --- |\n"
        .to_owned();
    let all: BTreeSet<&String> = gateway.keys().chain(logic.keys()).collect();
    for name in all {
        let of = match (gateway.contains_key(name), logic.contains_key(name)) {
            (true, true) => "both",
            (true, false) => "gateway",
            _ => "logic",
        };
        let (kind, help) = gateway.get(name).or_else(|| logic.get(name)).unwrap();
        writeln!(page, "| `{name}` | {of} | {kind} | {help} |").unwrap();
    }
    compare("metrics.md", &page);
}
