//! Conversations as people look at them.

use imago_proto::{Account, App, Seq};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{
    super::{Activity, Content, History, Overview, Place, Range, Stored, UNREAD_MAX},
    reads::{
        Conversation, Kind, conversation, conversation_id, conversation_row, conversations_where,
        envelope, group_row, signed,
    },
};

/// What [`stored`] reads, of conversation ?1, past sequence ?2, up to ?3.
macro_rules! messages_between {
    ($rest:literal) => {
        concat!(
            "SELECT message_id, send_time, seq, sender, kind, body, extra FROM message
             WHERE conversation = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq ",
            $rest
        )
    };
}

fn stored(of: &Conversation, row: &Row<'_>) -> Result<Stored> {
    let content = Content { kind: row.get(4)?, body: row.get(5)?, extra: row.get(6)? };
    Ok(Stored { envelope: envelope(of, row)?, content })
}

/// The row that a place stands for, whoever may see it.
fn row_of(db: &Connection, app: &App, account: &Account, place: &Place) -> Result<Option<i64>> {
    match place {
        Place::Conversation(id) => Ok(conversation_row(id.as_str()).map(|(_, row)| row)),
        Place::Group(group) => Ok(group_row(group)),
        Place::With(other) => {
            let (a, b) = if account <= other { (account, other) } else { (other, account) };
            db.prepare_cached("SELECT id FROM conversation WHERE app = ?1 AND a = ?2 AND b = ?3")?
                .query_row(params![app.as_str(), a.as_str(), b.as_str()], |row| row.get(0))
                .optional()
        }
    }
}

pub(super) fn history(
    db: &Connection,
    app: &App,
    account: &Account,
    place: &Place,
    range: Range,
    limit: usize,
) -> Result<Option<History>> {
    let Some(row) = row_of(db, app, account, place)? else { return Ok(None) };
    let found = db
        .prepare_cached(conversations_where!(" AND k.conversation = ?3"))?
        .query_row(params![app.as_str(), account.as_str(), row], conversation)
        .optional()?;
    // The letter of an id tells nothing of the row.
    let is_meant = |of: &Conversation| match place {
        Place::Conversation(id) => conversation_id(of.kind, of.id) == *id,
        Place::Group(_) => of.kind == Kind::Group,
        Place::With(_) => true,
    };
    let Some(of) = found.filter(is_meant) else { return Ok(None) };
    let (low, high, sql) = match range {
        Range::Before(seq) => {
            let high = of.head.min(signed(seq).saturating_sub(1));
            (of.since, high, messages_between!("DESC LIMIT ?4"))
        }
        Range::After(seq) => (of.since.max(signed(seq)), of.head, messages_between!("LIMIT ?4")),
    };
    let mut messages = db
        .prepare_cached(sql)?
        .query_map(params![of.id, low, high, limit as i64 + 1], |row| stored(&of, row))?
        .collect::<Result<Vec<_>>>()?;
    let more = messages.len() > limit;
    messages.truncate(limit);
    if matches!(range, Range::Before(_)) {
        messages.reverse();
    }
    Ok(Some(History { messages, more }))
}

pub(super) fn conversations(
    db: &Connection,
    app: &App,
    account: &Account,
    before: Option<Activity>,
    limit: usize,
) -> Result<Vec<Overview>> {
    let all: Vec<Conversation> = db
        .prepare_cached(conversations_where!(""))?
        .query_map([app.as_str(), account.as_str()], conversation)?
        .collect::<Result<_>>()?;
    let mut active = Vec::with_capacity(all.len());
    for of in all {
        let at = activity(db, app, account, &of)?;
        if before.is_none_or(|before| at < before) {
            active.push((at, of));
        }
    }
    active.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    active.truncate(limit);
    active.into_iter().map(|(at, of)| overview(db, account, of, at)).collect()
}

fn activity(db: &Connection, app: &App, account: &Account, of: &Conversation) -> Result<Activity> {
    let newest: Option<i64> = db
        .prepare_cached("SELECT message_id FROM message WHERE conversation = ?1 AND seq = ?2")?
        .query_row([of.id, of.head], |row| row.get(0))
        .optional()?;
    let newest = newest.filter(|_| of.head > of.since).unwrap_or_default();
    let joined: i64 = db
        .prepare_cached(
            "SELECT joined_at FROM member WHERE app = ?1 AND account = ?2 AND conversation = ?3",
        )?
        .query_row(params![app.as_str(), account.as_str(), of.id], |row| row.get(0))?;
    Ok(Activity { at: newest.max(joined), tie: of.id })
}

fn overview(
    db: &Connection,
    account: &Account,
    of: Conversation,
    active: Activity,
) -> Result<Overview> {
    let unread: u32 = db
        .prepare_cached(
            "SELECT COUNT(*) FROM (SELECT 1 FROM message
                 WHERE conversation = ?1 AND seq > ?2 AND seq <= ?3 AND sender <> ?4 LIMIT ?5)",
        )?
        .query_row(params![of.id, of.cursor, of.head, account.as_str(), UNREAD_MAX], |row| {
            row.get(0)
        })?;
    let last = db
        .prepare_cached(messages_between!("DESC LIMIT 1"))?
        .query_row([of.id, of.since, of.head], |row| stored(&of, row))
        .optional()?;
    let name: Option<String> = db
        .prepare_cached("SELECT name FROM grp WHERE conversation = ?1")?
        .query_row([of.id], |row| row.get(0))
        .optional()?;
    let seq = |number: i64| Seq(number.unsigned_abs());
    Ok(Overview {
        conversation: conversation_id(of.kind, of.id),
        head: seq(of.head),
        cursor: seq(of.cursor),
        other: of.other,
        name: name.unwrap_or_default(),
        unread,
        last,
        active,
    })
}
