//! The thread that writes, and its queue. The module [`commit`](super) tells how writes share a commit.

use std::{io, thread, time::Duration, time::Instant};

use imago_kit::scheduling::run_promptly;
use rusqlite::Connection;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    super::super::{Chain, Result, StoreError},
    super::failure::{complain, describe},
    batch::{Batch, Committed, WriterCache},
    limit::BatchLimit,
    wake::WakeCoalescer,
};
use crate::metrics;

/// Pause after a commit where another process writes too: it polls for the lock.
const LOCK_PAUSE: Duration = Duration::from_micros(400);

/// Commits whose outcomes are not told yet. Overflow policy: the thread waits.
const COMPLETIONS_MAX: usize = 2;

/// A write that can be run again, and that tells its outcome after the commit.
pub(crate) trait Job: Send {
    /// Returns whether the requester still waits for the outcome.
    fn is_wanted(&self) -> bool;
    fn run(&mut self, batch: &mut Batch<'_>) -> rusqlite::Result<()>;
    fn finish(self: Box<Self>, committed: Result<()>);
}

struct Write<F, T> {
    work: F,
    chain: Chain,
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
        let Self { chain, outcome, answer, .. } = *self;
        if committed.is_err() {
            chain.break_off();
        }
        // The requester may have given up: the write is committed all the same.
        let _ = answer.send(committed.and_then(|()| outcome.ok_or_else(lost)));
    }
}

/// Tells outcomes from a task of the runtime, where waking another task costs no system call.
struct Completions {
    committed: mpsc::Sender<Vec<Box<dyn Job>>>,
}

impl Completions {
    fn start() -> Self {
        let (committed, mut inbox) = mpsc::channel::<Vec<Box<dyn Job>>>(COMPLETIONS_MAX);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                while let Some(jobs) = inbox.recv().await {
                    jobs.into_iter().for_each(|job| job.finish(Ok(())));
                }
            });
        }
        Self { committed }
    }

    /// Passes jobs to the task. Without a runtime, the thread tells their outcomes itself.
    fn tell(&self, jobs: Vec<Box<dyn Job>>) {
        if let Err(mpsc::error::SendError(jobs)) = self.committed.blocking_send(jobs) {
            jobs.into_iter().for_each(|job| job.finish(Ok(())));
        }
    }
}

/// The queue of the writing thread. Overflow policy: [`StoreError::Busy`].
pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// Declared after `jobs`, so that the last wake-up finds the queue closed.
    wake: WakeCoalescer,
}

impl Writer {
    pub(crate) fn start(connection: Connection, queue: usize, batch: usize) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel(queue.max(1));
        let completions = Completions::start();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write(connection, inbox, batch.max(1), &completions))?;
        let thread = thread.thread().clone();
        Ok(Self { jobs, wake: WakeCoalescer::new(move || thread.unpark()) })
    }

    /// Returns the number of writes that the thread has not taken.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Runs a write, which is durable when this returns. The work may be run in several transactions, of
    /// which one commits.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_in_chain(Chain::default(), work).await
    }

    /// As [`run`](Self::run), for a write of a chain. If it is not committed, the chain is broken off before
    /// any later write is run.
    pub(crate) async fn run_in_chain<T: Send + 'static>(
        &self,
        chain: Chain,
        work: impl Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        let job = Box::new(Write { work, chain, outcome: None, answer });
        let ended = || StoreError::Failed("writer has ended".to_owned());
        match self.jobs.try_send(job) {
            Ok(()) => self.wake.request(),
            Err(mpsc::error::TrySendError::Full(job)) => job.finish(Err(StoreError::Busy)),
            Err(mpsc::error::TrySendError::Closed(job)) => job.finish(Err(ended())),
        }
        outcome.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Writes that share a commit: those taken so far, and the queue from which others may join.
struct CommitGroup<'a> {
    taken: Vec<Box<dyn Job>>,
    inbox: &'a mut mpsc::Receiver<Box<dyn Job>>,
    most: usize,
    limit: &'a mut BatchLimit,
    started: Instant,
}

impl<'a> CommitGroup<'a> {
    fn new(
        inbox: &'a mut mpsc::Receiver<Box<dyn Job>>,
        most: usize,
        limit: &'a mut BatchLimit,
    ) -> Self {
        Self { taken: Vec::new(), inbox, most, limit, started: Instant::now() }
    }

