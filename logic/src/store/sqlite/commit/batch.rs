//! A transaction that several writes share, and what the writer caches between two of them.

use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use imago_proto::{Account, App};
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Result, Transaction, TransactionBehavior,
    params,
};

use super::{
    super::super::{
        NewMessage,
        ids::{FIRST_ID, sides},
    },
    heads::Head,
    tail::UnindexedTail,
};

/// Conversations that are cached. Overflow policy: the cache is cleared.
const CACHED_MAX: usize = 100_000;

/// A direct conversation by its app and accounts, in the order in which they are stored.
type Sides = (App, Account, Account);

/// Borrowed [`Sides`].
#[derive(Hash)]
struct SidesRef<'a>(&'a App, &'a Account, &'a Account);

impl Equivalent<Sides> for SidesRef<'_> {
    fn equivalent(&self, (app, a, b): &Sides) -> bool {
        (self.0, self.1, self.2) == (app, a, b)
    }
}

/// What the writer knows of the file from one transaction to the next. Callers discard it after a rollback.
#[derive(Debug, Default)]
pub(crate) struct WriterCache {
    /// Rows of direct conversations, which never change.
    direct: HashMap<Sides, i64, RandomState>,
    tail: UnindexedTail,
    /// See [`data_version`]; `None` while nothing is cached.
    version: Option<i64>,
}

impl WriterCache {
    /// Reads what other processes have written since the last transaction. Returns whether they have.
    fn catch_up(&mut self, db: &Connection) -> Result<bool> {
        let version = data_version(db)?;
        if self.version == Some(version) {
            return Ok(false);
        }
        self.tail.catch_up(db)?;
        Ok(self.version.replace(version).is_some())
    }
}

/// Returns a number that changes when another connection has written (SQLite, "PRAGMA data_version").
fn data_version(db: &Connection) -> Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// What the writer learns from a commit.
pub(crate) struct Committed {
    /// Another process has written since the last commit.
    pub(crate) has_other_writer: bool,
    /// The time the commit took to reach the disk.
    pub(crate) disk: Duration,
}

/// A message as it is stored.
pub(crate) struct Row<'m> {
    pub(crate) id: i64,
    pub(crate) conversation: i64,
    pub(crate) seq: i64,
    pub(crate) message: &'m NewMessage,
    pub(crate) send_time: i64,
    /// The key of its request.
    pub(crate) request: String,
}

const INSERT_MESSAGE: &str =
    "INSERT INTO message (message_id, conversation, seq, sender, kind, body, extra, send_time, request, device)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const FIND_REQUEST: &str = "SELECT message_id FROM message_request WHERE request = ?1";

/// A statement that is prepared at its first use, and kept for the other messages of the batch.
struct LazyStatement<'a> {
    text: &'static str,
    found: Option<CachedStatement<'a>>,
}

impl<'a> LazyStatement<'a> {
    fn new(text: &'static str) -> Self {
        Self { text, found: None }
    }

    fn get(&mut self, db: &'a Connection) -> Result<&mut CachedStatement<'a>> {
        match &mut self.found {
            Some(found) => Ok(found),
            none => Ok(none.insert(db.prepare_cached(self.text)?)),
        }
    }
}

/// A transaction that several writes share.
pub(crate) struct Batch<'a> {
    insert_message: LazyStatement<'a>,
    find_request: LazyStatement<'a>,
    db: &'a Connection,
    transaction: Transaction<'a>,
    cache: &'a mut WriterCache,
    has_other_writer: bool,
}

impl<'a> Batch<'a> {
    pub(crate) fn begin(db: &'a mut Connection, cache: &'a mut WriterCache) -> Result<Self> {
        // The exclusive borrow guarantees that no other transaction is open.
        let db = &*db;
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let has_other_writer = cache.catch_up(&transaction)?;
        Ok(Self {
            insert_message: LazyStatement::new(INSERT_MESSAGE),
            find_request: LazyStatement::new(FIND_REQUEST),
            db,
            transaction,
            cache,
            has_other_writer,
        })
    }

