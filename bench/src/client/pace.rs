//! When the messages of a client are due.

use std::{pin::Pin, time::Duration};

use anyhow::Context;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tokio_util::sync::WaitForCancellationFuture;

use crate::measure::run::Run;

/// When the next message of a client is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Closed loop: as soon as fewer than this are unanswered.
    Window(usize),
    /// Closed loop: as soon as fewer than this, of each sender, are not with all their receivers.
    Whole(usize),
    /// Open loop: at fixed intervals, whatever the answers do.
    Every(Duration),
}

/// The pace of one client through a run.
pub(crate) struct Pacer<'a> {
    pace: Pace,
    client: usize,
    run: &'a Run,
    over: Pin<Box<WaitForCancellationFuture<'a>>>,
    /// Gets a permit for each message that makes room.
    room: &'a Semaphore,
    begun: Instant,
    offset: Duration,
    sent: u32,
}

impl<'a> Pacer<'a> {
    pub(crate) fn new(pace: Pace, client: usize, run: &'a Run, room: &'a Semaphore) -> Self {
        let room = match pace {
            Pace::Whole(_) => run.room(),
            Pace::Window(_) | Pace::Every(_) => room,
        };
        if let Pace::Window(window) | Pace::Whole(window) = pace {
            room.add_permits(window);
        }
        let (begun, offset) = (Instant::now(), run.now());
        Self { pace, client, run, over: Box::pin(run.over()), room, begun, offset, sent: 0 }
    }

    /// Waits until the next message is due; says its number, and since when it is. `None` when
    /// the run is over.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<(u64, Duration)>> {
        let due = match self.pace {
            Pace::Window(_) | Pace::Whole(_) => {
                let permit = tokio::select! {
                    biased;
                    permit = self.room.acquire() => permit,
                    () = &mut self.over => return Ok(None),
                };
                permit.context("the window was closed")?.forget();
                self.run.now()
            }
            Pace::Every(interval) => {
                // The clients of a run do not all send at the same instant.
                let phase = interval.mul_f64(self.client as f64 * 0.618_034 % 1.0);
                let after = phase + interval * self.sent;
                sleep_until(self.begun + after).await;
                self.offset + after
            }
        };
        if self.run.is_over() {
            return Ok(None);
        }
        self.run.sent();
        let number = u64::from(self.sent);
        self.sent += 1;
        Ok(Some((number, due)))
    }
}