    /// Returns the write at this position. A write that arrived while others ran joins them, if the limits
    /// admit it.
    fn get(&mut self, position: usize) -> Option<&mut dyn Job> {
        while position >= self.taken.len() && self.has_room() {
            let job = self.inbox.try_recv().ok()?;
            self.take(job);
        }
        self.taken.get_mut(position).map(|job| &mut **job as &mut dyn Job)
    }

    fn has_room(&self) -> bool {
        let taken = self.taken.len();
        taken < self.most && self.limit.admits(taken, self.started)
    }

    /// Adds a write, unless its requester has given up and so was told that it failed.
    fn take(&mut self, job: Box<dyn Job>) {
        if job.is_wanted() {
            self.taken.push(job);
        } else {
            job.finish(Err(StoreError::Busy));
        }
    }

    /// Fails all writes taken. Where another process keeps the lock, those that arrived meanwhile have
    /// waited for it too, and fail with them.
    fn fail(self, error: rusqlite::Error) {
        let text = describe(&error);
        let mut failed = self.taken;
        let is_busy = matches!(StoreError::from(error), StoreError::Busy);
        if is_busy {
            let waited = self.inbox.len();
            failed.extend((0..waited).map_while(|_| self.inbox.try_recv().ok()));
        }
        for job in failed {
            let failed = StoreError::Failed(text.clone());
            job.finish(Err(if is_busy { StoreError::Busy } else { failed }));
        }
    }
}

/// Runs the thread until the store is dropped.
fn write(
    mut connection: Connection,
    mut inbox: mpsc::Receiver<Box<dyn Job>>,
    most: usize,
    completions: &Completions,
) {
    // Every client that sends waits for this thread, which mostly sleeps. Without `--scheduling batch` this
    // changes nothing.
    if let Err(error) = run_promptly() {
        tracing::debug!(%error, "the writing thread stays scheduled in batches");
    }
    let (mut cache, mut limit) = (WriterCache::default(), BatchLimit::default());
    while let Some(first) = next(&mut inbox) {
        let mut jobs = CommitGroup::new(&mut inbox, most, &mut limit);
        jobs.take(first);
        if write_batch(&mut connection, &mut cache, jobs, completions) {
            thread::sleep(LOCK_PAUSE);
        }
    }
}

/// Waits for a write; returns `None` once the store is dropped.
fn next(inbox: &mut mpsc::Receiver<Box<dyn Job>>) -> Option<Box<dyn Job>> {
    loop {
        match inbox.try_recv() {
            Ok(job) => return Some(job),
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
            // Returns at once after a wake-up in between.
            Err(mpsc::error::TryRecvError::Empty) => thread::park(),
        }
    }
}

/// Why nothing of a batch was committed.
enum Failure {
    /// The write at this position fails; the others may succeed.
    Job(usize, rusqlite::Error),
    /// The transaction fails.
    Batch(rusqlite::Error),
}

/// Commits all writes except those that fail by themselves. Returns whether another process writes too.
fn write_batch(
    connection: &mut Connection,
    cache: &mut WriterCache,
    mut jobs: CommitGroup<'_>,
    completions: &Completions,
) -> bool {
    while jobs.get(0).is_some() {
        let started = Instant::now();
        let committed = commit(connection, cache, &mut jobs);
        let writes = jobs.taken.len();
        metrics::store_commit(writes, started.elapsed());
        if committed.is_err() {
            *cache = WriterCache::default();
        }
        match committed {
            Ok(has_other_writer) => {
                completions.tell(jobs.taken);
                return has_other_writer;
            }
            Err(Failure::Job(position, error)) => {
                tracing::warn!(error = describe(&error), "cannot write");
                jobs.taken.remove(position).finish(Err(error.into()));
                // No others join: a stream of failing writes would delay the commit for ever.
                jobs.most = jobs.taken.len();
            }
            Err(Failure::Batch(error)) => {
                complain(&describe(&error), writes);
                jobs.fail(error);
                return false;
            }
        }
    }
    false
}

