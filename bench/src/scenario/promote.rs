//! `imago bench promote`: how long a logic server takes to grow up in a running cluster.

mod sync_bytes;

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use imago_kit::out;
use imago_local::{DATA_DIR, DevState, Launch, Server};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use self::sync_bytes::sync_bytes;
use crate::{
    client::{target::Target, tokens::Tokens},
    process::{idlers::Idlers, sink::Sink},
};

/// How long one promotion may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time before each promotion, in which what follows the logins, and the leaving of the server
/// before, comes to rest: gateways have everything delivered again when a server leaves.
const SETTLE: Duration = Duration::from_secs(2);
/// Time between two looks at whether a server has grown up: each takes time away from it, and when
/// it was it says itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Time between the pings of the idle clients.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Flags of `imago bench promote`.
#[derive(Debug, clap::Args)]
pub(crate) struct PromoteArgs {
    /// Data directory of the `imago dev` whose cluster is joined
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data: PathBuf,
    /// How many servers are started, one after the other
    #[arg(long, default_value_t = 10)]
    times: usize,
    /// Idle clients that are logged in before; the gateways tell each server of all of them. Beside
    /// it, sending just these bytes is measured, to a process that runs and to one that is started
    /// for it
    #[arg(long, default_value_t = 0)]
    sessions: usize,
    /// Write the figures to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One promotion, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Promotion {
    /// From the start of the process.
    adult: f64,
    /// From its first link, as the server itself says; 0 where it grew up without any.
    linked: f64,
    /// Sending just the bytes of the sessions to a process that runs.
    bytes: f64,
    /// The same to a new process, from its start.
    fresh: f64,
}

pub(crate) async fn run(args: PromoteArgs) -> anyhow::Result<()> {
    ensure!((1..=1000).contains(&args.times), "--times: expected 1 to 1000");
    ensure!(args.sessions <= 1_000_000, "--sessions: expected 0 to 1000000");
    let state = DevState::read(&args.data)?;
    let target = Target {
        gateways: state.gateways(),
        tokens: Tokens::made(state.jwt_secret.clone()),
        members: state.members.clone(),
    };
    ensure!(!target.gateways.is_empty(), "no gateway with a WebSocket port");
    let progress = ProgressBar::new(args.sessions as u64).with_message("connecting");
    let idlers = Idlers::connect(&target, args.sessions, PING_INTERVAL, &progress).await?;
    progress.finish_and_clear();
    let bytes = sync_bytes(&target, args.sessions)?;
    let sink = Sink::start().await?;
    let mut promotions = Vec::new();
    for number in 1..=args.times {
        tokio::time::sleep(SETTLE).await;
        let (adult, linked) = promote(&state, number).await?;
        let warm = sink.time(&bytes).await?.as_secs_f64() * 1000.0;
        let fresh = fresh(&bytes).await? * 1000.0;
        out!("{number:3}: {adult:.1} ms from start to Adult, {linked:.1} ms from the first link");
        promotions.push(Promotion { adult, linked, bytes: warm, fresh });
    }
    let told = idlers.told();
    ensure!(
        told.lost == 0,
        "{} of {} sessions were lost: {:?}",
        told.lost,
        args.sessions,
        told.why
    );
    report(&args, &bytes, &promotions)
}

/// Seconds from the start of a new process until it has all these bytes.
async fn fresh(bytes: &[Bytes]) -> anyhow::Result<f64> {
    let started = Instant::now();
    Sink::start().await?.time(bytes).await?;
    Ok(started.elapsed().as_secs_f64())
}

/// Milliseconds from the start of a process until it is Adult, and from its first link.
async fn promote(state: &DevState, number: usize) -> anyhow::Result<(f64, f64)> {
    let directory = tempfile::tempdir()?;
    let http = imago_kit::http::client().timeout(Duration::from_secs(2)).build()?;
    let launch = Launch::logic(state, format!("bench-logic-{number}"));
    let started = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let server = Server::start(launch, &directory.path().join("log")).await?;
    let ready = format!("{}/ready", server.member.monitor);
    let is_adult = async {
        while !http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    let is_adult = async {
        tokio::time::sleep(LOOK_INTERVAL).await;
        tokio::time::timeout(PATIENCE, is_adult).await
    };
    let is_adult = is_adult.await.is_ok();
    let said = said(&http, &server.member.monitor).await;
    server.stop().await;
    ensure!(is_adult, "not Adult after {PATIENCE:?}");
    let (adult, linked) = said?;
    Ok(((adult - started) * 1000.0, linked * 1000.0))
}

/// When a server became Adult, in seconds since 1970, and how many after its first link, as it says
/// itself: what it told here, it would tell late while others want the processors.
async fn said(http: &reqwest::Client, monitor: &str) -> anyhow::Result<(f64, f64)> {
    let metrics = http.get(format!("{monitor}/metrics")).send().await?.text().await?;
    let adult = metric(&metrics, "imago_adult_timestamp_seconds");
    // Not counted where a server grows up before its registry has named a gateway.
    let linked = metric(&metrics, "imago_promotion_linked_seconds_sum").unwrap_or_default();
    Ok((adult.context("the server does not say when it grew up")?, linked))
}

fn metric(metrics: &str, name: &str) -> Option<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value?.trim().parse().ok()
}

fn median(promotions: &[Promotion], value: fn(&Promotion) -> f64) -> f64 {
    let mut sorted: Vec<f64> = promotions.iter().map(value).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn report(args: &PromoteArgs, bytes: &[Bytes], promotions: &[Promotion]) -> anyhow::Result<()> {
    let gateways = bytes.len();
    let adult = median(promotions, |promotion| promotion.adult);
    let linked = median(promotions, |promotion| promotion.linked);
    let limit = median(promotions, |promotion| promotion.bytes);
    let fresh = median(promotions, |promotion| promotion.fresh);
    let total: usize = bytes.iter().map(Bytes::len).sum();
    out!(
        "median of {}: {adult:.1} ms from start to Adult, {linked:.1} ms from the first link, with \
         {gateways} gateways and {} sessions",
        args.times,
        args.sessions
    );
    if args.sessions > 0 {
        out!(
            "the limit, just the {total} bytes of these sessions over {gateways} connections: {fresh:.1} \
             ms from the start of a process that reads them, {limit:.1} ms where it runs; Adult takes \
             {:.1} times as long from its start, {:.1} times from its first link",
            adult / fresh,
            linked / limit
        );
    }
    let Some(path) = &args.json else { return Ok(()) };
    let all = |value: fn(&Promotion) -> f64| promotions.iter().map(value).collect::<Vec<_>>();
    let figures: Value = json!({
        "scenario": "promote", "gateways": gateways, "sessions": args.sessions,
        "median_ms": adult, "all_ms": all(|promotion| promotion.adult),
        "linked_median_ms": linked, "linked_all_ms": all(|promotion| promotion.linked),
        "limit_bytes": total,
        "limit_median_ms": limit, "limit_all_ms": all(|promotion| promotion.bytes),
        "fresh_median_ms": fresh, "fresh_all_ms": all(|promotion| promotion.fresh),
    });
    std::fs::write(path, serde_json::to_vec_pretty(&figures)?)
        .with_context(|| format!("--json {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let metrics = "# HELP a_sum\na_sum_of_others 1\na_sum 0.25\n";
        assert_eq!(metric(metrics, "a_sum"), Some(0.25));
        assert_eq!(metric(metrics, "a"), None);
    }
}
