//! Histories and lists of conversations, each in one statement.

use deadpool_postgres::Object;
use imago_proto::{Account, App};
use tokio_postgres::Row;

use super::{
    failure::Failure,
    reads::limited,
    rows::{call, is_there, stored, target, text, values},
};
use crate::store::{
    Activity, ConversationRef, History, Overview, Range, UNREAD_MAX,
    ids::{Kind, conversation_id, conversation_row, group_row, seq, sides, signed},
};

const ROW_OF: &str = "SELECT id FROM conversation WHERE app = $1 AND a = $2 AND b = $3";
const HISTORY: &str = "SELECT * FROM read_history($1, $2, $3, $4, $5, $6, $7, $8)";
const CONVERSATIONS: &str = "SELECT * FROM list_conversations($1, $2, $3, $4, $5, $6)";

/// Returns the row of a conversation, without a check of who may see it.
async fn row_of(
    client: &Object,
    app: &App,
    account: &Account,
    conversation: &ConversationRef,
) -> Result<Option<(Kind, i64)>, Failure> {
    match conversation {
        ConversationRef::Conversation(id) => Ok(conversation_row(id.as_str())),
        ConversationRef::Group(group) => Ok(group_row(group).map(|row| (Kind::Group, row))),
        ConversationRef::With(other) => {
            let (a, b) = sides(account, other);
            let (a, b) = (a.as_str().as_bytes(), b.as_str().as_bytes());
            let pair = values![app.as_str().as_bytes() => BYTEA, a => BYTEA, b => BYTEA];
            let rows = call(client, ROW_OF, pair).await?;
            let found = rows.first().map(|row| row.try_get(0)).transpose()?;
            Ok(found.map(|row| (Kind::Direct, row)))
        }
    }
}

pub(super) async fn history(
    client: &Object,
    app: &App,
    account: &Account,
    conversation: &ConversationRef,
    range: Range,
    limit: usize,
) -> Result<Option<History>, Failure> {
    let Some((kind, row)) = row_of(client, app, account, conversation).await? else {
        return Ok(None);
    };
    let (low, high) = match range {
        Range::Before(seq) => (0, signed(seq).saturating_sub(1)),
        Range::After(seq) => (signed(seq), i64::MAX),
    };
    let part = values![
        app.as_str().as_bytes() => BYTEA,
        account.as_str().as_bytes() => BYTEA,
        row => INT8,
        (kind == Kind::Group) => BOOL,
        low => INT8,
        high => INT8,
        matches!(range, Range::Before(_)) => BOOL,
        limited(limit.saturating_add(1)) => INT8,
    ];
    let rows = call(client, HISTORY, part).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut messages = Vec::with_capacity(rows.len());
    for row in &rows {
        if is_there(row, 0)? {
            messages.push(stored(row, 0)?);
        }
    }
    let more = messages.len() > limit;
    match range {
        Range::After(_) => messages.truncate(limit),
        Range::Before(_) => drop(messages.drain(..messages.len().saturating_sub(limit))),
    }
    Ok(Some(History { messages, more }))
}

pub(super) async fn conversations(
    client: &Object,
    app: &App,
    account: &Account,
    before: Option<Activity>,
    limit: usize,
) -> Result<Vec<Overview>, Failure> {
    let before = before.unwrap_or(Activity { at: i64::MAX, tie: i64::MAX });
    let page = values![
        app.as_str().as_bytes() => BYTEA,
        account.as_str().as_bytes() => BYTEA,
        before.at => INT8,
        before.tie => INT8,
        limited(limit) => INT8,
        i64::from(UNREAD_MAX) => INT8,
    ];
    call(client, CONVERSATIONS, page).await?.iter().map(overview).collect()
}

/// A message, if there is one, and then the conversation's activity, head, cursor, name and unread
/// messages.
fn overview(row: &Row) -> Result<Overview, Failure> {
    let (conversation, kind) = (row.try_get(2)?, Kind::of(row.try_get(3)?));
    let name: Option<Vec<u8>> = row.try_get(13)?;
    let unread: i64 = row.try_get(14)?;
    Ok(Overview {
        conversation: conversation_id(kind, conversation),
        other: target(kind, conversation, text(row, 4)?),
        name: if name.is_some() { text(row, 13)? } else { String::new() },
        head: seq(row.try_get(11)?),
        cursor: seq(row.try_get(12)?),
        unread: u32::try_from(unread).unwrap_or(UNREAD_MAX),
        last: is_there(row, 0)?.then(|| stored(row, 0)).transpose()?,
        active: Activity { at: row.try_get(10)?, tie: conversation },
    })
}
