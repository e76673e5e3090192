//! The one thread that writes: what waits shares a commit.

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
    batch::{Batch, Committed, Memory},
    limit::Pace,
    wake::Bell,
};
use crate::metrics;

/// Left free after a commit where another process writes too, which polls for its turn.
const TURN: Duration = Duration::from_micros(400);

/// Commits whose outcomes may wait to be told. Overflow policy: the thread waits.
const ANSWERS: usize = 2;

/// A write that can be tried again, and how it tells its outcome after the commit.
pub(crate) trait Job: Send {
    /// Whether anybody waits for it still.
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
pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// Behind the inbox, so that the thread finds that closed at the last wake.
    bell: Bell,
}

impl Writer {
    pub(crate) fn start(connection: Connection, queue: usize, batch: usize) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel(queue.max(1));
        let answers = Answers::start();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write(connection, inbox, batch.max(1), &answers))?;
        let thread = thread.thread().clone();
        Ok(Self { jobs, bell: Bell::new(move || thread.unpark()) })
    }

    /// Writes that the thread has not taken.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Runs a write, durable when this returns. The work may be run several times, in transactions
    /// of which only one commits.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_in(Chain::default(), work).await
    }

    /// The same for a write of a chain, which is broken off before any later write is run if this one
    /// is not committed.
    pub(crate) async fn run_in<T: Send + 'static>(
        &self,
        chain: Chain,
        work: impl Fn(&mut Batch<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        let job = Box::new(Write { work, chain, outcome: None, answer });
        let ended = || StoreError::Failed("writer has ended".to_owned());
        match self.jobs.try_send(job) {
            Ok(()) => self.bell.ring(),
            Err(mpsc::error::TrySendError::Full(job)) => job.finish(Err(StoreError::Busy)),
            Err(mpsc::error::TrySendError::Closed(job)) => job.finish(Err(ended())),
        }
        outcome.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// Writes that share a commit: those taken so far, and those that may still join them.
struct Jobs<'a> {
    taken: Vec<Box<dyn Job>>,
    inbox: &'a mut mpsc::Receiver<Box<dyn Job>>,
    most: usize,
    pace: &'a mut Pace,
    started: Instant,
}

impl<'a> Jobs<'a> {
    fn new(inbox: &'a mut mpsc::Receiver<Box<dyn Job>>, most: usize, pace: &'a mut Pace) -> Self {
        Self { taken: Vec::new(), inbox, most, pace, started: Instant::now() }
    }

    /// The next one to run. What came while the others ran joins them, if not too many have: it need not
    /// wait for a commit of its own.
    fn get(&mut self, position: usize) -> Option<&mut dyn Job> {
        while position >= self.taken.len() && self.may_join() {
            let job = self.inbox.try_recv().ok()?;
            self.take(job);
        }
        self.taken.get_mut(position).map(|job| &mut **job as &mut dyn Job)
    }

    fn may_join(&self) -> bool {
        let taken = self.taken.len();
        taken < self.most && self.pace.may_join(taken, self.started)
    }

    /// Who gave up was told that it failed: a store that is behind leaves that out.
    fn take(&mut self, job: Box<dyn Job>) {
        if job.is_wanted() {
            self.taken.push(job);
        } else {
            job.finish(Err(StoreError::Busy));
        }
    }

