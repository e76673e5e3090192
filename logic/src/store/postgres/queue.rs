//! The queue of writes. One task commits those that wait together, on several connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use futures::{StreamExt, stream::FuturesUnordered};
use imago_kit::Backoff;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{sleep_until, timeout},
};

use super::{
    failure::Failure,
    pool,
    turns::{Batch, Turns},
};
use crate::{
    metrics,
    store::{Result, StoreError},
};

/// How long one try may take, so that a hanging database does not block the queue.
const TRY_MAX: Duration = Duration::from_secs(5);
/// How long a write is tried again while the database is away, or its rows are locked: longer than a restart
/// takes, and longer than a caller waits.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the next batch waits for the one under way. Batches that are faster follow each other, so that each
/// takes all writes that have arrived meanwhile: larger batches are cheaper.
const STAGGER: Duration = Duration::from_millis(5);

/// What is to be written.
pub(super) trait Job: Send + Sync + 'static {
    /// Returns the line of the job. Jobs of one line are written one after the other, in their order.
    fn line(&self) -> u64;

    /// Returns whether an earlier job has failed that must be written before it.
    fn is_overtaking(&self) -> bool {
        false
    }

    /// Records that the job is not written.
    fn failed(&self) {}
}

/// What a write does about rows that other transactions have locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// Leaves them out.
    Skip,
    /// Waits a moment for those of the first job, and leaves out the others.
    WaitForFirst,
}

/// A kind of write.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    /// What is to be written.
    type Job: Job;
    /// The outcome of a write.
    type Outcome: Send + 'static;

    /// Writes all jobs in one transaction. Returns an outcome for each; `None` for a job that was left out. After
    /// a failure it may be run again with the same jobs, even if they were committed.
    async fn run(
        &self,
        client: &Object,
        jobs: &[&Self::Job],
        locked: Locked,
    ) -> Result<Vec<Option<Self::Outcome>>, Failure>;
}

/// Limits of the queue and of its batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Jobs that wait or are under way. Overflow policy: [`StoreError::Busy`].
    pub(super) queue: usize,
    /// Jobs of one batch.
    pub(super) batch: usize,
    /// Batches under way at once. One more waits for locked rows.
    pub(super) at_once: usize,
}

/// A write, and the caller that waits for it.
struct Waiting<W: Work> {
    job: W::Job,
    answer: oneshot::Sender<Result<W::Outcome>>,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

/// The queue of the writing task. After this is dropped, the task writes what waits, and ends.
pub(super) struct Queue<W: Work> {
    inbox: mpsc::UnboundedSender<Waiting<W>>,
    room: Arc<Semaphore>,
}

// === impl Queue ===

impl<W: Work> Queue<W> {
    pub(super) fn start(work: W, pool: Pool, bounds: Bounds) -> Self {
        // Bounded by `room`.
        let (inbox, jobs) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(bounds.queue.max(1)));
        tokio::spawn(Writer::new(Arc::new(work), pool, bounds).run(jobs));
        Self { inbox, room }
    }

