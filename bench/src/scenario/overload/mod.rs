//! `imago bench overload`: what servers do when more is asked of them than they can do, and how
//! soon they are well again.

mod best;
mod busy;
mod client;
mod ledger;
mod page;
mod plan;
mod report;
mod rounds;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use imago_kit::{bounded, cli::print};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{
    best::Best, busy::BusyArgs, client::Client, ledger::Ledger, plan::Plan, report::Report,
    rounds::Rounds,
};
use super::{load::LoadArgs, talk, target::TargetArgs};
use crate::{
    client::connect,
    measure::{
        cpu::Watched,
        stamp,
        usage::{self, Usage},
    },
};

/// How long what is on its way has to arrive after the end.
const GRACE: Duration = Duration::from_secs(30);
/// Between the closed loop and the rest, and between the last login and the first message.
const PAUSE: Duration = Duration::from_secs(1);

/// How long each part may last.
const STRETCHES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);

/// Flags of `imago bench overload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago bench overload --times 3 --html overload.html\n\n\
First a closed loop finds the best rate. Then an open loop offers a share of it, then --times as \
much as the best, then that share again, with the same connections: a message is due at its time, \
whatever the servers do. Then the closed loop finds the best rate once more: what was accepted is \
compared with the middle of both. A client whose connection takes no more, because the gateway does not \
read, or that waits for 4096 answers, does not send what is due meanwhile: that counts as not \
sent. Times are told from when a message was due, and from when it was written.\n\n\
At the end a closed loop of --busy-window messages for each client runs for --duration beside --busy \
programs that each keep a processor busy. Clients that wait for their answers before they send more \
bound themselves: as long as answers come within forward.patience, none is to be refused.")]
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
    #[arg(long, default_value = "5s", value_parser = bounded::duration(STRETCHES))]
    best: Duration,
    /// How much is offered in the overload, in times of the best rate
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// How long the overload lasts
    #[arg(long, default_value = "10s", value_parser = bounded::duration(STRETCHES))]
    duration: Duration,
    /// What is offered before and after, as a share of the best rate
    #[arg(long, default_value_t = 0.3)]
    share: f64,
    /// How long that is offered, each time
    #[arg(long, default_value = "5s", value_parser = bounded::duration(STRETCHES))]
    calm: Duration,
    /// Bytes of each message's body
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// How often all of it is done; the round of the median share of the best rate is shown
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    #[command(flatten)]
    busy: BusyArgs,
}

pub(crate) async fn run(args: OverloadArgs) -> anyhow::Result<()> {
    args.check()?;
    let (mut best, mut rounds, mut owed) = (args.best_rate().await?, Rounds(Vec::new()), (0, 0));
    for round in 1..=args.rounds {
        let (ledger, usage) = args.offer(best.rate, round).await?;
        let after = args.best_rate().await?;
        let title = (args.title(), args.settings());
        rounds.0.push(Report::new(title, best.midpoint(after), &ledger, &usage));
        let (silent, missing) = ledger.missing();
        owed = (owed.0 + silent, owed.1 + missing);
        best = after;
    }
    let busy = args.busy.measure(&args.target, args.clients, (args.duration, args.size)).await?;
    let (text, figures) = (rounds.text(busy.as_ref())?, rounds.json(busy.as_ref())?);
    print(text);
    args.target.files.write_json(&figures)?;
    let median = rounds.median()?;
    args.target.files.write_html(|| page::page(median, busy.as_ref()))?;
    let (silent, missing) = owed;
    ensure!(missing == 0, "{missing} deliveries of accepted messages are missing");
    ensure!(silent == 0, "{silent} requests were not answered");
    Ok(())
}

impl OverloadArgs {
    fn check(&self) -> anyhow::Result<()> {
        talk::check(self.clients)?;
        ensure!((1..=1000).contains(&self.window), "--window: expected 1 to 1000");
        ensure!((1.0..=100.0).contains(&self.times), "--times: expected 1 to 100");
        ensure!((0.01..=0.9).contains(&self.share), "--share: expected 0.01 to 0.9");
        let sizes = stamp::SIZE_MIN..=4000;
        ensure!(sizes.contains(&self.size), "--size: expected {} to 4000", stamp::SIZE_MIN);
        ensure!((1..=100).contains(&self.rounds), "--rounds: expected 1 to 100");
        self.busy.check()
    }

    fn title(&self) -> String {
        format!(
            "{} clients in pairs, {} times the best rate for {}, {} bytes",
            self.clients,
            self.times,
            bounded::in_words(self.duration),
            self.size
        )
    }

    fn settings(&self) -> serde_json::Value {
        json!({
            "scenario": "overload", "clients": self.clients, "window": self.window,
            "best_s": self.best.as_secs_f64(), "times": self.times,
            "duration_s": self.duration.as_secs_f64(), "share": self.share,
            "calm_s": self.calm.as_secs_f64(), "size": self.size, "rounds": self.rounds,
            "busy": self.busy.json(),
        })
    }

    /// What a closed loop gets through.
    async fn best_rate(&self) -> anyhow::Result<Best> {
        let warm_up = Duration::from_secs(1).min(self.best);
        let closed = LoadArgs::closed(self.window, (warm_up, self.best), self.size);
        let best = talk::measure(&self.target, &closed, self.clients).await?;
        best.verify()?;
        ensure!(best.rate() > 0.0, "the closed loop delivered nothing");
        Ok(Best { rate: best.rate(), cpu: best.cpu_each() })
    }

    /// Offers a share of the best rate, times the best rate, and that share again.
    async fn offer(&self, best: f64, round: usize) -> anyhow::Result<(Arc<Ledger>, Vec<Usage>)> {
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
        let progress = ProgressBar::new_spinner();
        progress.set_message(format!("round {round} of {}: before, overload, after", self.rounds));
        let usage = tokio::select! {
            usage = until_settled(&ledger, watched, progress) => usage?,
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
async fn until_settled(
    ledger: &Ledger,
    watched: Vec<Watched>,
    progress: ProgressBar,
) -> anyhow::Result<Vec<Usage>> {
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
