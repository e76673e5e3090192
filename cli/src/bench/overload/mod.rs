//! `imago bench overload`: what servers do when more is asked of them than they can do, and how
//! soon they are well again.

mod client;
mod ledger;
mod page;
mod plan;
mod recovery;
mod report;
mod unanswered;
mod usage;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use imago_container::cli::print;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{client::Client, ledger::Ledger, plan::Plan, report::Report, usage::Usage};
use super::{TargetArgs, connect, cpu::Watched, load::LoadArgs, stamp, talk};

/// How long what is on its way has to arrive after the end.
const GRACE: Duration = Duration::from_secs(30);
/// Between the closed loop and the rest, and between the last login and the first message.
const PAUSE: Duration = Duration::from_secs(1);

/// Flags of `imago bench overload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago bench overload --times 3 --html overload.html\n\n\
First a closed loop finds the best rate. Then an open loop offers a share of it, then --times as \
much as the best, then that share again, with the same connections: a message is due at its time, \
whatever the servers do. A client whose connection takes no more, because the gateway does not \
read, or that waits for 4096 answers, does not send what is due meanwhile: that counts as not \
sent. Times are told from when a message was due, and from when it was written.")]
pub(crate) struct OverloadArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Clients; each talks to the one beside it
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Messages that each client may have unanswered in the closed loop
    #[arg(long, default_value_t = 4)]
    window: usize,
    /// How long the closed loop is measured
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    best: Duration,
    /// How much is offered in the overload, in times of the best rate
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// How long the overload lasts
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// What is offered before and after, as a share of the best rate
    #[arg(long, default_value_t = 0.3)]
    share: f64,
    /// How long that is offered, each time
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    calm: Duration,
    /// Bytes of each message's body
    #[arg(long, default_value_t = 64)]
    size: usize,
}

pub(super) async fn run(args: OverloadArgs) -> anyhow::Result<()> {
    args.check()?;
    let warm_up = Duration::from_secs(1).min(args.best);
    let closed = LoadArgs::closed(args.window, (warm_up, args.best), args.size);
    let best = talk::measure(&args.target, &closed, args.clients).await?;
    best.verify()?;
    let (rate, cpu) = (best.rate(), best.cpu_each());
    ensure!(rate > 0.0, "the closed loop delivered nothing");
    let (ledger, usage) = args.offer(rate).await?;
    let report = Report::new((args.title(), args.settings()), (rate, cpu), &ledger, &usage);
    print(report.text());
    args.target.files.write_json(&report.json())?;
    args.target.files.write_html(|| page::page(&report))?;
    let (silent, missing) = ledger.missing();
    ensure!(missing == 0, "{missing} deliveries of accepted messages are missing");
    ensure!(silent == 0, "{silent} requests were not answered");
    Ok(())
}

impl OverloadArgs {
    fn check(&self) -> anyhow::Result<()> {
        talk::check(self.clients)?;
        let seconds = |least, most| Duration::from_millis(least)..=Duration::from_secs(most);
        ensure!((1..=1000).contains(&self.window), "--window: expected 1 to 1000");
        ensure!(seconds(100, 600).contains(&self.best), "--best: expected 100ms to 10m");
        ensure!((1.0..=100.0).contains(&self.times), "--times: expected 1 to 100");
        ensure!(seconds(100, 600).contains(&self.duration), "--duration: expected 100ms to 10m");
        ensure!((0.01..=0.9).contains(&self.share), "--share: expected 0.01 to 0.9");
        ensure!(seconds(100, 600).contains(&self.calm), "--calm: expected 100ms to 10m");
        let sizes = stamp::SIZE_MIN..=4000;
        ensure!(sizes.contains(&self.size), "--size: expected {} to 4000", stamp::SIZE_MIN);
        Ok(())
    }

    fn title(&self) -> String {
        format!(
            "{} clients in pairs, {} times the best rate for {}, {} bytes",
            self.clients,
            self.times,
            humantime::format_duration(self.duration),
            self.size
        )
    }

    fn settings(&self) -> serde_json::Value {
        json!({
            "scenario": "overload", "clients": self.clients, "window": self.window,
            "best_s": self.best.as_secs_f64(), "times": self.times,
            "duration_s": self.duration.as_secs_f64(), "share": self.share,
            "calm_s": self.calm.as_secs_f64(), "size": self.size,
        })
    }

    /// Offers a share of the best rate, times the best rate, and that share again.
    async fn offer(&self, best: f64) -> anyhow::Result<(Arc<Ledger>, Vec<Usage>)> {
        let plan = Plan::new(
            self.clients,
            (self.share * best, self.calm),
            (self.times * best, self.duration),
        );
        let target = self.target.target()?;
        let watched = self.target.watched(&target);
        let connections = connect::all(&target, self.clients).await?;
        let ledger = Arc::new(Ledger::new(plan, Instant::now() + PAUSE));
        let (end, mut clients) = (CancellationToken::new(), JoinSet::new());
        for (number, connection) in connections.into_iter().enumerate() {
            let client = Client {
                number,
                dest: target.account(number ^ 1)?,
                size: self.size,
                ledger: ledger.clone(),
                end: end.clone(),
            };
            clients.spawn(client.run(connection));
        }
        let usage = tokio::select! {
            usage = until_settled(&ledger, watched) => usage?,
            Some(ended) = clients.join_next() => {
                ended.context("a client failed")?.context("a client ended too early")?;
                anyhow::bail!("a client ended too early");
            }
        };
        end.cancel();
        while let Some(ended) = clients.join_next().await {
            ended.context("a client failed")??;
        }
        Ok((ledger, usage))
    }
}

/// Watches until the plan is over, and what is on its way has arrived, or had its time to.
async fn until_settled(ledger: &Ledger, watched: Vec<Watched>) -> anyhow::Result<Vec<Usage>> {
    let progress = ProgressBar::new_spinner().with_message("before, overload, after");
    progress.enable_steady_tick(Duration::from_millis(200));
    let lasts = ledger.plan.lasts();
    let usage = usage::watch(watched, ledger.moment(Duration::ZERO), lasts).await?;
    let give_up = ledger.moment(lasts + GRACE);
    while ledger.missing() != (0, 0) && Instant::now() < give_up {
        sleep(Duration::from_millis(50)).await;
    }
    progress.finish_and_clear();
    Ok(usage)
}