fn commit(
    connection: &mut Connection,
    cache: &mut WriterCache,
    jobs: &mut CommitGroup<'_>,
) -> Result<bool, Failure> {
    let mut batch = Batch::begin(connection, cache).map_err(Failure::Batch)?;
    let mut position = 0;
    while let Some(job) = jobs.get(position) {
        job.run(&mut batch).map_err(|error| Failure::Job(position, error))?;
        position += 1;
    }
    let waited = jobs.taken.len() + jobs.inbox.len();
    let Committed { has_other_writer, disk } = batch.commit().map_err(Failure::Batch)?;
    jobs.limit.record(waited, disk);
    Ok(has_other_writer)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::{super::super::schema, *};

    /// Wanted until the flag is set.
    #[derive(Default)]
    struct Nothing(Arc<AtomicBool>);

    impl Job for Nothing {
        fn is_wanted(&self) -> bool {
            !self.0.load(Ordering::SeqCst)
        }

        fn run(&mut self, _: &mut Batch<'_>) -> rusqlite::Result<()> {
            Ok(())
        }

        fn finish(self: Box<Self>, _: Result<()>) {}
    }

    #[test]
    fn writes_that_arrive_while_others_run_share_their_commit_up_to_the_limit() {
        let (sender, mut inbox) = mpsc::channel::<Box<dyn Job>>(8);
        let come = || assert!(sender.try_send(Box::new(Nothing::default())).is_ok());
        let mut limit = BatchLimit::default();
        let mut jobs = CommitGroup::new(&mut inbox, 2, &mut limit);
        jobs.take(Box::new(Nothing::default()));
        assert!(jobs.get(0).is_some());
        assert!(jobs.get(1).is_none(), "none has come");
        come();
        assert!(jobs.get(1).is_some());
        come();
        assert!(jobs.get(2).is_none(), "no more may share a commit");
        assert_eq!(inbox.len(), 1, "it waits for the next");
    }

    #[test]
    fn a_commit_leaves_a_part_of_many_that_wait_to_the_next() {
        let (sender, mut inbox) = mpsc::channel::<Box<dyn Job>>(100);
        (0..100).for_each(|_| assert!(sender.try_send(Box::new(Nothing::default())).is_ok()));
        let mut limit = BatchLimit::default();
        limit.record(100, Duration::ZERO);
        let mut jobs = CommitGroup::new(&mut inbox, 256, &mut limit);
        let taken = (0..100).take_while(|position| jobs.get(*position).is_some()).count();
        assert_eq!((taken, inbox.len()), (75, 25));
    }

    /// Queues another write, and fails.
    struct Bad(mpsc::Sender<Box<dyn Job>>);

    impl Job for Bad {
        fn is_wanted(&self) -> bool {
            true
        }

        fn run(&mut self, _: &mut Batch<'_>) -> rusqlite::Result<()> {
            assert!(self.0.try_send(Box::new(Self(self.0.clone()))).is_ok());
            Err(rusqlite::Error::QueryReturnedNoRows)
        }

        fn finish(self: Box<Self>, _: Result<()>) {}
    }

    #[test]
    fn a_stream_of_failing_writes_does_not_delay_the_commit_of_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(folder.path().join("imago.db")).unwrap();
        schema::prepare(&connection).unwrap();
        schema::migrate(&mut connection).unwrap();
        let (sender, mut inbox) = mpsc::channel::<Box<dyn Job>>(8);
        let mut limit = BatchLimit::default();
        let mut jobs = CommitGroup::new(&mut inbox, 8, &mut limit);
        jobs.take(Box::new(Nothing::default()));
        jobs.take(Box::new(Bad(sender)));
        write_batch(&mut connection, &mut WriterCache::default(), jobs, &Completions::start());
        assert_eq!(inbox.len(), 1, "what arrived meanwhile is for the next commit");
    }

    #[test]
    fn a_write_whose_requester_gave_up_is_left_out() {
        let (sender, mut inbox) = mpsc::channel::<Box<dyn Job>>(8);
        let gave_up = Nothing(Arc::new(AtomicBool::new(true)));
        assert!(sender.try_send(Box::new(gave_up)).is_ok());
        assert!(sender.try_send(Box::new(Nothing::default())).is_ok());
        let mut limit = BatchLimit::default();
        let mut jobs = CommitGroup::new(&mut inbox, 8, &mut limit);
        assert!(jobs.get(0).is_some());
        assert!(jobs.get(1).is_none());
        assert_eq!(jobs.taken.len(), 1);
    }
}
