//! Messages that are stored and not yet found by conversation or request: the end of `message`.
//!
//! A message is appended to `message`, where those of a moment are neighbours. Its place, by conversation
//! and sequence, would change a page of its own, and so would the key of its request, where many wait for
//! their turn; so both, and last sequences, are written for many messages at once, in their order. While
//! they are, all senders would wait, so each commit writes a share of them (docs/performance.md).
//!
//! All of it is in the file: whoever opens it, or writes after another process, reads what is past
//! `placed.until`, and may find that a part of it has its place already.

use std::{collections::HashMap, mem};

use foldhash::fast::RandomState;
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension, Params, Result, params};

/// Messages that wait for their places before these are written, give or take a batch. While they are,
/// about as many more come.
pub(crate) const TAIL_MAX: usize = 2048;

/// Messages that come while [`TAIL_MAX`] get their places. Fewer than those, so that the tail does not grow.
const SHARES: usize = TAIL_MAX / 8 * 7;

/// Messages that come before as many get their places: the fewer, the fewer neighbours among them.
pub(crate) const SHARE_MIN: usize = 512;

/// What the writer remembers of the tail.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The last message that has its place, as have all before it.
    until: i64,
    /// The last message of all.
    last_id: i64,
    /// What a share is written of with each commit, if anything.
    settling: Option<Settling>,
    recent: Recent,
    /// Messages that have come since the last share.
    came: usize,
}

/// The last message of a conversation; zeros where there is none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    pub(crate) seq: i64,
    /// 0 for one that was removed before ids were kept.
    pub(crate) id: i64,
}

/// Messages that wait.
#[derive(Debug, Default)]
struct Recent {
    /// Message ids by the keys of their requests.
    requests: HashMap<String, i64, RandomState>,
    /// The last messages of conversations.
    heads: HashMap<i64, Head, RandomState>,
    /// Conversation, sequence and message id.
    places: Vec<(i64, i64, i64)>,
}

/// What is not yet written of messages whose turn it is. Each list is in the order of its table, last
/// first: neighbours share pages.
#[derive(Debug)]
struct Settling {
    requests: Vec<(String, i64)>,
    heads: Vec<(i64, Head)>,
    places: Vec<(i64, i64, i64)>,
    /// How many messages these were.
    messages: usize,
    /// The last one of them.
    until: i64,
}

impl Tail {
    /// Reads what others have written, within a transaction.
    pub(crate) fn catch_up(&mut self, db: &Connection) -> Result<()> {
        let until = placed_until(db)?;
        if until != self.until || self.last_id < until {
            *self = Self { until, last_id: until, ..Self::default() };
        }
        let mut select = db.prepare_cached(
            "SELECT message_id, conversation, seq, request FROM message WHERE message_id > ?1
             ORDER BY message_id",
        )?;
        let mut rows = select.query([self.last_id])?;
        while let Some(row) = rows.next()? {
            self.push(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        }
        Ok(())
    }

    /// A message was stored.
    pub(crate) fn push(&mut self, id: i64, conversation: i64, seq: i64, request: String) {
        self.last_id = id;
        self.came += 1;
        self.recent.requests.insert(request, id);
        self.recent.heads.insert(conversation, Head { seq, id });
        self.recent.places.push((conversation, seq, id));
    }

    /// The message of a request with this key, if it is one of these.
    pub(crate) fn message_of(&self, request: &str) -> Option<i64> {
        let settling = || self.settling.as_ref()?.message_of(request);
        self.recent.requests.get(request).copied().or_else(settling)
    }

    /// The last message of a conversation; none where there is no such conversation.
    pub(crate) fn head(&self, db: &Connection, conversation: i64) -> Result<Option<Head>> {
        if let Some(head) = self.recent.heads.get(&conversation) {
            return Ok(Some(*head));
        }
        if let Some(head) = self.settling.as_ref().and_then(|settling| settling.head(conversation))
        {
            return Ok(Some(head));
        }
        db.prepare_cached("SELECT last_seq, last_id FROM conversation WHERE id = ?1")?
            .query_row([conversation], |row| Ok(Head { seq: row.get(0)?, id: row.get(1)? }))
            .optional()
    }

    /// The last message id.
    pub(crate) fn last_id(&self) -> i64 {
        self.last_id
    }

    /// Gives all messages their places, and their keys to the index.
    pub(crate) fn settle(&mut self, db: &Connection) -> Result<()> {
        self.settle_some(db, usize::MAX)?;
        self.begin_settling(1);
        self.settle_some(db, usize::MAX)
    }

    /// Gives messages of a long tail their places, somewhat more of them than have come.
    pub(crate) fn settle_share(&mut self, db: &Connection) -> Result<()> {
        self.begin_settling(TAIL_MAX);
        if self.came < SHARE_MIN {
            return Ok(());
        }
        let messages = self.settling.as_ref().map_or(0, |settling| settling.messages);
        let share = mem::take(&mut self.came).saturating_mul(messages).div_ceil(SHARES);
        self.settle_some(db, share)
    }

    /// It is the turn of what waits, if that is so many.
    fn begin_settling(&mut self, least: usize) {
        if self.settling.is_some() || self.recent.places.len() < least {
            return;
        }
        let recent = &mut self.recent;
        let mut settling = Settling {
            requests: recent.requests.drain().collect(),
            heads: recent.heads.drain().collect(),
            places: mem::take(&mut recent.places),
            messages: 0,
            until: self.last_id,
        };
        settling.requests.sort_unstable_by(|one, other| other.cmp(one));
        settling.heads.sort_unstable_by(|one, other| other.cmp(one));
        settling.places.sort_unstable_by(|one, other| other.cmp(one));
        settling.messages = settling.places.len();
        self.settling = Some(settling);
    }

    fn settle_some(&mut self, db: &Connection, messages: usize) -> Result<()> {
        let Some(settling) = &mut self.settling else { return Ok(()) };
        if settling.write(db, messages)? {
            db.prepare_cached("UPDATE placed SET until = ?1")?.execute([settling.until])?;
            self.until = settling.until;
            self.settling = None;
        }
        Ok(())
    }
}

impl Settling {
    fn message_of(&self, request: &str) -> Option<i64> {
        let found = self.requests.binary_search_by(|(key, _)| request.cmp(key)).ok()?;
        self.requests.get(found).map(|(_, id)| *id)
    }

