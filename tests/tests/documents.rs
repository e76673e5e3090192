//! Pages that are written from other files: `UPDATE_DOCS=1 cargo test -p imago-tests --test documents`.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{fmt::Write, fs, path::Path};

use imago_container::PROGRAMS;

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

#[test]
fn the_page_of_the_configuration_is_that_of_the_defaults() {
    let mut page = INTRODUCTION.to_owned();
    for program in PROGRAMS {
        write_program(&mut page, program.name, program.defaults);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is out of date: run this test with UPDATE_DOCS=1"
    );
}
