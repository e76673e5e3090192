//! `imago status`: the cluster, from any member's monitor port.

mod crawl;
mod render;

use std::{collections::BTreeMap, io::IsTerminal, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use imago_kit::{cli::print, err, out};
use imago_local::{DATA_DIR, DevState, monitor_url};

use self::{
    crawl::{Name, crawl},
    render::{render, unanswered},
};

/// Time for one member's answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Flags of `imago status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago status --monitor 10.0.0.5:9000\n\n\
Without --monitor, the cluster that `imago dev` runs. On a terminal the table is live; \
Ctrl-C ends it.")]
pub(crate) struct StatusArgs {
    /// Monitor port of any member, HOST:PORT or http://HOST:PORT; the others are found through it.
    /// May be given several times
    #[arg(long, value_name = "HOST:PORT")]
    monitor: Vec<String>,
    /// Data directory of the `imago dev` that is looked at otherwise
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data: PathBuf,
    /// Print the table once
    #[arg(long)]
    once: bool,
    /// Print what every member says, as JSON, once; those that do not answer are named on standard
    /// error
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    /// The monitor ports to begin with, with what is known of their servers.
    fn monitors(&self) -> anyhow::Result<BTreeMap<String, Option<Name>>> {
        if !self.monitor.is_empty() {
            return self.monitor.iter().map(|text| Ok((monitor_url(text)?, None))).collect();
        }
        let members = DevState::read(&self.data)?.members.into_iter();
        let named = |id, role| Some(Name { id, role });
        Ok(members.map(|member| (member.monitor, named(member.id, member.role))).collect())
    }
}

/// Shows the cluster.
pub(crate) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let monitors = args.monitors()?;
    // A redirection leads to what is no member.
    let http = imago_kit::http::client().redirect(reqwest::redirect::Policy::none());
    let http = http.timeout(PATIENCE).build()?;
    let live = !args.once && !args.json && std::io::stdout().is_terminal();
    loop {
        let seen = crawl(&http, &monitors).await;
        if seen.values().all(|member| member.report.is_err()) {
            bail!("no member answers: {}", unanswered(&seen).join("; "));
        }
        if args.json {
            let reports: Vec<_> = seen.values().flat_map(|member| &member.report).collect();
            out!("{}", serde_json::to_string_pretty(&reports)?);
            unanswered(&seen).iter().for_each(|member| err!("{member}"));
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
