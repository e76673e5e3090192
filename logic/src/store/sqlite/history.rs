//! Histories and lists of conversations.

use imago_proto::{Account, App};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{
    super::{
        Activity, ConversationRef, History, Overview, Range, UNREAD_MAX,
        ids::{Kind, conversation_id, conversation_row, group_row, seq, sides, signed},
    },
    reads::{Membership, membership, memberships_where, stored},
};

/// Selects for [`stored`]: messages of conversation ?1 past sequence ?2, up to ?3, that member ?5 of app ?4
/// may see.
macro_rules! messages_between {
    ($rest:literal) => {
        concat!(
            "SELECT m.message_id, m.send_time, p.seq, m.sender, m.kind, m.body, m.extra
             FROM place p CROSS JOIN message m ON m.message_id = p.message_id
             WHERE p.conversation = ?1 AND p.seq > ?2 AND p.seq <= ?3 AND EXISTS (
                 SELECT 1 FROM member k
                 WHERE k.app = ?4 AND k.account = ?5 AND k.conversation = ?1
                   AND p.seq > k.since AND p.seq <= COALESCE(k.until, p.seq))
             ORDER BY p.seq ",
            $rest
        )
    };
}

/// Returns the row of a conversation, without a check of who may see it.
fn row_of(
    db: &Connection,
    app: &App,
    account: &Account,
    conversation: &ConversationRef,
) -> Result<Option<i64>> {
    match conversation {
        ConversationRef::Conversation(id) => Ok(conversation_row(id.as_str()).map(|(_, row)| row)),
        ConversationRef::Group(group) => Ok(group_row(group)),
        ConversationRef::With(other) => {
            let (a, b) = sides(account, other);
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
    conversation: &ConversationRef,
    range: Range,
    limit: usize,
) -> Result<Option<History>> {
    let Some(row) = row_of(db, app, account, conversation)? else { return Ok(None) };
    let times: Vec<Membership> = db
        .prepare_cached(memberships_where!("AND k.conversation = ?3 ORDER BY k.since"))?
        .query_map(params![app.as_str(), account.as_str(), row], membership)?
        .collect::<Result<_>>()?;
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Ok(None) };
    // The kind in an id is given by the client: the row must be of that kind.
    let is_same_kind = match conversation {
        ConversationRef::Conversation(id) => {
            conversation_id(last.conversation.kind, last.conversation.id) == *id
        }
        ConversationRef::Group(_) => last.conversation.kind == Kind::Group,
        ConversationRef::With(_) => true,
    };
    if !is_same_kind {
        return Ok(None);
    }
    let (low, high, sql) = match range {
        Range::Before(seq) => {
            let high = last.head.min(signed(seq).saturating_sub(1));
            (first.since, high, messages_between!("DESC LIMIT ?6"))
        }
        Range::After(seq) => {
            (first.since.max(signed(seq)), last.head, messages_between!("LIMIT ?6"))
        }
    };
    let (app, account) = (app.as_str(), account.as_str());
    let mut messages = db
        .prepare_cached(sql)?
        .query_map(params![row, low, high, app, account, limit as i64 + 1], |row| {
            stored(&last.conversation, row)
        })?
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
    let all: Vec<Membership> = db
        .prepare_cached(memberships_where!("ORDER BY k.conversation, k.since"))?
        .query_map([app.as_str(), account.as_str()], membership)?
        .collect::<Result<_>>()?;
    let mut active: Vec<(Activity, &[Membership])> = Vec::new();
    for times in all.chunk_by(|one, other| one.conversation.id == other.conversation.id) {
        let at = activity(db, app, account, times)?;
        if before.is_none_or(|before| at < before) {
            active.push((at, times));
        }
    }
    active.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    active.truncate(limit);
    let overviews = active.into_iter().map(|(at, times)| overview(db, app, account, times, at));
    overviews.filter_map(Result::transpose).collect()
}

/// Returns the time of the last event that the member saw: a message, or its joining.
fn activity(
    db: &Connection,
    app: &App,
    account: &Account,
    times: &[Membership],
) -> Result<Activity> {
    let mut activity = Activity { at: 0, tie: 0 };
    for of in times {
        let newest: Option<i64> = db
            .prepare_cached("SELECT message_id FROM place WHERE conversation = ?1 AND seq = ?2")?
            .query_row([of.conversation.id, of.head], |row| row.get(0))
            .optional()?;
        let newest = newest.filter(|_| of.head > of.since).unwrap_or_default();
        let joined: i64 = db
            .prepare_cached(
                "SELECT joined_at FROM member
                 WHERE app = ?1 AND account = ?2 AND conversation = ?3 AND since = ?4",
            )?
            .query_row(
                params![app.as_str(), account.as_str(), of.conversation.id, of.since],
                |row| row.get(0),
            )?;
        activity = Activity { at: activity.at.max(newest).max(joined), tie: of.conversation.id };
    }
    Ok(activity)
}

fn overview(
    db: &Connection,
    app: &App,
    account: &Account,
    times: &[Membership],
    active: Activity,
) -> Result<Option<Overview>> {
    let (Some(first), Some(of)) = (times.first(), times.last()) else { return Ok(None) };
    let mut unread = 0;
    for time in times {
        let counted: u32 = db
            .prepare_cached(
                "SELECT COUNT(*) FROM (
                     SELECT 1 FROM place p CROSS JOIN message m ON m.message_id = p.message_id
                     WHERE p.conversation = ?1 AND p.seq > ?2 AND p.seq <= ?3 AND m.sender <> ?4
                     LIMIT ?5)",
            )?
            .query_row(
                params![time.conversation.id, time.cursor, time.head, account.as_str(), UNREAD_MAX],
                |row| row.get(0),
            )?;
        unread = UNREAD_MAX.min(unread + counted);
    }
    let last = db
        .prepare_cached(messages_between!("DESC LIMIT 1"))?
        .query_row(
            params![of.conversation.id, first.since, of.head, app.as_str(), account.as_str()],
            |row| stored(&of.conversation, row),
        )
        .optional()?;
    let name: Option<String> = db
        .prepare_cached("SELECT name FROM grp WHERE conversation = ?1")?
        .query_row([of.conversation.id], |row| row.get(0))
        .optional()?;
    Ok(Some(Overview {
        conversation: conversation_id(of.conversation.kind, of.conversation.id),
        head: seq(of.head),
        cursor: seq(of.cursor.min(of.head)),
        other: of.conversation.other.clone(),
        name: name.unwrap_or_default(),
        unread,
        last,
        active,
    }))
}
