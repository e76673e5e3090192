//! The one thread that writes: what waits shares a commit.

use std::{collections::HashMap, thread, time::Duration};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::super::{Result, StoreError};

/// Left free after a commit where another process writes too, which polls for its turn.
const TURN: Duration = Duration::from_micros(400);

/// A transaction that several writes share.
pub(super) struct Batch<'a> {
    pub(super) transaction: Transaction<'a>,
    /// The newest message id, once it was needed.
    pub(super) last_id: Option<i64>,
    /// Head sequences changed in this batch are read from the database again; ids are not.
    pub(super) conversations: HashMap<(String, String, String), i64>,
}

/// A write that can be tried again, and how it tells its outcome after the commit.
trait Job: Send {
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

/// The writing thread's inbox, bounded: overflow is answered [`StoreError::Busy`].
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, queue: usize, batch: usize) -> Self {
        let (jobs, inbox) = mpsc::channel(queue.max(1));
        thread::spawn(move || write(connection, inbox, batch.max(1)));
        Self { jobs }
    }

    /// Runs a write, durable when this returns. The work may be run twice, in two transactions
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

/// Ends when the store is dropped.
fn write(mut connection: Connection, mut inbox: mpsc::Receiver<Box<dyn Job>>, most: usize) {
    let mut seen_version = data_version(&connection);
    while let Some(first) = inbox.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < most {
            let Ok(next) = inbox.try_recv() else { break };
            jobs.push(next);
        }
        write_batch(&mut connection, jobs);
        let version = data_version(&connection);
        if version != seen_version {
            seen_version = version;
            thread::sleep(TURN);
        }
    }
}

/// Changes when another connection has written (SQLite, "PRAGMA data_version").
fn data_version(connection: &Connection) -> i64 {
    connection.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap_or(0)
}

fn write_batch(connection: &mut Connection, mut jobs: Vec<Box<dyn Job>>) {
    crate::metrics::store_batch(jobs.len());
    let error = match commit(connection, &mut jobs) {
        Ok(()) => return jobs.into_iter().for_each(|job| job.finish(Ok(()))),
        Err(error) => error,
    };
    if jobs.len() == 1 {
        tracing::warn!(%error, "cannot write");
        return jobs
            .into_iter()
            .for_each(|job| job.finish(Err(StoreError::Failed(error.to_string()))));
    }
    // One bad write must not fail its neighbours: each for itself.
    for job in jobs {
        write_batch(connection, vec![job]);
    }
}

fn commit(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut batch = Batch { transaction, last_id: None, conversations: HashMap::new() };
    for job in jobs {
        job.run(&mut batch)?;
    }
    batch.transaction.commit()
}
