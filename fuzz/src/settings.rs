//! The text of a configuration file.

use std::{io::Write, net::SocketAddr, time::Duration};

use imago_kit::settings::{Program, Settings, SettingsError};

/// Every key there is, of every type.
const DEFAULTS: &str = r#"
[cluster]
name = "imago"
secret = ""
[service]
port = 0
tags = []
[listen]
ws = "0.0.0.0:8000"
strict = true
[limits]
packet = "1 MiB"
[forward]
hold = "5s"
[log]
format = "text"
"#;

const PROGRAMS: &[Program] = &[
    Program { name: "gateway", defaults: DEFAULTS },
    Program { name: "logic", defaults: "[store]\nkind = \"memory\"" },
];

/// A secret that no error and no log may hold.
const SECRET: &str = "correct horse battery staple";

/// What a program makes of its configuration.
#[derive(Debug, PartialEq)]
struct Config {
    name: String,
    port: u16,
    tags: Vec<String>,
    ws: Option<SocketAddr>,
    strict: bool,
    packet: usize,
    hold: Duration,
    format: String,
}

/// Reads a file with this text.
fn load(text: &[u8]) -> Result<Settings, SettingsError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    file.write_all(text).expect("it can be written");
    Settings::load(DEFAULTS, PROGRAMS, Some(file.path()), &[])
}

fn config(settings: &mut Settings) -> Config {
    Config {
        name: settings.text("cluster.name"),
        port: settings.integer("service.port", 0..=50_000),
        tags: settings.list("service.tags"),
        ws: settings.address("listen.ws"),
        strict: settings.flag("listen.strict"),
        packet: settings.bytes("limits.packet", 1024..=64 << 20),
        hold: settings.duration("forward.hold", Duration::ZERO..=Duration::from_secs(60)),
        format: settings.choice("log.format", &["text", "json"]),
    }
}

/// One file.
pub fn settings(data: &[u8]) {
    check_secret(data);
    let Ok(mut settings) = load(data) else { return };
    let read = config(&mut settings);
    // Whatever the file says, a value is in its range: its own, or the fallback.
    assert!(read.port <= 50_000 && (1024..=64 << 20).contains(&read.packet));
    assert!(read.hold <= Duration::from_secs(60));
    assert!(["text", "json"].contains(&&*read.format));
    match settings.finish() {
        Ok(()) => {
            let text = render(&read);
            let mut again = load(text.as_bytes()).expect("what was rendered is TOML");
            assert_eq!(config(&mut again), read, "rendered as {text}");
            again.finish().expect("what was accepted is accepted again");
        }
        Err(SettingsError(lines)) => {
            assert!(!lines.is_empty() && lines.iter().all(|line| !line.is_empty()));
            let once: std::collections::BTreeSet<_> = lines.iter().collect();
            assert_eq!(once.len(), lines.len(), "the same error twice: {lines:?}");
        }
    }
}

/// Checks that a secret in front of the text is never shown, whatever is wrong with the text.
fn check_secret(data: &[u8]) {
    for end in ["\n", " ", ""] {
        check_secret_before(end, data);
    }
}

/// Checks it for a secret that ends with `end`, and a quotation mark where that is not empty.
fn check_secret_before(end: &str, data: &[u8]) {
    let words = SECRET.as_bytes();
    if data.windows(words.len()).any(|window| window == words) {
        return;
    }
    let mark = if end.is_empty() { "" } else { "\"" };
    let text = [format!("[cluster]\nsecret = \"{SECRET}{mark}{end}").as_bytes(), data].concat();
    let shown = match load(&text) {
        Err(error) => format!("{error} {error:?}"),
        Ok(mut settings) => {
            config(&mut settings);
            settings.reject("cluster.secret", "expected another one");
            let debug = format!("{settings:?}");
            format!("{debug} {:?}", settings.finish())
        }
    };
    assert!(!shown.contains(SECRET), "shown: {shown}");
}

/// Returns the text of a file that says the same.
fn render(config: &Config) -> String {
    let Config { name, port, tags, ws, strict, packet, hold, format } = config;
    let tags = tags.iter().map(|tag| quoted(tag)).collect::<Vec<_>>().join(", ");
    let ws = ws.map(|address| address.to_string()).unwrap_or_default();
    let (name, hold) = (quoted(name), hold.as_nanos());
    format!(
        "[cluster]\nname = {name}\n[service]\nport = {port}\ntags = [{tags}]\n[listen]\nws = \"{ws}\"\n\
         strict = {strict}\n[limits]\npacket = {packet}\n[forward]\nhold = \"{hold}ns\"\n\
         [log]\nformat = \"{format}\"\n"
    )
}

/// Returns a TOML string of this text.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c.is_ascii_alphanumeric() {
        true => c.to_string(),
        false => format!("\\U{:08x}", u32::from(c)),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
