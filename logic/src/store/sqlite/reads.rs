//! The reads, each in one snapshot of the database.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use imago_proto::{Account, App, ConversationId, Seq};
use rusqlite::{Connection, OptionalExtension, Result, Row, Statement, params};

use super::super::{Content, Envelope, INDEX_MAX, Page, Stored};

/// Messages read at a time from one conversation: the first time, and then.
const FIRST_CHUNK: usize = 16;
const CHUNK: usize = 256;

/// A conversation as clients name it.
pub(super) fn conversation_id(row: i64) -> ConversationId {
    ConversationId::from(format!("d{row}"))
}

/// The row that a client's name of a conversation stands for.
pub(super) fn conversation_row(id: &ConversationId) -> Option<i64> {
    id.as_str().strip_prefix('d')?.parse().ok()
}

pub(super) fn index(
    db: &Connection,
    app: &App,
    account: &Account,
    page: Page,
) -> Result<Vec<Envelope>> {
    let mut starts = conversations(db, app, account)?;
    match page {
        Page::Unread => {}
        Page::Everything => starts.iter_mut().for_each(|start| start.cursor = 0),
        Page::After(id) => {
            for start in &mut starts {
                start.cursor = last_until(db, start.id, 0, start.head, id)?;
            }
        }
    }
    merge(db, account, &starts, INDEX_MAX)
}

pub(super) fn unread(
    db: &Connection,
    app: &App,
    account: &Account,
    past: i64,
    limit: usize,
) -> Result<Vec<Stored>> {
    let mut starts = conversations(db, app, account)?;
    for start in &mut starts {
        start.cursor = last_until(db, start.id, start.cursor, start.head, past)?;
    }
    let mut select =
        db.prepare_cached("SELECT kind, body, extra FROM message WHERE message_id = ?1")?;
    let envelopes = merge(db, account, &starts, limit)?.into_iter();
    let stored = envelopes.map(|envelope| {
        let content = select.query_row([envelope.message_id], content)?;
        Ok(Stored { envelope, content })
    });
    stored.collect()
}

pub(super) fn contents(
    db: &Connection,
    app: &App,
    account: &Account,
    ids: &[i64],
) -> Result<Vec<Option<Content>>> {
    let mut select = db.prepare_cached(
        "SELECT m.kind, m.body, m.extra
         FROM message m JOIN member k ON k.conversation = m.conversation
         WHERE m.message_id = ?1 AND k.app = ?2 AND k.account = ?3",
    )?;
    ids.iter()
        .map(|id| select.query_row(params![id, app.as_str(), account.as_str()], content).optional())
        .collect()
}

fn content(row: &Row<'_>) -> Result<Content> {
    Ok(Content { kind: row.get(0)?, body: row.get(1)?, extra: row.get(2)? })
}

/// A conversation with messages past a member's cursor.
pub(super) struct Conversation {
    pub(super) id: i64,
    pub(super) cursor: i64,
    pub(super) head: i64,
}

/// All conversations of an account.
pub(super) fn conversations(
    db: &Connection,
    app: &App,
    account: &Account,
) -> Result<Vec<Conversation>> {
    db.prepare_cached(
        "SELECT c.id, k.cursor, c.head_seq
         FROM member k JOIN conversation c ON c.id = k.conversation
         WHERE k.app = ?1 AND k.account = ?2",
    )?
    .query_map(params![app.as_str(), account.as_str()], |row| {
        Ok(Conversation { id: row.get(0)?, cursor: row.get(1)?, head: row.get(2)? })
    })?
    .collect()
}

/// The greatest sequence in `low..=high` whose message id is at most `id`; `low` where there is
/// none. Ids and sequences of a conversation rise together, without gaps, so halving finds it.
pub(super) fn last_until(
    db: &Connection,
    conversation: i64,
    mut low: i64,
    high: i64,
    id: i64,
) -> Result<i64> {
    let mut select =
        db.prepare_cached("SELECT message_id FROM message WHERE conversation = ?1 AND seq = ?2")?;
    // What has been pruned is older than everything else.
    let mut is_past = |seq: i64| -> Result<bool> {
        let found = select.query_row([conversation, seq], |row| row.get::<_, i64>(0)).optional()?;
        Ok(found.is_some_and(|found| found > id))
    };
    if low >= high || !is_past(high)? {
        return Ok(low.max(high));
    }
    let mut past = high;
    while past - low > 1 {
        let middle = low + (past - low) / 2;
        if is_past(middle)? {
            past = middle;
        } else {
            low = middle;
        }
    }
    Ok(low)
}

/// What is still to come of one conversation.
struct Tail {
    conversation: i64,
    after: i64,
    chunk: usize,
    read: VecDeque<Envelope>,
}

impl Tail {
    /// Id of its next message from others.
    fn peek(&mut self, select: &mut Statement<'_>, account: &Account) -> Result<Option<i64>> {
        if self.read.is_empty() && self.chunk > 0 {
            let from = params![self.conversation, self.after, account.as_str(), self.chunk as i64];
            self.read = select.query_map(from, envelope)?.collect::<Result<_>>()?;
            if let Some(last) = self.read.back() {
                self.after = signed(last.seq);
            }
            self.chunk = if self.read.len() < self.chunk { 0 } else { CHUNK };
        }
        Ok(self.read.front().map(|next| next.message_id))
    }
}

/// The first messages from others past each cursor, over all conversations, ascending by id.
fn merge(
    db: &Connection,
    account: &Account,
    starts: &[Conversation],
    limit: usize,
) -> Result<Vec<Envelope>> {
    let mut select = db.prepare_cached(
        "SELECT message_id, send_time, conversation, seq, sender FROM message
         WHERE conversation = ?1 AND seq > ?2 AND sender <> ?3 ORDER BY seq LIMIT ?4",
    )?;
    let mut tails = Vec::new();
    let mut next = BinaryHeap::new();
    for start in starts.iter().filter(|start| start.cursor < start.head) {
        let (conversation, after) = (start.id, start.cursor);
        let read = VecDeque::new();
        let mut tail = Tail { conversation, after, chunk: FIRST_CHUNK.min(limit), read };
        if let Some(id) = tail.peek(&mut select, account)? {
            next.push(Reverse((id, tails.len())));
            tails.push(tail);
        }
    }
    let mut merged = Vec::new();
    while merged.len() < limit {
        let Some(Reverse((_, position))) = next.pop() else { break };
        let tail = &mut tails[position];
        merged.extend(tail.read.pop_front());
        if let Some(id) = tail.peek(&mut select, account)? {
            next.push(Reverse((id, position)));
        }
    }
    Ok(merged)
}

fn envelope(row: &Row<'_>) -> Result<Envelope> {
    Ok(Envelope {
        message_id: row.get(0)?,
        send_time: row.get(1)?,
        conversation: conversation_id(row.get(2)?),
        seq: Seq(row.get::<_, i64>(3)?.unsigned_abs()),
        sender: Account::from(row.get::<_, String>(4)?),
    })
}

fn signed(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