    fn head(&self, conversation: i64) -> Option<Head> {
        let found = self.heads.binary_search_by(|(row, _)| conversation.cmp(row)).ok()?;
        self.heads.get(found).map(|(_, head)| *head)
    }

    /// Writes as many places, keys and last sequences; tells whether there are no more.
    fn write(&mut self, db: &Connection, messages: usize) -> Result<bool> {
        let mut place = Insert {
            insert: db.prepare_cached(
                "INSERT OR IGNORE INTO place (conversation, seq, message_id) VALUES (?1, ?2, ?3)",
            )?,
            find: "SELECT 1 FROM place WHERE conversation = ?1 AND seq = ?2 AND message_id = ?3",
        };
        for (conversation, seq, id) in first(&mut self.places, messages) {
            place.run(db, [conversation, seq, id])?;
        }
        let mut key = Insert {
            insert: db.prepare_cached(
                "INSERT OR IGNORE INTO message_request (request, message_id) VALUES (?1, ?2)",
            )?,
            find: "SELECT 1 FROM message_request WHERE request = ?1 AND message_id = ?2",
        };
        for (request, id) in first(&mut self.requests, messages) {
            key.run(db, params![request, id])?;
        }
        // Another process may be settling too, and have written a later one: its shares are of more messages.
        let mut head = db.prepare_cached(
            "UPDATE conversation SET last_seq = ?2, last_id = ?3 WHERE id = ?1 AND last_seq < ?2",
        )?;
        for (conversation, Head { seq, id }) in first(&mut self.heads, messages) {
            head.execute([conversation, seq, id])?;
        }
        // There are not more conversations than messages.
        Ok(self.places.is_empty())
    }
}

/// Takes so many out, from the end.
fn first<T>(rows: &mut Vec<T>, most: usize) -> impl Iterator<Item = T> {
    rows.drain(rows.len().saturating_sub(most)..).rev()
}

/// Inserts what may be there already.
struct Insert<'a> {
    insert: CachedStatement<'a>,
    /// Finds the same row.
    find: &'static str,
}

impl Insert<'_> {
    /// Fails where another row has the key.
    fn run(&mut self, db: &Connection, row: impl Params + Clone) -> Result<()> {
        if self.insert.execute(row.clone())? == 1 || db.prepare_cached(self.find)?.exists(row)? {
            return Ok(());
        }
        Err(Error::StatementChangedRows(0))
    }
}

