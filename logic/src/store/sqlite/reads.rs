//! Listings, syncs and contents, each in one snapshot of the database.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use imago_proto::{Account, App, ConversationId, Seq};
use rusqlite::{Connection, OptionalExtension, Result, Row, Statement, params};

use super::{
    super::{
        Content, Device, Envelope, Given, INDEX_MAX, Listing, Page, Stored, Target,
        ids::{Kind, conversation_id, conversation_row, seq, signed},
    },
    commit::Head,
    devices,
};

/// Messages read at a time from one conversation: the first time, and later.
const FIRST_CHUNK: usize = 16;
const CHUNK: usize = 256;

pub(super) fn index(db: &Connection, device: &Device, page: Page) -> Result<Listing> {
    let memberships = memberships(db, device)?;
    let mut spans: Vec<Span<'_>> = memberships.iter().map(Span::of).collect();
    if page == Page::Everything {
        spans.iter_mut().zip(&memberships).for_each(|(span, of)| span.after = of.since);
    }
    let mut last = vec![None; spans.len()];
    let mut messages = Vec::new();
    let except = Except::Of(&device.account);
    for (position, message) in merge(db, except, |_| true, &spans, INDEX_MAX)? {
        if let Some(last) = last.get_mut(position) {
            *last = Some(message.seq);
        }
        messages.push(message);
    }
    let given = spans.iter().zip(last).filter_map(|(span, last)| {
        let conversation = conversation_id(span.of.kind, span.of.id);
        Some(Given { conversation, from: seq(span.after + 1), to: last? })
    });
    Ok(Listing { given: given.collect(), messages })
}

pub(super) fn sync(
    db: &Connection,
    device: &Device,
    cursors: &[(ConversationId, Seq)],
    limit: usize,
) -> Result<Vec<Stored>> {
    let known: HashMap<(Kind, i64), i64> = cursors
        .iter()
        .filter_map(|(id, seq)| Some((conversation_row(id.as_str())?, signed(*seq))))
        .collect();
    let memberships = memberships(db, device)?;
    let mut spans: Vec<Span<'_>> = memberships.iter().map(Span::of).collect();
    for (span, membership) in spans.iter_mut().zip(&memberships) {
        if let Some(seq) = known.get(&(span.of.kind, span.of.id)) {
            span.after = membership.since.max(*seq);
        }
    }
    let found = merge(db, Except::Nothing, |_| true, &spans, limit)?;
    with_contents(db, found.into_iter().map(|(_, message)| message))
}

pub(super) fn with_contents(
    db: &Connection,
    envelopes: impl IntoIterator<Item = Envelope>,
) -> Result<Vec<Stored>> {
    let mut select =
        db.prepare_cached("SELECT kind, body, extra FROM message WHERE message_id = ?1")?;
    let stored = envelopes.into_iter().map(|envelope| {
        let content = select.query_row([envelope.message_id], |row| content(row, 0))?;
        Ok(Stored { envelope, content })
    });
    stored.collect()
}

pub(super) fn contents(
    db: &Connection,
    app: &App,
    account: &Account,
    ids: &[i64],
) -> Result<Vec<Option<Stored>>> {
    let mut select = db.prepare_cached(
        "SELECT m.message_id, m.send_time, m.seq, m.sender, m.kind, m.body, m.extra,
                c.id, c.a = '', CASE c.a WHEN ?3 THEN c.b ELSE c.a END
         FROM message m JOIN conversation c ON c.id = m.conversation
         WHERE m.message_id = ?1 AND EXISTS (
             SELECT 1 FROM member k
             WHERE k.app = ?2 AND k.account = ?3 AND k.conversation = m.conversation
               AND m.seq > k.since AND m.seq <= COALESCE(k.until, m.seq))",
    )?;
    ids.iter()
        .map(|id| {
            let found = params![id, app.as_str(), account.as_str()];
            select.query_row(found, |row| stored(&conversation(row, 7)?, row)).optional()
        })
        .collect()
}

fn content(row: &Row<'_>, first: usize) -> Result<Content> {
    Ok(Content { kind: row.get(first)?, body: row.get(first + 1)?, extra: row.get(first + 2)? })
}

/// Reads from a row: message id, send time, sequence, sender, kind, body, extra.
pub(super) fn stored(of: &Conversation, row: &Row<'_>) -> Result<Stored> {
    Ok(Stored { envelope: envelope(of, row)?, content: content(row, 4)? })
}

