//! The unindexed tail: messages that are stored, but not yet found by conversation or by request. The
//! module [`commit`](super) tells why.

use std::{collections::HashMap, mem};

use foldhash::fast::RandomState;
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension, Params, Result, params};

use super::heads::{Head, indexed_until};

/// Messages in the tail at which it is sealed, give or take a batch. About as many arrive while they are
/// indexed.
pub(crate) const TAIL_MAX: usize = 2048;

/// Messages that arrive while a run of [`TAIL_MAX`] is indexed. Fewer than those, so that the tail does not
/// grow.
const DRAIN_SPAN: usize = TAIL_MAX / 8 * 7;

/// Messages that arrive between two shares. The fewer, the fewer rows of a share lie on one page.
pub(crate) const SHARE_MIN: usize = 512;

/// The writer's copy of the tail.
#[derive(Debug, Default)]
pub(super) struct UnindexedTail {
    /// See [`indexed_until`].
    until: i64,
    last_id: i64,
    /// The run that is being indexed.
    run: Option<Run>,
    recent: Recent,
    /// Messages that have arrived since the last share.
    since_share: usize,
}

/// Messages of the tail that are not sealed.
#[derive(Debug, Default)]
struct Recent {
    /// Message ids by the keys of their requests.
    requests: HashMap<String, i64, RandomState>,
    heads: HashMap<i64, Head, RandomState>,
    /// Conversation, sequence and message id.
    positions: Vec<(i64, i64, i64)>,
}

/// Sealed messages whose rows of the index are being written. Each list is in the descending order of its
/// table, so that the end of the list holds the next rows, and neighbours share pages.
#[derive(Debug)]
struct Run {
    requests: Vec<(String, i64)>,
    heads: Vec<(i64, Head)>,
    positions: Vec<(i64, i64, i64)>,
    /// Length of `positions` when the run was sealed.
    messages: usize,
    /// The last message id of the run.
    until: i64,
}

impl UnindexedTail {
    /// Reads what other processes have written. Callers hold the transaction that writes.
    pub(super) fn catch_up(&mut self, db: &Connection) -> Result<()> {
        let until = indexed_until(db)?;
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

    /// Adds a message that was stored.
    pub(super) fn push(&mut self, id: i64, conversation: i64, seq: i64, request: String) {
        self.last_id = id;
        self.since_share += 1;
        self.recent.requests.insert(request, id);
        self.recent.heads.insert(conversation, Head { seq, id });
        self.recent.positions.push((conversation, seq, id));
    }

    /// Returns the message that a request with this key stored, if it is in the tail.
    pub(super) fn message_of(&self, request: &str) -> Option<i64> {
        let sealed = || self.run.as_ref()?.message_of(request);
        self.recent.requests.get(request).copied().or_else(sealed)
    }

    /// Returns the last message of a conversation; `None` where the conversation does not exist.
    pub(super) fn head(&self, db: &Connection, conversation: i64) -> Result<Option<Head>> {
        if let Some(head) = self.recent.heads.get(&conversation) {
            return Ok(Some(*head));
        }
        if let Some(head) = self.run.as_ref().and_then(|run| run.head(conversation)) {
            return Ok(Some(head));
        }
        db.prepare_cached("SELECT last_seq, last_id FROM conversation WHERE id = ?1")?
            .query_row([conversation], |row| Ok(Head { seq: row.get(0)?, id: row.get(1)? }))
            .optional()
    }

    /// Returns the last message id of the file.
    pub(super) fn last_id(&self) -> i64 {
        self.last_id
    }

    /// Indexes the whole tail.
    pub(super) fn index_all(&mut self, db: &Connection) -> Result<()> {
        self.index_some(db, usize::MAX)?;
        self.seal(1);
        self.index_some(db, usize::MAX)
    }

    /// Indexes a share of a long tail, somewhat more messages than have arrived since the last share.
    pub(super) fn index_share(&mut self, db: &Connection) -> Result<()> {
        self.seal(TAIL_MAX);
        if self.since_share < SHARE_MIN {
            return Ok(());
        }
        let messages = self.run.as_ref().map_or(0, |run| run.messages);
        let share = mem::take(&mut self.since_share).saturating_mul(messages).div_ceil(DRAIN_SPAN);
        self.index_some(db, share)
    }

    /// Seals the recent messages into a run, if there are at least `least` and no other run is being
    /// indexed.
    fn seal(&mut self, least: usize) {
        if self.run.is_some() || self.recent.positions.len() < least {
            return;
        }
        let recent = &mut self.recent;
        let mut run = Run {
            requests: recent.requests.drain().collect(),
            heads: recent.heads.drain().collect(),
            positions: mem::take(&mut recent.positions),
            messages: 0,
            until: self.last_id,
        };
        run.requests.sort_unstable_by(|one, other| other.cmp(one));
        run.heads.sort_unstable_by(|one, other| other.cmp(one));
        run.positions.sort_unstable_by(|one, other| other.cmp(one));
        run.messages = run.positions.len();
        self.run = Some(run);
    }

    /// Writes the index rows of `messages` messages of the run.
    fn index_some(&mut self, db: &Connection, messages: usize) -> Result<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        if run.write(db, messages)? {
            db.prepare_cached("UPDATE placed SET until = ?1")?.execute([run.until])?;
            self.until = run.until;
            self.run = None;
        }
        Ok(())
    }
}