    /// Runs a write, which is durable when this returns. Jobs of one line are written in the order of the first
    /// polls.
    pub(super) async fn run(&self, job: W::Job) -> Result<W::Outcome> {
        let Ok(room) = self.room.clone().try_acquire_owned() else {
            job.failed();
            return Err(StoreError::Busy);
        };
        let ended = || StoreError::Failed("writer has ended".to_owned());
        let (answer, outcome) = oneshot::channel();
        let waiting = Waiting { job, answer, since: Instant::now(), _room: room };
        self.inbox.send(waiting).map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

// === impl Waiting ===

impl<W: Work> Waiting<W> {
    fn succeed(self, outcome: W::Outcome) {
        // The caller may have given up: the write is committed all the same.
        let _ = self.answer.send(Ok(outcome));
    }

    fn fail(self, error: StoreError) {
        self.job.failed();
        let _ = self.answer.send(Err(error));
    }

    /// Returns the job, unless its caller has given up and so was told that it failed.
    fn wanted(self) -> Option<Self> {
        if self.answer.is_closed() {
            self.job.failed();
            return None;
        }
        if self.job.is_overtaking() {
            self.fail(StoreError::Overtaking);
            return None;
        }
        Some(self)
    }
}

/// The result of a batch.
struct Landed<W: Work> {
    lines: Vec<u64>,
    locked: Locked,
    /// Jobs that were not written, and whether that was for a lock.
    back: Vec<(u64, Waiting<W>, bool)>,
    failure: Option<Failure>,
}

struct Writer<W: Work> {
    work: Arc<W>,
    pool: Pool,
    bounds: Bounds,
    turns: Turns<Waiting<W>>,
    backoff: Backoff,
    /// After a failure.
    not_before: Instant,
    /// Batches under way that skip locked rows, and when the last of them began.
    skipping: usize,
    last_began: Instant,
    /// A batch that waits for locked rows is under way.
    is_waiting: bool,
}

// === impl Writer ===

impl<W: Work> Writer<W> {
    fn new(work: Arc<W>, pool: Pool, bounds: Bounds) -> Self {
        let (turns, backoff, now) = (Turns::new(), pool::backoff(), Instant::now());
        let bounds =
            Bounds { batch: bounds.batch.max(1), at_once: bounds.at_once.max(1), ..bounds };
        Self {
            work,
            pool,
            bounds,
            turns,
            backoff,
            not_before: now,
            skipping: 0,
            last_began: now,
            is_waiting: false,
        }
    }

    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Waiting<W>>) {
        let mut under_way = FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !self.turns.is_empty() {
            while let Ok(waiting) = inbox.try_recv() {
                self.turns.push(waiting.job.line(), waiting);
            }
            while let Some((batch, locked)) = self.next() {
                under_way.push(write(self.work.clone(), self.pool.clone(), batch, locked));
            }
            let next = self.next_at();
            tokio::select! {
                received = inbox.recv(), if is_open => match received {
                    Some(waiting) => self.turns.push(waiting.job.line(), waiting),
                    None => is_open = false,
                },
                Some(landed) = under_way.next() => self.land(landed),
                () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => {}
            }
        }
    }

    /// Returns the next batch that may begin now.
    fn next(&mut self) -> Option<(Batch<Waiting<W>>, Locked)> {
        let now = Instant::now();
        while self.not_before <= now {
            let (mut batch, locked) = if self.may_skip() && self.skip_at() <= now {
                (self.turns.take_ready(self.bounds.batch), Locked::Skip)
            } else if self.turns.has_locked() && !self.is_waiting {
                (self.turns.take_locked(self.bounds.batch), Locked::WaitForFirst)
            } else {
                return None;
            };
            let jobs = batch.jobs.into_iter();
            let wanted = jobs.filter_map(|(line, job)| job.wanted().map(|job| (line, job)));
            batch.jobs = wanted.collect();
            if batch.jobs.is_empty() {
                self.turns.done(&batch.lines, Vec::new());
                continue;
            }
            match locked {
                Locked::Skip => (self.skipping, self.last_began) = (self.skipping + 1, now),
                Locked::WaitForFirst => self.is_waiting = true,
            }
            return Some((batch, locked));
        }
        None
    }

    fn may_skip(&self) -> bool {
        self.turns.ready_jobs() > 0 && self.skipping < self.bounds.at_once
    }

    /// Returns when the next batch that skips locked rows may begin.
    fn skip_at(&self) -> Instant {
        match self.skipping > 0 && self.turns.ready_jobs() < self.bounds.batch {
            true => self.last_began + STAGGER,
            false => self.last_began,
        }
    }

    /// Returns when [`next`](Self::next) is to be asked again.
    fn next_at(&self) -> Option<Instant> {
        if self.may_skip() {
            Some(self.not_before.max(self.skip_at()))
        } else {
            (self.turns.has_locked() && !self.is_waiting).then_some(self.not_before)
        }
    }

    fn land(&mut self, landed: Landed<W>) {
        match landed.locked {
            Locked::Skip => self.skipping -= 1,
            Locked::WaitForFirst => self.is_waiting = false,
        }
        match &landed.failure {
            Some(_) => self.not_before = Instant::now() + self.backoff.next_delay(),
            None => self.backoff.reset(),
        }
        let error = landed.failure.map_or_else(
            || "another transaction has the conversation".to_owned(),
            |failure| failure.text().to_owned(),
        );
        let mut back = Vec::with_capacity(landed.back.len());
        for (line, waiting, is_locked) in landed.back {
            match waiting.since.elapsed() < PATIENCE {
                true => back.push((line, waiting, is_locked)),
                false => waiting.fail(StoreError::Failed(error.clone())),
            }
        }
        self.turns.done(&landed.lines, back);
    }
}

/// Writes a batch, and answers what is done.
async fn write<W: Work>(
    work: Arc<W>,
    pool: Pool,
    batch: Batch<Waiting<W>>,
    locked: Locked,
) -> Landed<W> {
    let mut landed = Landed { lines: batch.lines, locked, back: Vec::new(), failure: None };
    let failed = attempt(&*work, &pool, batch.jobs, &mut landed).await;
    // A bad write must not fail the others.
    for (line, waiting) in failed {
        if landed.back.iter().any(|(behind, ..)| *behind == line) {
            landed.back.push((line, waiting, false));
            continue;
        }
        let Some(waiting) = waiting.wanted() else { continue };
        for (_, waiting) in attempt(&*work, &pool, vec![(line, waiting)], &mut landed).await {
            waiting.fail(StoreError::Failed("bad write".to_owned()));
        }
    }
    landed
}

/// Writes jobs in one transaction. Returns the jobs where one of several is bad.
async fn attempt<W: Work>(
    work: &W,
    pool: &Pool,
    jobs: Vec<(u64, Waiting<W>)>,
    landed: &mut Landed<W>,
) -> Vec<(u64, Waiting<W>)> {
    let started = Instant::now();
    let failure = match run(work, pool, &jobs, landed.locked).await {
        Ok(outcomes) => {
            metrics::store_commit(jobs.len(), started.elapsed());
            for ((line, waiting), outcome) in jobs.into_iter().zip(outcomes) {
                match outcome {
                    Some(outcome) => waiting.succeed(outcome),
                    None => landed.back.push((line, waiting, true)),
                }
            }
            return Vec::new();
        }
        Err(failure) => failure,
    };
    let error = failure.text();
    tracing::warn!(error, writes = jobs.len(), "cannot write to the database");
    match failure {
        Failure::Bad(_) if jobs.len() > 1 => return jobs,
        Failure::Again(_) => {
            landed.back.extend(jobs.into_iter().map(|(line, waiting)| (line, waiting, false)));
            landed.failure = Some(failure);
        }
        failure => {
            for (_, waiting) in jobs {
                waiting.fail(StoreError::Failed(failure.text().to_owned()));
            }
        }
    }
    Vec::new()
}

async fn run<W: Work>(
    work: &W,
    pool: &Pool,
    jobs: &[(u64, Waiting<W>)],
    locked: Locked,
) -> Result<Vec<Option<W::Outcome>>, Failure> {
    let jobs: Vec<&W::Job> = jobs.iter().map(|(_, waiting)| &waiting.job).collect();
    let client = pool::get(pool).await?;
    let written = timeout(TRY_MAX, work.run(&client, &jobs, locked)).await;
    let written = written.unwrap_or_else(|_| Err(Failure::late("a write")));
    if written.is_err() {
        // The connection may be in an unknown state.
        drop(Object::take(client));
    }
    written
}
