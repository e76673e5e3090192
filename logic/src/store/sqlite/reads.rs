//! The reads, each in one snapshot of the database.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use imago_proto::{Account, App, ConversationId, Seq};
use rusqlite::{Connection, OptionalExtension, Result, Row, Statement, params};

use super::super::{
    Content, Envelope, INDEX_MAX, Page, Stored, Target,
    ids::{Kind, conversation_id, conversation_row, seq, signed},
};

/// Messages read at a time from one conversation: the first time, and then.
const FIRST_CHUNK: usize = 16;
const CHUNK: usize = 256;

pub(super) fn index(
    db: &Connection,
    app: &App,
    account: &Account,
    page: Page,
) -> Result<Vec<Envelope>> {
    let mut starts = conversations(db, app, account)?;
    match page {
        Page::Unacknowledged => {}
        Page::Everything => starts.iter_mut().for_each(|start| start.cursor = start.since),
    }
    merge(db, Some(account), &starts, INDEX_MAX)
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
    with_contents(db, merge(db, Some(account), &starts, limit)?)
}

pub(super) fn sync(
    db: &Connection,
    app: &App,
    account: &Account,
    cursors: &[(ConversationId, Seq)],
    limit: usize,
) -> Result<Vec<Stored>> {
    let known: HashMap<(Kind, i64), i64> = cursors
        .iter()
        .filter_map(|(id, seq)| Some((conversation_row(id.as_str())?, signed(*seq))))
        .collect();
    let mut starts = conversations(db, app, account)?;
    for start in &mut starts {
        if let Some(seq) = known.get(&(start.kind, start.id)) {
            start.cursor = start.since.max(*seq);
        }
    }
    with_contents(db, merge(db, None, &starts, limit)?)
}

fn with_contents(db: &Connection, envelopes: Vec<Envelope>) -> Result<Vec<Stored>> {
    let mut select =
        db.prepare_cached("SELECT kind, body, extra FROM message WHERE message_id = ?1")?;
    let stored = envelopes.into_iter().map(|envelope| {
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
         WHERE m.message_id = ?1 AND k.app = ?2 AND k.account = ?3
           AND m.seq > k.since AND m.seq <= COALESCE(k.until, m.seq)",
    )?;
    ids.iter()
        .map(|id| select.query_row(params![id, app.as_str(), account.as_str()], content).optional())
        .collect()
}

fn content(row: &Row<'_>) -> Result<Content> {
    Ok(Content { kind: row.get(0)?, body: row.get(1)?, extra: row.get(2)? })
}

/// A conversation as one of its members sees it. Whoever left a group and came back has several of
/// the same id, one for each time.
pub(super) struct Conversation {
    pub(super) id: i64,
    pub(super) kind: Kind,
    /// The member sees what comes after this.
    pub(super) since: i64,
    /// What it has acknowledged, never before `since`.
    pub(super) cursor: i64,
    /// The last that it sees.
    pub(super) head: i64,
    /// The other side.
    pub(super) other: Target,
}

/// What [`conversation`] reads, for the member of app ?1 and account ?2.
macro_rules! conversations_where {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.a = '', k.since, MAX(MIN(k.cursor, c.placed_seq), k.since),
                    COALESCE(k.until, c.placed_seq),
                    CASE c.a WHEN k.account THEN c.b ELSE c.a END
             FROM member k JOIN conversation c ON c.id = k.conversation
             WHERE k.app = ?1 AND k.account = ?2",
            $rest
        )
    };
}
pub(super) use conversations_where;

pub(super) fn conversation(row: &Row<'_>) -> Result<Conversation> {
    let (id, kind) = (row.get(0)?, Kind::of(row.get(1)?));
    let other = match kind.group(id) {
        Some(group) => Target::Group(group),
        None => Target::Account(Account::from(row.get::<_, String>(5)?)),
    };
    Ok(Conversation { id, kind, since: row.get(2)?, cursor: row.get(3)?, head: row.get(4)?, other })
}

/// All conversations of an account.
pub(super) fn conversations(
    db: &Connection,
    app: &App,
    account: &Account,
) -> Result<Vec<Conversation>> {
    db.prepare_cached(conversations_where!(""))?
        .query_map(params![app.as_str(), account.as_str()], conversation)?
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
        db.prepare_cached("SELECT message_id FROM place WHERE conversation = ?1 AND seq = ?2")?;
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
struct Tail<'a> {
    of: &'a Conversation,
    after: i64,
    chunk: usize,
    read: VecDeque<Envelope>,
}

impl Tail<'_> {
    /// Id of its next message.
    fn peek(&mut self, select: &mut Statement<'_>, but: Option<&str>) -> Result<Option<i64>> {
        if self.read.is_empty() && self.chunk > 0 {
            let from = params![self.of.id, self.after, self.of.head, but, self.chunk as i64];
            let rows = select.query_map(from, |row| envelope(self.of, row))?;
            self.read = rows.collect::<Result<_>>()?;
            if let Some(last) = self.read.back() {
                self.after = signed(last.seq);
            }
            self.chunk = if self.read.len() < self.chunk { 0 } else { CHUNK };
        }
        Ok(self.read.front().map(|next| next.message_id))
    }
}

/// The first messages past each cursor, over all conversations, ascending by id; without those
/// that `but` sent.
fn merge(
    db: &Connection,
    but: Option<&Account>,
    starts: &[Conversation],
    limit: usize,
) -> Result<Vec<Envelope>> {
    let mut select = db.prepare_cached(
        "SELECT m.message_id, m.send_time, m.seq, m.sender
         FROM place p CROSS JOIN message m ON m.message_id = p.message_id
         WHERE p.conversation = ?1 AND p.seq > ?2 AND p.seq <= ?3 AND m.sender IS NOT ?4
         ORDER BY p.seq LIMIT ?5",
    )?;
    let but = but.map(Account::as_str);
    let mut tails = Vec::new();
    let mut next = BinaryHeap::new();
    for start in starts.iter().filter(|start| start.cursor < start.head) {
        let chunk = FIRST_CHUNK.min(limit);
        let mut tail = Tail { of: start, after: start.cursor, chunk, read: VecDeque::new() };
        if let Some(id) = tail.peek(&mut select, but)? {
            next.push(Reverse((id, tails.len())));
            tails.push(tail);
        }
    }
    let mut merged = Vec::new();
    while merged.len() < limit {
        let Some(Reverse((_, position))) = next.pop() else { break };
        let tail = &mut tails[position];
        merged.extend(tail.read.pop_front());
        if let Some(id) = tail.peek(&mut select, but)? {
            next.push(Reverse((id, position)));
        }
    }
    Ok(merged)
}

/// Reads a row: message id, send time, sequence, sender.
pub(super) fn envelope(of: &Conversation, row: &Row<'_>) -> Result<Envelope> {
    Ok(Envelope {
        message_id: row.get(0)?,
        send_time: row.get(1)?,
        conversation: conversation_id(of.kind, of.id),
        seq: seq(row.get(2)?),
        sender: Account::from(row.get::<_, String>(3)?),
        other: of.other.clone(),
    })
}