impl Run {
    fn message_of(&self, request: &str) -> Option<i64> {
        let found = self.requests.binary_search_by(|(key, _)| request.cmp(key)).ok()?;
        self.requests.get(found).map(|(_, id)| *id)
    }

    fn head(&self, conversation: i64) -> Option<Head> {
        let found = self.heads.binary_search_by(|(row, _)| conversation.cmp(row)).ok()?;
        self.heads.get(found).map(|(_, head)| *head)
    }

    /// Writes the next `messages` rows of each table. Returns whether the run is finished.
    fn write(&mut self, db: &Connection, messages: usize) -> Result<bool> {
        let mut position = InsertIfAbsent {
            insert: db.prepare_cached(
                "INSERT OR IGNORE INTO place (conversation, seq, message_id) VALUES (?1, ?2, ?3)",
            )?,
            find: "SELECT 1 FROM place WHERE conversation = ?1 AND seq = ?2 AND message_id = ?3",
        };
        for (conversation, seq, id) in take_last(&mut self.positions, messages) {
            position.run(db, [conversation, seq, id])?;
        }
        let mut key = InsertIfAbsent {
            insert: db.prepare_cached(
                "INSERT OR IGNORE INTO message_request (request, message_id) VALUES (?1, ?2)",
            )?,
            find: "SELECT 1 FROM message_request WHERE request = ?1 AND message_id = ?2",
        };
        for (request, id) in take_last(&mut self.requests, messages) {
            key.run(db, params![request, id])?;
        }
        // Another process may index the same tail, in a run of more messages: its later sequence stays.
        let mut head = db.prepare_cached(
            "UPDATE conversation SET last_seq = ?2, last_id = ?3 WHERE id = ?1 AND last_seq < ?2",
        )?;
        for (conversation, Head { seq, id }) in take_last(&mut self.heads, messages) {
            head.execute([conversation, seq, id])?;
        }
        // The other lists are not longer than this one.
        Ok(self.positions.is_empty())
    }
}

/// Removes up to `most` rows from the end and yields them, the last one first.
fn take_last<T>(rows: &mut Vec<T>, most: usize) -> impl Iterator<Item = T> {
    rows.drain(rows.len().saturating_sub(most)..).rev()
}

/// Inserts rows that may exist already.
struct InsertIfAbsent<'a> {
    insert: CachedStatement<'a>,
    /// Finds the same row.
    find: &'static str,
}

impl InsertIfAbsent<'_> {
    /// Fails where a different row has the key.
    fn run(&mut self, db: &Connection, row: impl Params + Clone) -> Result<()> {
        if self.insert.execute(row.clone())? == 1 || db.prepare_cached(self.find)?.exists(row)? {
            return Ok(());
        }
        Err(Error::StatementChangedRows(0))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::schema, *};

    /// A tail, and a connection to a file that other processes write too.
    struct Process {
        db: Connection,
        tail: UnindexedTail,
    }

    impl Process {
        fn open(path: &std::path::Path) -> Self {
            let mut db = Connection::open(path).unwrap();
            schema::prepare(&db).unwrap();
            schema::migrate(&mut db).unwrap();
            Self { db, tail: UnindexedTail::default() }
        }

        /// Stores a message of a conversation.
        fn store(&mut self, id: i64, conversation: i64, seq: i64) {
            let request = id.to_string();
            let insert = "INSERT INTO message VALUES (?1, ?2, ?3, 'a', 1, '', '', ?1, ?4, '')";
            self.db.execute(insert, params![id, conversation, seq, request]).unwrap();
            self.tail.push(id, conversation, seq, request);
        }

        /// Seals the tail, and indexes `messages` messages of it.
        fn index(&mut self, messages: usize) {
            self.tail.catch_up(&self.db).unwrap();
            self.tail.seal(1);
            self.tail.index_some(&self.db, messages).unwrap();
        }
    }

    #[test]
    fn the_last_sequence_of_a_conversation_never_falls_when_two_processes_index_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imago.db");
        let (mut one, mut other) = (Process::open(&path), Process::open(&path));
        for row in 1..=2 {
            let insert = "INSERT INTO conversation (id, app, a, b) VALUES (?1, 'x', 'a', ?1)";
            one.db.execute(insert, [row]).unwrap();
        }
        one.store(1, 1, 1);
        one.store(2, 2, 1);
        // The run of this process ends here.
        one.index(0);
        one.store(3, 1, 2);
        one.store(4, 2, 2);
        // The other process writes the last sequence of a conversation before this one does.
        other.index(1);
        one.index(1);
        other.index(usize::MAX);
        one.tail.catch_up(&one.db).unwrap();
        for process in [&one, &other, &Process::open(&path)] {
            for row in 1..=2 {
                let head = process.tail.head(&process.db, row).unwrap().unwrap();
                assert_eq!((head.seq, head.id), (2, 2 + row));
            }
        }
    }
}
