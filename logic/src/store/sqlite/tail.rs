//! Messages that are stored and not yet found by conversation or request: the end of `message`.
//!
//! A message is appended to `message`, where those of a moment are neighbours. Its place, by conversation
//! and sequence, would change a page of its own, and so would the key of its request, where many wait for
//! their turn; so both, and last sequences, are written for many messages at once. All of it is in the
//! file: whoever opens it, or writes after another process, reads what is past `placed.until`.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::{Connection, OptionalExtension, Result};

/// Messages without a place before they get one, with their keys, give or take a batch.
pub(super) const TAIL_MAX: usize = 2048;

/// What the writer remembers of the tail.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The last message that has its place.
    until: i64,
    /// The last message of all.
    last_id: i64,
    /// Messages by the keys of their requests.
    requests: HashMap<String, i64, RandomState>,
    /// The last sequences of conversations that have messages here.
    heads: HashMap<i64, i64, RandomState>,
}

impl Tail {
    /// Reads what others have written, within a transaction.
    pub(super) fn catch_up(&mut self, db: &Connection) -> Result<()> {
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
    pub(super) fn push(&mut self, id: i64, conversation: i64, seq: i64, request: String) {
        self.last_id = id;
        self.requests.insert(request, id);
        self.heads.insert(conversation, seq);
    }

    /// The message of a request with this key, if there is one.
    pub(super) fn message_of(&self, db: &Connection, request: &str) -> Result<Option<i64>> {
        if let Some(id) = self.requests.get(request) {
            return Ok(Some(*id));
        }
        db.prepare_cached("SELECT message_id FROM message_request WHERE request = ?1")?
            .query_row([request], |row| row.get(0))
            .optional()
    }

    /// The last sequence of a conversation; none where there is no such conversation.
    pub(super) fn head(&self, db: &Connection, conversation: i64) -> Result<Option<i64>> {
        if let Some(head) = self.heads.get(&conversation) {
            return Ok(Some(*head));
        }
        db.prepare_cached("SELECT placed_seq FROM conversation WHERE id = ?1")?
            .query_row([conversation], |row| row.get(0))
            .optional()
    }

    /// The last message id.
    pub(super) fn last_id(&self) -> i64 {
        self.last_id
    }

    pub(super) fn is_long(&self) -> bool {
        self.requests.len() >= TAIL_MAX
    }

    /// Gives all messages their places, and their keys to the index. `OR FAIL` keeps SQLite from noting
    /// how to undo the statement alone: where it fails, the transaction is given up.
    pub(super) fn settle(&mut self, db: &Connection) -> Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        db.prepare_cached(
            "INSERT OR FAIL INTO place (conversation, seq, message_id)
             SELECT conversation, seq, message_id FROM message WHERE message_id > ?1
             ORDER BY conversation, seq",
        )?
        .execute([self.until])?;
        db.prepare_cached(
            "INSERT OR FAIL INTO message_request (request, message_id)
             SELECT request, message_id FROM message WHERE message_id > ?1 ORDER BY request",
        )?
        .execute([self.until])?;
        let mut heads: Vec<(i64, i64)> = self.heads.drain().collect();
        heads.sort_unstable();
        let mut update =
            db.prepare_cached("UPDATE conversation SET placed_seq = ?2 WHERE id = ?1")?;
        for (conversation, head) in heads {
            update.execute([conversation, head])?;
        }
        db.prepare_cached("UPDATE placed SET until = ?1")?.execute([self.last_id])?;
        self.until = self.last_id;
        self.requests.clear();
        Ok(())
    }
}

fn placed_until(db: &Connection) -> Result<i64> {
    db.prepare_cached("SELECT until FROM placed")?.query_row([], |row| row.get(0))
}

/// Whether a snapshot has no tail.
pub(super) fn is_settled(db: &Connection) -> Result<bool> {
    db.prepare_cached(
        "SELECT until >= COALESCE((SELECT MAX(message_id) FROM message), 0) FROM placed",
    )?
    .query_row([], |row| row.get(0))
}
