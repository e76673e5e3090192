//! The reading threads, and their queue.

use std::{io, sync::Arc, thread};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{Result, StoreError},
    commit::UnindexedHeads,
    overlay::Overlay,
};

/// Reads that may wait. Overflow policy: the requester waits.
const QUEUE: usize = 1024;

type Read = Box<dyn FnOnce(&mut Reader) + Send>;

/// The state of a reading thread.
pub(super) struct Reader {
    connection: Connection,
    heads: UnindexedHeads,
    overlay: Overlay,
}

// === impl Reader ===

impl Reader {
    /// Creates the state from a connection that only reads, and an overlay.
    pub(super) fn new(connection: Connection, overlay: Overlay) -> Self {
        Self { connection, heads: UnindexedHeads::default(), overlay }
    }
}

/// Reading threads, each with connections of its own. Dropping this ends them.
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
                    let next = inbox.lock().blocking_recv();
                    let Some(read) = next else { return };
                    read(&mut reader);
                }
            })?;
        }
        Ok(Self { reads })
    }

    /// Runs a read in one snapshot of the database.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_with_heads(|db, _| read(db)).await
    }

    /// As [`run`](Self::run), with the heads of the tail that the thread knows.
    pub(super) async fn run_with_heads<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &mut UnindexedHeads) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_by(|reader| in_snapshot(reader, read)).await
    }

    /// Runs a read through the [`Overlay`], where every message counts as indexed.
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
            // The requester may have given up.
            let _ = answer.send(work(reader));
        });
        self.reads.send(read).await.map_err(|_| ended())?;
        Ok(outcome.await.map_err(|_| ended())??)
    }
}

fn in_snapshot<T>(
    Reader { connection, heads, .. }: &mut Reader,
    read: impl FnOnce(&Connection, &mut UnindexedHeads) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    read(&transaction, heads)
}
