//! Many clients connected and logged in, some at a time.

use std::{collections::VecDeque, ops::Range, time::Duration};

use anyhow::{Context, ensure};
use imago_kit::{Backoff, raise_open_files};
use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use super::{
    failure::NotIn,
    target::Target,
    wire::{self, Reader, Writer},
};

/// Logins under way at a time.
pub(crate) const AT_ONCE: usize = 64;
/// Files that a process needs for other things than clients.
const FILES_SPARE: usize = 128;
/// The first pause of a client that comes back is at most this long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A client that is logged in.
pub(crate) type Connection = (Reader, Writer);

/// Whether an option's number of clients is one that this process may have.
pub(crate) fn check(option: &str, clients: usize) -> anyhow::Result<()> {
    let most = room();
    ensure!(
        (1..=most).contains(&clients),
        "{option}: expected 1 to {most} clients, as many connections as this process may have"
    );
    Ok(())
}

/// Returns the pauses between one client's tries to come back.
pub(crate) fn pauses() -> Backoff {
    Backoff::new(PAUSE_FIRST, PAUSE_MAX)
}

/// Logs in the first `count` clients, in their order.
pub(crate) async fn all(target: &Target, count: usize) -> anyhow::Result<Vec<Connection>> {
    some(target, 0..count).await
}

/// Logs in the clients of these numbers, in their order.
pub(crate) async fn some(
    target: &Target,
    numbers: Range<usize>,
) -> anyhow::Result<Vec<Connection>> {
    target.require(numbers.end)?;
    let progress = ProgressBar::new(numbers.len() as u64).with_message("connecting");
    let mut connections = Vec::with_capacity(numbers.len());
    let mut under_way: VecDeque<JoinHandle<Result<Connection, NotIn>>> = VecDeque::new();
    for number in numbers {
        if under_way.len() >= AT_ONCE {
            take(&mut under_way, &mut connections, &progress).await?;
        }
        let token = target.token(&target.account(number)?)?;
        let url = target.gateway(number).to_owned();
        under_way.push_back(tokio::spawn(async move { wire::connect(&url, &token).await }));
    }
    while !under_way.is_empty() {
        take(&mut under_way, &mut connections, &progress).await?;
    }
    progress.finish_and_clear();
    Ok(connections)
}

/// Takes the first of those under way.
async fn take(
    under_way: &mut VecDeque<JoinHandle<Result<Connection, NotIn>>>,
    connections: &mut Vec<Connection>,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    if let Some(client) = under_way.pop_front() {
        connections.push(client.await.context("a client failed")??);
        progress.inc(1);
    }
    Ok(())
}

/// Returns how many connections this process may have, once it has raised its limit of open files.
pub(crate) fn room() -> usize {
    let limit = raise_open_files().unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(FILES_SPARE)
}
