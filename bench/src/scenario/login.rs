//! `imago bench login`: clients that connect, log in and close again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use imago_kit::{cli::print, out};
use imago_local::table;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{load::TimeArgs, target::TargetArgs};
use crate::{
    client::{connect, failure::Kinds, wire},
    measure::{
        cpu,
        meter::{Meter, Metered, curve, timeline_json},
        recorder::{HEADINGS, percentiles, row},
    },
    report::{html::Page, picture::Curve},
};

/// How long a client waits before it tries again after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// Flags of `imago bench login`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    times: TimeArgs,
    /// Clients that connect at the same time, again and again
    #[arg(long, default_value_t = 64)]
    clients: usize,
}

/// What the clients share.
#[derive(Default)]
struct Logins {
    meter: Meter,
    failures: Kinds,
    over: AtomicBool,
}

/// The figures.
struct Report {
    clients: usize,
    settings: Value,
    metered: Metered,
    /// Of the warm-up, too.
    failures: Vec<(String, u64)>,
}

pub(crate) async fn run(args: LoginArgs) -> anyhow::Result<()> {
    let LoginArgs { target: target_args, times, clients } = args;
    connect::check("--clients", clients)?;
    let measured_times = times.checked()?;
    let target = target_args.target()?;
    target.require(clients)?;
    let watched = target_args.watched(&target);
    let logins = Arc::new(Logins::default());
    let mut crowd = JoinSet::new();
    for number in 0..clients {
        let token = target.token(&target.account(number)?)?;
        crowd.spawn(again_and_again(
            number,
            target.gateway(number).to_owned(),
            token,
            logins.clone(),
        ));
    }
    let metered = logins.meter.measure("logins", measured_times, &watched).await?;
    logins.over.store(true, Ordering::SeqCst);
    while let Some(ended) = crowd.join_next().await {
        ended.context("a client failed")?;
    }
    let settings = json!({ "scenario": "login", "clients": clients, "times": times.json() });
    let failures = logins.failures.counts().into_iter().collect();
    let report = Report { clients, settings, metered, failures };
    report.print();
    target_args.files.write_json(&report.json())?;
    target_args.files.write_html(|| report.page())?;
    ensure!(report.metered.count > 0, "no client was logged in");
    Ok(())
}

/// One client: logs in, closes, and so on until it is over.
async fn again_and_again(number: usize, url: String, token: String, logins: Arc<Logins>) {
    while !logins.over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match wire::connect(&url, &token).await {
            Ok(connection) => {
                logins.meter.record(number, begun.elapsed());
                wire::close(connection).await;
            }
            Err(not_in) => {
                logins.failures.add(not_in.failure);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Report {
    fn title(&self) -> String {
        format!("{} clients at a time log in: {:.0} logins a second", self.clients, self.rate())
    }

    fn rate(&self) -> f64 {
        self.metered.rate()
    }

    fn rows(&self) -> [Vec<String>; 1] {
        [row("logged in", &self.metered.times)]
    }

    /// Failures and CPU, in words.
    fn lines(&self) -> Vec<String> {
        let failures = self.failures.iter().map(|(kind, times)| format!("{kind}: {times} times"));
        failures.chain(cpu::in_words(&self.metered.cpu, self.metered.seconds)).collect()
    }

    fn print(&self) {
        out!("{}\n", self.title());
        print(table(&HEADINGS, &self.rows()));
        for line in self.lines() {
            out!("{line}");
        }
    }

    fn json(&self) -> Value {
        let failures =
            self.failures.iter().map(|(kind, times)| (kind.clone(), json!(times))).collect();
        json!({
            "title": self.title(),
            "settings": self.settings,
            "seconds": self.metered.seconds,
            "logins": self.metered.count,
            "per_second": self.rate(),
            "logged_in_ms": percentiles(&self.metered.times),
            "failures": Value::Object(failures),
            "cpu_seconds": cpu::json(&self.metered.cpu),
            "timeline": timeline_json(&self.metered.timeline),
        })
    }

    fn page(&self) -> String {
        let (timeline, seconds) = (&self.metered.timeline, self.metered.seconds);
        let rate = [Curve { name: "logins", values: curve(timeline, |second| second.rate) }];
        let times = [
            Curve { name: "p50", values: curve(timeline, |second| second.p50) },
            Curve { name: "p99", values: curve(timeline, |second| second.p99) },
        ];
        Page::new(&self.title())
            .table(&HEADINGS, &self.rows())
            .picture("Logins a second", &rate, seconds)
            .picture("Milliseconds from connecting until logged in", &times, seconds)
            .list(&self.lines())
            .end(&self.settings)
    }
}