    /// None of those taken is committed. Where another process keeps the lock, those that came meanwhile
    /// have waited for it too.
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

/// Ends when the store is dropped.
fn write(
    mut connection: Connection,
    mut inbox: mpsc::Receiver<Box<dyn Job>>,
    most: usize,
    answers: &Answers,
) {
    // Every client that sends waits for this thread, which mostly sleeps.
    if let Err(error) = run_promptly() {
        tracing::debug!(%error, "the writing thread is scheduled as all others");
    }
    let (mut memory, mut pace) = (Memory::default(), Pace::default());
    while let Some(first) = next(&mut inbox) {
        let mut jobs = Jobs::new(&mut inbox, most, &mut pace);
        jobs.take(first);
        if write_batch(&mut connection, &mut memory, jobs, answers) {
            thread::sleep(TURN);
        }
    }
}

/// Waits for a write; none when the store was dropped.
fn next(inbox: &mut mpsc::Receiver<Box<dyn Job>>) -> Option<Box<dyn Job>> {
    loop {
        match inbox.try_recv() {
            Ok(job) => return Some(job),
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
            // Returns at once where the bell was rung in between.
            Err(mpsc::error::TryRecvError::Empty) => thread::park(),
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
    mut jobs: Jobs<'_>,
    answers: &Answers,
) -> bool {
    while jobs.get(0).is_some() {
        let started = Instant::now();
        let committed = commit(connection, memory, &mut jobs);
        let writes = jobs.taken.len();
        metrics::store_commit(writes, started.elapsed());
        if committed.is_err() {
            *memory = Memory::default();
        }
        match committed {
            Ok(is_shared) => {
                answers.tell(jobs.taken);
                return is_shared;
            }
            Err(Failure::Job(position, error)) => {
                tracing::warn!(error = describe(&error), "cannot write");
                jobs.taken.remove(position).finish(Err(error.into()));
                // Nobody joins any more: else bad ones that keep coming would keep these from their commit.
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
    memory: &mut Memory,
    jobs: &mut Jobs<'_>,
) -> Result<bool, Failure> {
    let mut batch = Batch::begin(connection, memory).map_err(Failure::Batch)?;
    let mut position = 0;
    while let Some(job) = jobs.get(position) {
        job.run(&mut batch).map_err(|error| Failure::Job(position, error))?;
        position += 1;
    }
    let waited = jobs.taken.len() + jobs.inbox.len();
    let Committed { is_shared, disk } = batch.commit().map_err(Failure::Batch)?;
    jobs.pace.committed(waited, disk);
    Ok(is_shared)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::{super::super::schema, *};

    /// Wanted until told otherwise.
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
    fn what_comes_while_others_run_shares_their_commit_up_to_the_most_that_may() {
        let (sender, mut inbox) = mpsc::channel::<Box<dyn Job>>(8);
        let come = || assert!(sender.try_send(Box::new(Nothing::default())).is_ok());
        let mut pace = Pace::default();
        let mut jobs = Jobs::new(&mut inbox, 2, &mut pace);
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
        let mut pace = Pace::default();
        pace.committed(100, Duration::ZERO);
        let mut jobs = Jobs::new(&mut inbox, 256, &mut pace);
        let taken = (0..100).take_while(|position| jobs.get(*position).is_some()).count();
        assert_eq!((taken, inbox.len()), (75, 25));
    }

    /// Brings another write along, and fails.
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
    fn bad_writes_that_keep_coming_do_not_keep_the_good_ones_from_their_commit() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(folder.path().join("imago.db")).unwrap();
        schema::prepare(&connection).unwrap();
        schema::migrate(&mut connection).unwrap();
        let (sender, mut inbox) = mpsc::channel::<Box<dyn Job>>(8);
        let mut pace = Pace::default();
        let mut jobs = Jobs::new(&mut inbox, 8, &mut pace);
        jobs.take(Box::new(Nothing::default()));
        jobs.take(Box::new(Bad(sender)));
        write_batch(&mut connection, &mut Memory::default(), jobs, &Answers::start());
        assert_eq!(inbox.len(), 1, "what came meanwhile is for the next commit");
    }

    #[test]
    fn a_write_that_nobody_waits_for_any_more_is_left_out() {
        let (sender, mut inbox) = mpsc::channel::<Box<dyn Job>>(8);
        let gave_up = Nothing(Arc::new(AtomicBool::new(true)));
        assert!(sender.try_send(Box::new(gave_up)).is_ok());
        assert!(sender.try_send(Box::new(Nothing::default())).is_ok());
        let mut pace = Pace::default();
        let mut jobs = Jobs::new(&mut inbox, 8, &mut pace);
        assert!(jobs.get(0).is_some());
        assert!(jobs.get(1).is_none());
        assert_eq!(jobs.taken.len(), 1);
    }
}
