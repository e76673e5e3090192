//! The threads that read.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{Result, StoreError},
    commit::UnindexedHeads,
    overlay::Overlay,
};

/// Reads that may wait. Overflow policy: the asker waits.
const QUEUE: usize = 1024;

type Read = Box<dyn FnOnce(&mut Reader) + Send>;

/// What a thread has.
pub(super) struct Reader {
    connection: Connection,
    unplaced: UnindexedHeads,
    overlay: Overlay,
}

// === impl Reader ===

impl Reader {
    /// Takes a connection that only reads, and one for an [`Overlay`].
    pub(super) fn new(connection: Connection, overlay: Overlay) -> Self {
        Self { connection, unplaced: UnindexedHeads::default(), overlay }
    }
}

/// Threads that read, each with a connection of its own. They end when this is dropped.
pub(super) struct Readers {
    reads: mpsc::Sender<Read>,
}

impl Readers {
    pub(super) fn start(readers: Vec<Reader>) -> io::Result<Self> {
        let (reads, inbox) = mpsc::channel::<Read>(QUEUE);
        let inbox = Arc::new(Mutex::new(inbox));
        for mut reader in readers {
            let inbox = inbox.clone();
            thread::Builder::new().name("store-reader".to_owned()).spawn(move || {
                loop {
                    let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    let Some(read) = next else { return };
                    read(&mut reader);
                }
            })?;
        }
        Ok(Self { reads })
    }

    /// Runs a read, all of whose statements see the same state of the database.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_with_heads(|db, _| read(db)).await
    }

    /// The same, with what the thread remembers of messages without a place.
    pub(super) async fn run_with_heads<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &mut UnindexedHeads) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_by(|reader| in_snapshot(reader, read)).await
    }

    /// Runs a read for which every message has its place, whether the file has it or not.
    pub(super) async fn run_overlaid<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &UnindexedHeads) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_by(|reader| reader.overlay.read(read)).await
    }

    async fn run_by<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let ended = || StoreError::Failed("reader has ended".to_owned());
        let (answer, outcome) = oneshot::channel();
        let read: Read = Box::new(move |reader| {
            if answer.is_closed() {
                return;
            }
            // Whoever asked may have given up.
            let _ = answer.send(work(reader));
        });
        self.reads.send(read).await.map_err(|_| ended())?;
        Ok(outcome.await.map_err(|_| ended())??)
    }
}

fn in_snapshot<T>(
    Reader { connection, unplaced, .. }: &mut Reader,
    read: impl FnOnce(&Connection, &mut UnindexedHeads) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    read(&transaction, unplaced)
}
