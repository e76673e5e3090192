//! The one thread that writes: what waits shares a commit.

use std::{io, thread, time::Duration, time::Instant};

use rusqlite::{Connection, TransactionBehavior};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    super::{Result, StoreError},
    batch::{Batch, Memory},
};
use crate::metrics;

/// Left free after a commit where another process writes too, which polls for its turn.
const TURN: Duration = Duration::from_micros(400);

/// Writes in a commit from which on the next one may wait for more.
const MANY: usize = 16;

/// The longest that it waits.
const PAUSE_MAX: Duration = Duration::from_micros(600);

/// Commits whose outcomes may wait to be told. Overflow policy: the thread waits.
const ANSWERS: usize = 2;

/// A write that can be tried again, and how it tells its outcome after the commit.
pub(super) trait Job: Send {
    /// Whether anybody waits for it still.
    fn is_wanted(&self) -> bool;
    fn run(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()>;
    fn finish(self: Box<Self>, committed: Result<()>);
}

struct Write<F, T> {
    work: F,
    outcome: Option<T>,
    answer: oneshot::Sender<Result<T>>,
}

impl<F, T> Job for Write<F, T>
where
    F: Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn run(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()> {
        self.outcome = Some((self.work)(batch)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let lost = || StoreError::Failed("write was not run".to_owned());
        let Self { outcome, answer, .. } = *self;
        // Whoever asked may have given up; the write is done all the same.
        let _ = answer.send(committed.and_then(|()| outcome.ok_or_else(lost)));
    }
}

/// Tells outcomes from within the runtime: there, waking many tasks takes no system call each.
struct Answers {
    committed: mpsc::Sender<Vec<Box<dyn Job>>>,
}

impl Answers {
    fn start() -> Self {
        let (committed, mut inbox) = mpsc::channel::<Vec<Box<dyn Job>>>(ANSWERS);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                while let Some(jobs) = inbox.recv().await {
                    jobs.into_iter().for_each(|job| job.finish(Ok(())));
                }
            });
        }
        Self { committed }
    }

    /// Without a runtime, the thread tells them itself.
    fn tell(&self, jobs: Vec<Box<dyn Job>>) {
        if let Err(mpsc::error::SendError(jobs)) = self.committed.blocking_send(jobs) {
            jobs.into_iter().for_each(|job| job.finish(Ok(())));
        }
    }
}

/// The writing thread's inbox, bounded: overflow is answered [`StoreError::Busy`].
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, queue: usize, batch: usize) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel(queue.max(1));
        let answers = Answers::start();
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write(connection, inbox, batch.max(1), &answers))?;
        Ok(Self { jobs })
    }

    /// Writes that the thread has not taken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Runs a write, durable when this returns. The work may be run several times, in transactions
    /// of which only one commits.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        let job = Box::new(Write { work, outcome: None, answer });
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => {
                StoreError::Failed("writer has ended".to_owned())
            }
        })?;
        outcome.await.unwrap_or_else(|_| Err(StoreError::Failed("writer has ended".to_owned())))
    }
}

/// What the last commit was like.
#[derive(Default)]
struct Last {
    writes: usize,
    took: Duration,
}

impl Last {
    /// How long the next commit waits for more writes. When many clients write at once, those just
    /// answered are about to write again, and fewer, larger commits are cheaper for all of them.
    fn pause(&self, waiting: usize) -> Option<Duration> {
        (self.writes >= MANY && waiting < self.writes).then(|| PAUSE_MAX.min(self.took / 2))
    }
}

/// Ends when the store is dropped.
fn write(
    mut connection: Connection,
    mut inbox: mpsc::Receiver<Box<dyn Job>>,
    most: usize,
    answers: &Answers,
) {
    let mut memory = Memory::default();
    let mut last = Last::default();
    while let Some(first) = inbox.blocking_recv() {
        if let Some(pause) = last.pause(1 + inbox.len()) {
            thread::sleep(pause);
        }
        let mut jobs = vec![first];
        while jobs.len() < most {
            let Ok(next) = inbox.try_recv() else { break };
            jobs.push(next);
        }
        // Who gave up was told that it failed: a store that is behind leaves that out.
        jobs.retain(|job| job.is_wanted());
        let (writes, started) = (jobs.len(), Instant::now());
        let is_shared = write_batch(&mut connection, &mut memory, jobs, answers);
        last = Last { writes, took: started.elapsed() };
        if is_shared {
            thread::sleep(TURN);
        }
    }
}

/// Why nothing of a batch was committed.
enum Failure {
    /// This job's write is bad; the others may be good.
    Job(usize, rusqlite::Error),
    /// The database takes none of them.
    Batch(rusqlite::Error),
}

/// Commits all jobs but bad ones: those must not fail their neighbours. Tells whether another process
/// writes too.
fn write_batch(
    connection: &mut Connection,
    memory: &mut Memory,
    mut jobs: Vec<Box<dyn Job>>,
    answers: &Answers,
) -> bool {
    while !jobs.is_empty() {
        let started = Instant::now();
        let committed = commit(connection, memory, &mut jobs);
        metrics::store_commit(jobs.len(), started.elapsed());
        if committed.is_err() {
            *memory = Memory::default();
        }
        match committed {
            Ok(is_shared) => {
                answers.tell(jobs);
                return is_shared;
            }
            Err(Failure::Job(position, error)) => {
                tracing::warn!(%error, "cannot write");
                jobs.remove(position).finish(Err(error.into()));
            }
            Err(Failure::Batch(error)) => {
                tracing::warn!(%error, writes = jobs.len(), "cannot commit");
                let text = error.to_string();
                let is_busy = matches!(StoreError::from(error), StoreError::Busy);
                for job in jobs {
                    let failed = StoreError::Failed(text.clone());
                    job.finish(Err(if is_busy { StoreError::Busy } else { failed }));
                }
                return false;
            }
        }
    }
    false
}

fn commit(
    connection: &mut Connection,
    memory: &mut Memory,
    jobs: &mut [Box<dyn Job>],
) -> Result<bool, Failure> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(Failure::Batch)?;
    let mut batch = Batch::new(transaction, memory).map_err(Failure::Batch)?;
    for (position, job) in jobs.iter_mut().enumerate() {
        job.run(&mut batch).map_err(|error| Failure::Job(position, error))?;
    }
    batch.commit().map_err(Failure::Batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_commit_waits_for_more_only_where_many_write_at_once() {
        assert_eq!(Last::default().pause(1), None, "the first write");
        assert_eq!(Last { writes: MANY - 1, took: 10 * MS }.pause(1), None, "few write");
        assert_eq!(Last { writes: 50, took: MS }.pause(50), None, "enough wait already");
        assert_eq!(Last { writes: 50, took: MS }.pause(1), Some(MS / 2));
    }

    #[test]
    fn a_slow_disk_does_not_make_it_wait_longer() {
        assert_eq!(Last { writes: 50, took: 100 * MS }.pause(1), Some(PAUSE_MAX));
    }
}
