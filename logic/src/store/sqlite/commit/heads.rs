//! The last messages of conversations in the unindexed tail, as a reading thread knows them.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::{Connection, Result};

/// The last message of a conversation; zeros where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    pub(crate) seq: i64,
    /// 0 for a message that was removed before ids were kept.
    pub(crate) id: i64,
}

/// Returns the id up to which all messages are indexed.
pub(crate) fn indexed_until(db: &Connection) -> Result<i64> {
    db.prepare_cached("SELECT until FROM placed")?.query_row([], |row| row.get(0))
}

/// Returns whether a snapshot has no unindexed tail.
pub(crate) fn is_indexed(db: &Connection) -> Result<bool> {
    db.prepare_cached(
        "SELECT until >= COALESCE((SELECT MAX(message_id) FROM message), 0) FROM placed",
    )?
    .query_row([], |row| row.get(0))
}

/// The heads of the conversations that have messages in the tail. Each message is read once.
#[derive(Debug, Default)]
pub(crate) struct UnindexedHeads {
    /// See [`indexed_until`].
    until: i64,
    /// The last message that was read.
    last_id: i64,
    heads: HashMap<i64, Head, RandomState>,
}

impl UnindexedHeads {
    /// Creates the heads of a snapshot whose tail is ignored.
    pub(crate) fn ignored(db: &Connection) -> Result<Self> {
        Ok(Self::none(indexed_until(db)?))
    }

    /// Creates the heads of a snapshot that ends at `last_id` and has no tail.
    pub(crate) fn none(last_id: i64) -> Self {
        Self { until: last_id, last_id, heads: HashMap::default() }
    }

    /// Reads what was written since the last call. Callers pass snapshots in the order of their age.
    pub(crate) fn catch_up(&mut self, db: &Connection) -> Result<()> {
        let until = indexed_until(db)?;
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

    /// Returns the last message id of the snapshot.
    pub(crate) fn last_id(&self) -> i64 {
        self.last_id
    }

    /// Returns the last message of a conversation, if it is in the tail.
    pub(crate) fn head(&self, conversation: i64) -> Option<Head> {
        self.heads.get(&conversation).copied()
    }
}
