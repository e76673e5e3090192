//! The reads, on threads of their own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use imago_proto::{Account, App, ConversationId, Seq};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::{mpsc, oneshot};

use super::super::{Content, INDEX_MAX, Page, Result, StoreError, Stored};

/// Reads that may wait. Overflow policy: the asker waits.
const QUEUE: usize = 1024;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Threads that read.
pub(super) struct Readers {
    reads: mpsc::Sender<Read>,
}

impl Readers {
    pub(super) fn start(connections: Vec<Connection>) -> Self {
        let (reads, inbox) = mpsc::channel::<Read>(QUEUE);
        let inbox = Arc::new(Mutex::new(inbox));
        for connection in connections {
            let inbox = inbox.clone();
            thread::spawn(move || {
                loop {
                    let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                    let Some(read) = next else { return };
                    read(&connection);
                }
            });
        }
        Self { reads }
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let ended = || StoreError::Failed("reader has ended".to_owned());
        let (answer, outcome) = oneshot::channel();
        let read: Read = Box::new(move |db| {
            // Whoever asked may have given up.
            let _ = answer.send(read(db));
        });
        self.reads.send(read).await.map_err(|_| ended())?;
        Ok(outcome.await.map_err(|_| ended())??)
    }
}

/// A conversation as clients name it.
pub(super) fn conversation_id(row: i64) -> ConversationId {
    ConversationId::from(format!("d{row}"))
}

/// The row that a client's name of a conversation stands for.
pub(super) fn conversation_row(id: &ConversationId) -> Option<i64> {
    id.as_str().strip_prefix('d')?.parse().ok()
}

const COLUMNS: &str =
    "m.message_id, m.send_time, m.conversation, m.seq, m.sender, m.kind, m.body, m.extra";

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        message_id: row.get(0)?,
        send_time: row.get(1)?,
        conversation: conversation_id(row.get(2)?),
        seq: Seq(row.get::<_, i64>(3)?.unsigned_abs()),
        sender: Account::from(row.get::<_, String>(4)?),
        content: Content { kind: row.get(5)?, body: row.get(6)?, extra: row.get(7)? },
    })
}

pub(super) fn index(
    db: &Connection,
    app: &App,
    account: &Account,
    page: Page,
) -> rusqlite::Result<Vec<Stored>> {
    let (past, from) = match page {
        Page::Unread(past) => (past, "k.cursor"),
        Page::Everything => (0, "0"),
    };
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM member k JOIN message m ON m.conversation = k.conversation AND m.seq > {from}
         WHERE k.app = ?1 AND k.account = ?2 AND m.sender <> ?2 AND m.message_id > ?3
         ORDER BY m.message_id LIMIT ?4"
    ))?
    .query_map(params![app.as_str(), account.as_str(), past, INDEX_MAX as i64], stored)?
    .collect()
}

pub(super) fn contents(
    db: &Connection,
    app: &App,
    account: &Account,
    ids: &[i64],
) -> rusqlite::Result<Vec<Option<Stored>>> {
    let mut select = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM message m JOIN member k ON k.conversation = m.conversation
         WHERE m.message_id = ?1 AND k.app = ?2 AND k.account = ?3"
    ))?;
    ids.iter()
        .map(|id| select.query_row(params![id, app.as_str(), account.as_str()], stored).optional())
        .collect()
}

pub(super) fn unread_since(
    db: &Connection,
    app: &App,
    account: &Account,
    since: i64,
    past: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Stored>> {
    db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM member k JOIN message m ON m.conversation = k.conversation AND m.seq > k.cursor
         WHERE k.app = ?1 AND k.account = ?2 AND m.sender <> ?2 AND m.send_time >= ?3 AND m.message_id > ?4
         ORDER BY m.message_id LIMIT ?5"
    ))?
    .query_map(params![app.as_str(), account.as_str(), since, past, limit as i64], stored)?
    .collect()
}