/// Reads from a row: message id, send time, sequence, sender.
fn envelope(of: &Conversation, row: &Row<'_>) -> Result<Envelope> {
    Ok(Envelope {
        message_id: row.get(0)?,
        send_time: row.get(1)?,
        conversation: conversation_id(of.kind, of.id),
        seq: seq(row.get(2)?),
        sender: Account::from(row.get::<_, String>(3)?),
        other: of.other.clone(),
    })
}

/// A conversation as one of its members sees it.
pub(super) struct Conversation {
    pub(super) id: i64,
    pub(super) kind: Kind,
    /// The other side.
    pub(super) other: Target,
}

/// Reads from columns of a row: the conversation's row, whether its `a` is empty, the other account.
fn conversation(row: &Row<'_>, first: usize) -> Result<Conversation> {
    let (id, kind) = (row.get(first)?, Kind::of(row.get(first + 1)?));
    let other = match kind.group(id) {
        Some(group) => Target::Group(group),
        None => Target::Account(Account::from(row.get::<_, String>(first + 2)?)),
    };
    Ok(Conversation { id, kind, other })
}

/// A period in which an account is a member. An account that has left a group and come back has several.
pub(super) struct Membership {
    pub(super) conversation: Conversation,
    /// The account sees sequences past this one.
    pub(super) since: i64,
    /// The last acknowledged sequence, never before `since`.
    pub(super) cursor: i64,
    /// The last sequence that the account sees.
    pub(super) head: i64,
    /// The account has left.
    pub(super) has_ended: bool,
    /// The last indexed message of the conversation.
    pub(super) last: Head,
}

/// Selects for [`membership`], with this cursor, the account ?2 of app ?1.
macro_rules! memberships_where {
    ($cursor:literal, $join:literal, $rest:literal) => {
        concat!(
            "SELECT c.id, c.a = '', CASE c.a WHEN k.account THEN c.b ELSE c.a END,
                    k.since, k.until, ",
            $cursor,
            ", c.last_seq, c.last_id
             FROM member k JOIN conversation c ON c.id = k.conversation ",
            $join,
            " WHERE k.app = ?1 AND k.account = ?2 ",
            $rest
        )
    };
    ($rest:literal) => {
        memberships_where!("k.cursor", "", $rest)
    };
}
pub(super) use memberships_where;

pub(super) fn membership(row: &Row<'_>) -> Result<Membership> {
    let (since, until): (i64, Option<i64>) = (row.get(3)?, row.get(4)?);
    let last = Head { seq: row.get(6)?, id: row.get(7)? };
    Ok(Membership {
        conversation: conversation(row, 0)?,
        since,
        cursor: since.max(row.get(5)?),
        head: until.unwrap_or(last.seq),
        has_ended: until.is_some(),
        last,
    })
}

/// Returns all memberships of a device's account, with the device's cursors. An unknown device has the read
/// marks.
pub(super) fn memberships(db: &Connection, device: &Device) -> Result<Vec<Membership>> {
    let (app, account) = (device.app.as_str(), device.account.as_str());
    match devices::find(db, device)? {
        Some(id) => db
            .prepare_cached(memberships_where!(
                "COALESCE(d.cursor, k.since)",
                "LEFT JOIN device_cursor d
                     ON d.device = ?3 AND d.conversation = k.conversation AND d.since = k.since",
                ""
            ))?
            .query_map(params![app, account, id], membership)?
            .collect(),
        None => db
            .prepare_cached(memberships_where!(""))?
            .query_map([app, account], membership)?
            .collect(),
    }
}

