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
pub(super) const TAIL_MAX: usize = 2048;

/// Messages that come while [`TAIL_MAX`] get their places. Fewer than those, so that the tail does not grow.
const SHARES: usize = TAIL_MAX / 8 * 7;

/// Messages that come before as many get their places: the fewer, the fewer neighbours among them.
pub(super) const SHARE_MIN: usize = 512;

/// What the writer remembers of the tail.
#[derive(Debug, Default)]
pub(super) struct Tail {
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

/// Messages that wait.
#[derive(Debug, Default)]
struct Recent {
    /// Message ids by the keys of their requests.
    requests: HashMap<String, i64, RandomState>,
    /// The last sequences of conversations.
    heads: HashMap<i64, i64, RandomState>,
    /// Conversation, sequence and message id.
    places: Vec<(i64, i64, i64)>,
}

/// What is not yet written of messages whose turn it is. Each list is in the order of its table, last
/// first: neighbours share pages.
#[derive(Debug)]
struct Settling {
    requests: Vec<(String, i64)>,
    heads: Vec<(i64, i64)>,
    places: Vec<(i64, i64, i64)>,
    /// How many messages these were.
    messages: usize,
    /// The last one of them.
    until: i64,
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
        self.came += 1;
        self.recent.requests.insert(request, id);
        self.recent.heads.insert(conversation, seq);
        self.recent.places.push((conversation, seq, id));
    }

    /// The message of a request with this key, if it is one of these.
    pub(super) fn message_of(&self, request: &str) -> Option<i64> {
        let settling = || self.settling.as_ref()?.message_of(request);
        self.recent.requests.get(request).copied().or_else(settling)
    }

    /// The last sequence of a conversation; none where there is no such conversation.
    pub(super) fn head(&self, db: &Connection, conversation: i64) -> Result<Option<i64>> {
        if let Some(head) = self.recent.heads.get(&conversation) {
            return Ok(Some(*head));
        }
        if let Some(head) = self.settling.as_ref().and_then(|settling| settling.head(conversation))
        {
            return Ok(Some(head));
        }
        db.prepare_cached("SELECT placed_seq FROM conversation WHERE id = ?1")?
            .query_row([conversation], |row| row.get(0))
            .optional()
    }

    /// The last message id.
    pub(super) fn last_id(&self) -> i64 {
        self.last_id
    }

    /// Gives all messages their places, and their keys to the index.
    pub(super) fn settle(&mut self, db: &Connection) -> Result<()> {
        self.settle_some(db, usize::MAX)?;
        self.begin_settling(1);
        self.settle_some(db, usize::MAX)
    }

    /// Gives messages of a long tail their places, somewhat more of them than have come.
    pub(super) fn settle_share(&mut self, db: &Connection) -> Result<()> {
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

    fn head(&self, conversation: i64) -> Option<i64> {
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
        let mut head =
            db.prepare_cached("UPDATE conversation SET placed_seq = ?2 WHERE id = ?1")?;
        for (conversation, seq) in first(&mut self.heads, messages) {
            head.execute([conversation, seq])?;
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
