//! Writes that wait, and share a commit: one task, with one connection at a time.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{failure::Failure, pool};
use crate::{
    metrics,
    store::{Result, StoreError},
};

/// How long one try may take, so that a database that hangs does not keep the queue for ever.
const TRY_MAX: Duration = Duration::from_secs(10);
/// How long a write is tried again while the database is away: long enough for a restart, and not
/// much longer than anybody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// A kind of write.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    /// What is to be written.
    type Job: Send + Sync + 'static;
    /// What that gave.
    type Outcome: Send + 'static;

    /// Writes all of them in one transaction; an outcome for each. May be run again with the same
    /// jobs when it fails, also where its commit was done.
    async fn run(
        &self,
        client: &Object,
        jobs: &[&Self::Job],
    ) -> Result<Vec<Self::Outcome>, Failure>;
}

/// A write and who waits for it.
struct Waiting<W: Work> {
    job: W::Job,
    answer: oneshot::Sender<Result<W::Outcome>>,
}

/// The way to the task that writes. It ends when this is dropped, after what is waiting.
pub(super) struct Queue<W: Work> {
    inbox: mpsc::Sender<Waiting<W>>,
}

// === impl Queue ===

impl<W: Work> Queue<W> {
    /// Overflow policy of `queue`: [`StoreError::Busy`].
    pub(super) fn start(work: W, pool: Pool, queue: usize, batch: usize) -> Self {
        let (inbox, jobs) = mpsc::channel(queue.max(1));
        tokio::spawn(Writer { work, pool }.run(jobs, batch.max(1)));
        Self { inbox }
    }

    /// Durable when this returns.
    pub(super) async fn run(&self, job: W::Job) -> Result<W::Outcome> {
        let ended = || StoreError::Failed("writer has ended".to_owned());
        let (answer, outcome) = oneshot::channel();
        self.inbox.try_send(Waiting { job, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => ended(),
        })?;
        outcome.await.map_err(|_| ended())?
    }
}

struct Writer<W> {
    work: W,
    pool: Pool,
}

impl<W: Work> Writer<W> {
    async fn run(self, mut inbox: mpsc::Receiver<Waiting<W>>, most: usize) {
        let mut jobs = Vec::new();
        while inbox.recv_many(&mut jobs, most).await > 0 {
            // Who gave up was told that it failed: a database that is behind leaves that out.
            jobs.retain(|job| !job.answer.is_closed());
            if jobs.is_empty() {
                continue;
            }
            let failed = self.write(std::mem::take(&mut jobs)).await;
            // A bad one must not fail its neighbours.
            for job in failed {
                for left in self.write(vec![job]).await {
                    let _ = left.answer.send(Err(StoreError::Failed("bad write".to_owned())));
                }
            }
        }
    }

    /// Writes all and answers, or gives back those of which one is bad.
    async fn write(&self, mut jobs: Vec<Waiting<W>>) -> Vec<Waiting<W>> {
        let (first_try, mut backoff) = (Instant::now(), pool::backoff());
        loop {
            let started = Instant::now();
            let written = self.attempt(&jobs).await;
            metrics::store_commit(jobs.len(), started.elapsed());
            let failure = match written {
                Ok(outcomes) => {
                    for (job, outcome) in jobs.into_iter().zip(outcomes) {
                        // Whoever asked may have given up; the write is done all the same.
                        let _ = job.answer.send(Ok(outcome));
                    }
                    return Vec::new();
                }
                Err(failure) => failure,
            };
            let error = failure.text();
            tracing::warn!(error, writes = jobs.len(), "cannot write to the database");
            match failure {
                Failure::Bad(_) if jobs.len() > 1 => return jobs,
                Failure::Again(_) if first_try.elapsed() < PATIENCE => {}
                failure => {
                    for job in jobs {
                        let _ = job.answer.send(Err(StoreError::Failed(failure.text().to_owned())));
                    }
                    return Vec::new();
                }
            }
            sleep(backoff.next_delay()).await;
            jobs.retain(|job| !job.answer.is_closed());
            if jobs.is_empty() {
                return jobs;
            }
        }
    }

    async fn attempt(&self, jobs: &[Waiting<W>]) -> Result<Vec<W::Outcome>, Failure> {
        let jobs: Vec<&W::Job> = jobs.iter().map(|waiting| &waiting.job).collect();
        let client = pool::get(&self.pool).await?;
        let written = timeout(TRY_MAX, self.work.run(&client, &jobs)).await;
        let written = written.unwrap_or_else(|_| Err(Failure::late("a write")));
        if written.is_err() {
            // It may be in the midst of a transaction.
            drop(Object::take(client));
        }
        written
    }
}