    /// Indexes the whole tail, and returns the transaction. Callers read or change the index.
    pub(crate) fn indexed(&mut self) -> Result<&Transaction<'a>> {
        self.cache.tail.index_all(&self.transaction)?;
        Ok(&self.transaction)
    }

    /// Returns the transaction. The index lacks the messages of the tail.
    pub(crate) fn transaction(&self) -> &Transaction<'a> {
        &self.transaction
    }

    pub(crate) fn commit(self) -> Result<Committed> {
        self.cache.tail.index_share(&self.transaction)?;
        let started = Instant::now();
        self.transaction.commit()?;
        Ok(Committed { has_other_writer: self.has_other_writer, disk: started.elapsed() })
    }

    /// Returns the last message of a conversation; `None` where the conversation does not exist.
    pub(crate) fn head(&self, conversation: i64) -> Result<Option<Head>> {
        self.cache.tail.head(&self.transaction, conversation)
    }

    /// Returns the last message id of the file.
    pub(crate) fn last_id(&self) -> i64 {
        self.cache.tail.last_id()
    }

    /// Returns the id of the next message. It is chosen within the transaction, so that ids rise in the
    /// order of commits of all processes.
    pub(crate) fn next_id(&self, now: i64) -> i64 {
        now.max(self.last_id().saturating_add(1)).max(FIRST_ID)
    }

    /// Returns the message that a request with this key has stored.
    pub(crate) fn message_of(&mut self, request: &str) -> Result<Option<i64>> {
        if let Some(id) = self.cache.tail.message_of(request) {
            return Ok(Some(id));
        }
        self.find_request.get(self.db)?.query_row([request], |row| row.get(0)).optional()
    }

    /// Stores a message.
    pub(crate) fn insert(&mut self, row: Row<'_>) -> Result<()> {
        let Row { id, conversation, seq, message, send_time, request } = row;
        let NewMessage { sender, device, content, .. } = message;
        self.insert_message.get(self.db)?.execute(params![
            id,
            conversation,
            seq,
            sender.as_str(),
            content.kind,
            content.body,
            content.extra,
            send_time,
            request,
            device
        ])?;
        self.cache.tail.push(id, conversation, seq, request);
        Ok(())
    }

    /// Returns the row of the conversation of two accounts.
    pub(crate) fn find_conversation(
        &mut self,
        app: &App,
        one: &Account,
        other: &Account,
    ) -> Result<Option<i64>> {
        let (a, b) = sides(one, other);
        if let Some(row) = self.cache.direct.get(&SidesRef(app, a, b)) {
            return Ok(Some(*row));
        }
        let found = self
            .transaction
            .prepare_cached("SELECT id FROM conversation WHERE app = ?1 AND a = ?2 AND b = ?3")?
            .query_row([app.as_str(), a.as_str(), b.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(row) = found {
            self.cache_conversation((app.clone(), a.clone(), b.clone()), row);
        }
        Ok(found)
    }

    /// Creates the conversation of two accounts, with its members.
    pub(crate) fn create_conversation(
        &mut self,
        app: &App,
        one: &Account,
        other: &Account,
    ) -> Result<i64> {
        let (a, b) = sides(one, other);
        let row = insert_conversation(&self.transaction, app, a, b)?;
        self.cache_conversation((app.clone(), a.clone(), b.clone()), row);
        Ok(row)
    }

    fn cache_conversation(&mut self, sides: Sides, row: i64) {
        if self.cache.direct.len() >= CACHED_MAX {
            self.cache.direct = HashMap::default();
        }
        self.cache.direct.insert(sides, row);
    }
}

fn insert_conversation(db: &Connection, app: &App, a: &Account, b: &Account) -> Result<i64> {
    db.prepare_cached("INSERT INTO conversation (app, a, b) VALUES (?1, ?2, ?3)")?.execute([
        app.as_str(),
        a.as_str(),
        b.as_str(),
    ])?;
    let row = db.last_insert_rowid();
    let mut insert = db.prepare_cached(
        "INSERT INTO member (app, account, conversation) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING",
    )?;
    for account in [a, b] {
        insert.execute(params![app.as_str(), account.as_str(), row])?;
    }
    Ok(row)
}
