//! A transaction that several writes share, and what it need not read again.

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
    tail::{Head, Tail},
};

/// Conversations that are remembered. Overflow policy: all are forgotten, and read again.
const KNOWN_MAX: usize = 100_000;

/// A direct conversation by its app and accounts, in the order in which they are stored.
type Sides = (App, Account, Account);

/// [`Sides`] to look for.
#[derive(Hash)]
struct SidesRef<'a>(&'a App, &'a Account, &'a Account);

impl Equivalent<Sides> for SidesRef<'_> {
    fn equivalent(&self, (app, a, b): &Sides) -> bool {
        (self.0, self.1, self.2) == (app, a, b)
    }
}

/// What the writer remembers from one transaction to the next. To be forgotten after one that did not
/// commit.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Rows of direct conversations: none ever changes or goes.
    direct: HashMap<Sides, i64, RandomState>,
    tail: Tail,
    /// See [`data_version`]; none while nothing is remembered.
    version: Option<i64>,
}

impl Memory {
    /// Learns what other processes have written since the last transaction; tells whether they have.
    fn catch_up(&mut self, db: &Connection) -> Result<bool> {
        let version = data_version(db)?;
        if self.version == Some(version) {
            return Ok(false);
        }
        self.tail.catch_up(db)?;
        Ok(self.version.replace(version).is_some())
    }
}

/// Changes when another connection has written (SQLite, "PRAGMA data_version").
fn data_version(db: &Connection) -> Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// What there is to say of a commit.
pub(crate) struct Committed {
    /// Whether another process has written since the last one.
    pub(crate) is_shared: bool,
    /// How long it took to reach the disk.
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

/// A statement that is looked up once for many messages.
struct Kept<'a> {
    text: &'static str,
    found: Option<CachedStatement<'a>>,
}

impl<'a> Kept<'a> {
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
    insert_message: Kept<'a>,
    find_request: Kept<'a>,
    db: &'a Connection,
    transaction: Transaction<'a>,
    memory: &'a mut Memory,
    /// Whether another process has written since the last one.
    is_shared: bool,
}

impl<'a> Batch<'a> {
    pub(crate) fn begin(db: &'a mut Connection, memory: &'a mut Memory) -> Result<Self> {
        // No other transaction is open: the connection is this one's alone.
        let db = &*db;
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let is_shared = memory.catch_up(&transaction)?;
        Ok(Self {
            insert_message: Kept::new(INSERT_MESSAGE),
            find_request: Kept::new(FIND_REQUEST),
            db,
            transaction,
            memory,
            is_shared,
        })
    }

    /// The transaction, with all messages in their places, all keys and all last sequences.
    pub(crate) fn settled(&mut self) -> Result<&Transaction<'a>> {
        self.memory.tail.settle(&self.transaction)?;
        Ok(&self.transaction)
    }

    /// The transaction, without the places, keys and last sequences of some messages.
    pub(crate) fn unsettled(&self) -> &Transaction<'a> {
        &self.transaction
    }

    pub(crate) fn commit(self) -> Result<Committed> {
        self.memory.tail.settle_share(&self.transaction)?;
        let started = Instant::now();
        self.transaction.commit()?;
        Ok(Committed { is_shared: self.is_shared, disk: started.elapsed() })
    }

    /// The last message of a conversation; none where there is no such conversation.
    pub(crate) fn head(&self, conversation: i64) -> Result<Option<Head>> {
        self.memory.tail.head(&self.transaction, conversation)
    }

    /// The last message of all.
    pub(crate) fn last_id(&self) -> i64 {
        self.memory.tail.last_id()
    }

    /// Minted within the transaction, so ids rise in the order of commits, whichever process
    /// writes.
    pub(crate) fn next_id(&self, now: i64) -> i64 {
        now.max(self.last_id().saturating_add(1)).max(FIRST_ID)
    }

    /// The message that a request with this key stored, if it did.
    pub(crate) fn message_of(&mut self, request: &str) -> Result<Option<i64>> {
        if let Some(id) = self.memory.tail.message_of(request) {
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
        self.memory.tail.push(id, conversation, seq, request);
        Ok(())
    }

    /// The row of the two accounts' conversation, if there is one.
    pub(crate) fn find_conversation(
        &mut self,
        app: &App,
        one: &Account,
        other: &Account,
    ) -> Result<Option<i64>> {
        let (a, b) = sides(one, other);
        if let Some(row) = self.memory.direct.get(&SidesRef(app, a, b)) {
            return Ok(Some(*row));
        }
        let found = self
            .transaction
            .prepare_cached("SELECT id FROM conversation WHERE app = ?1 AND a = ?2 AND b = ?3")?
            .query_row([app.as_str(), a.as_str(), b.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(row) = found {
            self.remember((app.clone(), a.clone(), b.clone()), row);
        }
        Ok(found)
    }

    /// Makes it, with its members.
    pub(crate) fn make_conversation(
        &mut self,
        app: &App,
        one: &Account,
        other: &Account,
    ) -> Result<i64> {
        let (a, b) = sides(one, other);
        let row = insert_conversation(&self.transaction, app, a, b)?;
        self.remember((app.clone(), a.clone(), b.clone()), row);
        Ok(row)
    }

    fn remember(&mut self, sides: Sides, row: i64) {
        if self.memory.direct.len() >= KNOWN_MAX {
            self.memory.direct = HashMap::default();
        }
        self.memory.direct.insert(sides, row);
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