/// Returns the sequence in `low..=high` that separates ids up to `id` from greater ones; `high` where no
/// greater one is indexed. Ids and sequences of a conversation rise together, so a binary search finds it.
pub(super) fn last_until(
    db: &Connection,
    conversation: i64,
    mut low: i64,
    high: i64,
    id: i64,
) -> Result<i64> {
    // The last messages may not be indexed.
    let newest: Option<(i64, i64)> = db
        .prepare_cached(
            "SELECT seq, message_id FROM place WHERE conversation = ?1 AND seq > ?2 AND seq <= ?3
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([conversation, low, high], |row| row.try_into())
        .optional()?;
    let Some((mut past, _)) = newest.filter(|(_, newest)| *newest > id) else {
        return Ok(low.max(high));
    };
    let mut select =
        db.prepare_cached("SELECT message_id FROM place WHERE conversation = ?1 AND seq = ?2")?;
    while past - low > 1 {
        let middle = low + (past - low) / 2;
        let found: Option<i64> =
            select.query_row([conversation, middle], |row| row.get(0)).optional()?;
        // A missing message was pruned, so it is older than all others.
        if found.is_some_and(|found| found > id) {
            past = middle;
        } else {
            low = middle;
        }
    }
    Ok(low)
}

/// The sequences of a conversation past `after`, up to `to`.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) of: &'a Conversation,
    pub(super) after: i64,
    pub(super) to: i64,
}

impl<'a> Span<'a> {
    /// Creates the span of the messages that are not acknowledged.
    pub(super) fn of(membership: &'a Membership) -> Self {
        let Membership { conversation, cursor, head, .. } = membership;
        Self { of: conversation, after: *cursor, to: *head }
    }
}

/// Messages that a read leaves out.
#[derive(Clone, Copy)]
pub(super) enum Except<'a> {
    /// None.
    Nothing,
    /// Those that this account sent.
    Of(&'a Account),
    /// Those that this device sent.
    OfDevice(&'a Device),
}

impl<'a> Except<'a> {
    /// Returns the sender, and the device if only its messages are left out.
    fn parts(self) -> (Option<&'a str>, Option<&'a str>) {
        match self {
            Self::Nothing => (None, None),
            Self::Of(account) => (Some(account.as_str()), None),
            Self::OfDevice(device) => (Some(device.account.as_str()), Some(&device.name)),
        }
    }
}

/// The messages of a span that are not merged yet.
struct Source<'a> {
    span: Span<'a>,
    /// The position of the span among all spans.
    position: usize,
    chunk: usize,
    read: VecDeque<Envelope>,
}

impl Source<'_> {
    /// Returns the id of its next message.
    fn peek(&mut self, select: &mut Statement<'_>, except: Except<'_>) -> Result<Option<i64>> {
        if self.read.is_empty() && self.chunk > 0 {
            let Span { of, after, to } = self.span;
            let (sender, device) = except.parts();
            let from = params![of.id, after, to, sender, self.chunk as i64, device];
            let rows = select.query_map(from, |row| envelope(of, row))?;
            self.read = rows.collect::<Result<_>>()?;
            if let Some(last) = self.read.back() {
                self.span.after = signed(last.seq);
            }
            self.chunk = if self.read.len() < self.chunk { 0 } else { CHUNK };
        }
        Ok(self.read.front().map(|next| next.message_id))
    }
}

/// Merges the wanted messages of all spans, ascending by id, up to `limit`. Each comes with the position of
/// its span.
pub(super) fn merge(
    db: &Connection,
    except: Except<'_>,
    is_wanted: impl Fn(&Envelope) -> bool,
    spans: &[Span<'_>],
    limit: usize,
) -> Result<Vec<(usize, Envelope)>> {
    let mut select = db.prepare_cached(
        "SELECT m.message_id, m.send_time, p.seq, m.sender
         FROM place p CROSS JOIN message m ON m.message_id = p.message_id
         WHERE p.conversation = ?1 AND p.seq > ?2 AND p.seq <= ?3
           AND NOT (m.sender IS ?4 AND (?6 IS NULL OR m.device = ?6))
         ORDER BY p.seq LIMIT ?5",
    )?;
    let mut sources = Vec::new();
    let mut next = BinaryHeap::new();
    for (position, span) in spans.iter().enumerate().filter(|(_, span)| span.after < span.to) {
        let chunk = FIRST_CHUNK.min(limit);
        let mut source = Source { span: *span, position, chunk, read: VecDeque::new() };
        if let Some(id) = source.peek(&mut select, except)? {
            next.push(Reverse((id, sources.len())));
            sources.push(source);
        }
    }
    let mut merged = Vec::new();
    while merged.len() < limit {
        let Some(Reverse((_, number))) = next.pop() else { break };
        let source = &mut sources[number];
        let message = source.read.pop_front().filter(&is_wanted);
        merged.extend(message.map(|message| (source.position, message)));
        if let Some(id) = source.peek(&mut select, except)? {
            next.push(Reverse((id, number)));
        }
    }
    Ok(merged)
}