pub(crate) fn placed_until(db: &Connection) -> Result<i64> {
    db.prepare_cached("SELECT until FROM placed")?.query_row([], |row| row.get(0))
}

/// The last messages of those conversations that are in the tail, as a thread that reads knows them. It
/// learns each message once.
#[derive(Debug, Default)]
pub(crate) struct Unplaced {
    /// As in [`Tail`].
    until: i64,
    last_id: i64,
    heads: HashMap<i64, Head, RandomState>,
}

impl Unplaced {
    /// What a snapshot knows by conversation and sequence alone.
    pub(crate) fn ignored(db: &Connection) -> Result<Self> {
        Ok(Self::none(placed_until(db)?))
    }

    /// Of a snapshot in which every message up to the last one has its place.
    pub(crate) fn none(last_id: i64) -> Self {
        Self { until: last_id, last_id, heads: HashMap::default() }
    }

    /// Reads what was written since the last time. Snapshots never go back.
    pub(crate) fn catch_up(&mut self, db: &Connection) -> Result<()> {
        let until = placed_until(db)?;
        if until != self.until {
            self.heads.retain(|_, head| head.id > until);
            self.until = until;
            self.last_id = self.last_id.max(until);
        }
        let mut select = db.prepare_cached(
            "SELECT message_id, conversation, seq FROM message WHERE message_id > ?1
             ORDER BY message_id",
        )?;
        let mut rows = select.query([self.last_id])?;
        while let Some(row) = rows.next()? {
            let head = Head { id: row.get(0)?, seq: row.get(2)? };
            self.last_id = head.id;
            self.heads.insert(row.get(1)?, head);
        }
        Ok(())
    }

    /// The last message of all that it knows.
    pub(crate) fn last_id(&self) -> i64 {
        self.last_id
    }

    /// The last message of a conversation, where it is one of these.
    pub(crate) fn head(&self, conversation: i64) -> Option<Head> {
        self.heads.get(&conversation).copied()
    }
}

/// Whether a snapshot has no tail.
pub(crate) fn is_settled(db: &Connection) -> Result<bool> {
    db.prepare_cached(
        "SELECT until >= COALESCE((SELECT MAX(message_id) FROM message), 0) FROM placed",
    )?
    .query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::{super::super::schema, *};

    /// A tail with a connection to a file that others write too.
    struct Process {
        db: Connection,
        tail: Tail,
    }

    impl Process {
        fn open(path: &std::path::Path) -> Self {
            let mut db = Connection::open(path).unwrap();
            schema::prepare(&db).unwrap();
            schema::migrate(&mut db).unwrap();
            Self { db, tail: Tail::default() }
        }

        /// Stores a message of a conversation.
        fn store(&mut self, id: i64, conversation: i64, seq: i64) {
            let request = id.to_string();
            let insert = "INSERT INTO message VALUES (?1, ?2, ?3, 'a', 1, '', '', ?1, ?4, '')";
            self.db.execute(insert, params![id, conversation, seq, request]).unwrap();
            self.tail.push(id, conversation, seq, request);
        }

        /// Begins to settle all that it knows, and writes the rows of as many messages.
        fn settle(&mut self, messages: usize) {
            self.tail.catch_up(&self.db).unwrap();
            self.tail.begin_settling(1);
            self.tail.settle_some(&self.db, messages).unwrap();
        }
    }

    #[test]
    fn the_last_sequence_of_a_conversation_never_falls_when_two_processes_settle_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imago.db");
        let (mut one, mut other) = (Process::open(&path), Process::open(&path));
        for row in 1..=2 {
            let insert = "INSERT INTO conversation (id, app, a, b) VALUES (?1, 'x', 'a', ?1)";
            one.db.execute(insert, [row]).unwrap();
        }
        one.store(1, 1, 1);
        one.store(2, 2, 1);
        // This one's shares are of what there is now.
        one.settle(0);
        one.store(3, 1, 2);
        one.store(4, 2, 2);
        // The other process writes the last sequence of a conversation, then this one does.
        other.settle(1);
        one.settle(1);
        other.settle(usize::MAX);
        one.tail.catch_up(&one.db).unwrap();
        for process in [&one, &other, &Process::open(&path)] {
            for row in 1..=2 {
                let head = process.tail.head(&process.db, row).unwrap().unwrap();
                assert_eq!((head.seq, head.id), (2, 2 + row));
            }
        }
    }
}
