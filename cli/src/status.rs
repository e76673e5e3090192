//! `imago status`: the cluster, from any member's monitor port.

use std::{
    collections::{BTreeMap, VecDeque},
    io::IsTerminal,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use imago_container::{cli::print, monitor::PeersReport};

use crate::{dev::state::DevState, printable::printable, table::table};

/// Members looked at, at most: a registry may be wrong, but not without end.
const MEMBERS_MAX: usize = 1000;

/// Flags of `imago status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago status --monitor http://10.0.0.5:9000\n\n\
Without --monitor, the cluster that `imago dev` runs. On a terminal the table is live; \
Ctrl-C ends it.")]
pub(crate) struct StatusArgs {
    /// Monitor port of any member; the others are found through it. May be given several times
    #[arg(long, value_name = "URL")]
    monitor: Vec<String>,
    /// Data directory of the `imago dev` that is looked at otherwise
    #[arg(long, value_name = "DIR", default_value = crate::dev::DATA_DIR)]
    data: PathBuf,
    /// Print the table once
    #[arg(long)]
    once: bool,
    /// Print what every member says, as JSON, once
    #[arg(long)]
    json: bool,
}

/// What is known of a member.
type Seen = BTreeMap<String, Result<PeersReport, String>>;

/// Shows the cluster.
pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let mut monitors = args.monitor.clone();
    if monitors.is_empty() {
        let state = DevState::read(&args.data)?;
        monitors.extend(state.members.into_iter().map(|member| member.monitor));
    }
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let live = !args.once && !args.json && std::io::stdout().is_terminal();
    loop {
        let seen = crawl(&http, &monitors).await;
        if seen.values().all(Result::is_err) {
            let why = seen.values().find_map(|report| report.as_ref().err());
            bail!(
                "no member answers at {}: {}",
                monitors.join(", "),
                why.map_or("", String::as_str)
            );
        }
        if args.json {
            let reports: Vec<_> = seen.values().flatten().collect();
            out!("{}", serde_json::to_string_pretty(&reports)?);
        } else {
            if live {
                // Clear the screen, go to its top.
                print("\x1b[2J\x1b[H");
            }
            print(render(&seen));
        }
        if !live {
            return Ok(());
        }
        out!("\nevery second; Ctrl-C ends");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            interrupted = tokio::signal::ctrl_c() => return interrupted.context("cannot handle Ctrl-C"),
        }
    }
}

/// Asks the members, and the members that they name.
async fn crawl(http: &reqwest::Client, monitors: &[String]) -> Seen {
    let mut seen = Seen::new();
    let mut ahead: VecDeque<String> =
        monitors.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
    while let Some(url) = ahead.pop_front() {
        if seen.contains_key(&url) || seen.len() >= MEMBERS_MAX {
            continue;
        }
        let report = ask(http, &url).await;
        if let Ok(report) = &report {
            ahead.extend(report.peers.iter().filter_map(|peer| peer.monitor.clone()));
        }
        seen.insert(url, report);
    }
    seen
}

async fn ask(http: &reqwest::Client, url: &str) -> Result<PeersReport, String> {
    let answer = http.get(format!("{url}/peers")).send().await.map_err(|_| "does not answer")?;
    answer.json().await.map_err(|error| format!("answers something else: {error}"))
}

fn render(seen: &Seen) -> String {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (url, report) in seen {
        match report {
            Ok(report) => {
                rows.push(row(report));
                notes.extend(waits(report));
            }
            Err(why) => notes.push(format!("{url} {why}")),
        }
    }
    rows.sort();
    let headings =
        ["ROLE", "SERVER", "STATE", "ADDRESS", "UP", "SESSIONS", "LINKS", "QUEUED", "PENDING"];
    let mut text = table(&headings, &rows);
    for note in notes {
        text.push_str(&format!("! {}\n", printable(&note)));
    }
    text
}

fn row(report: &PeersReport) -> Vec<String> {
    let own = &report.own;
    let linked = report.peers.iter().filter(|peer| peer.linked).count();
    let queued: usize = report.peers.iter().map(|peer| peer.queue_frames).sum();
    let pending: usize = report.peers.iter().map(|peer| peer.pending).sum();
    vec![
        own.role.clone(),
        own.id.clone(),
        own.state.clone(),
        own.address.clone(),
        humantime::format_duration(Duration::from_secs(own.uptime_seconds as u64)).to_string(),
        own.sessions.map_or_else(|| "-".to_owned(), |sessions| sessions.to_string()),
        format!("{linked}/{}", report.peers.len()),
        queued.to_string(),
        pending.to_string(),
    ]
}

/// Who waits for whom, and what else people should know.
fn waits(report: &PeersReport) -> Vec<String> {
    let own = &report.own;
    let mut notes: Vec<String> = own
        .waiting_for
        .iter()
        .map(|waiting| {
            format!("{} waits for {} for {:.1} s", own.id, waiting.id, waiting.since_seconds)
        })
        .collect();
    if !own.excluded.is_empty() {
        notes.push(format!("{} was promoted without {}", own.id, own.excluded.join(", ")));
    }
    if let Some(trouble) = &own.trouble {
        notes.push(format!("{} is {}: {trouble}", own.id, own.state));
    }
    if let Some(error) = &own.registry_error {
        notes.push(format!("{} cannot read the registry: {error}", own.id));
    }
    notes
}

#[cfg(test)]
mod tests {
    use imago_container::monitor::{SelfReport, Waiting};

    use super::*;

    #[test]
    fn the_table_says_who_waits_for_whom() {
        let own = SelfReport {
            id: "logic-2".into(),
            role: "logic".into(),
            state: "young".into(),
            waiting_for: vec![Waiting { id: "gateway-2".into(), since_seconds: 3.21 }],
            ..SelfReport::default()
        };
        let mut seen = Seen::new();
        seen.insert("http://a".into(), Ok(PeersReport { own, ..PeersReport::default() }));
        seen.insert("http://b".into(), Err("does not answer".into()));
        let trouble = Some("message store cannot be written or read: disk full, for 4.0 s".into());
        let (id, state) = ("logic-1".into(), "unfit".into());
        let own = SelfReport { id, state, trouble, ..SelfReport::default() };
        seen.insert("http://c".into(), Ok(PeersReport { own, ..PeersReport::default() }));
        let text = render(&seen);
        assert!(text.contains("logic-1  unfit"), "{text}");
        assert!(text.contains("logic-1 is unfit: message store cannot be written"), "{text}");
        assert!(text.contains("logic-2  young"), "{text}");
        assert!(text.contains("logic-2 waits for gateway-2 for 3.2 s"), "{text}");
        assert!(text.contains("http://b does not answer"), "{text}");
    }
}
