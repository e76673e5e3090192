//! Conversations as people look at them, each in one statement.

use deadpool_postgres::Object;
use imago_proto::{Account, App};
use tokio_postgres::Row;

use super::{
    failure::Failure,
    reads::{ask, limited},
    rows::{Values, content, target, text},
};
use crate::store::{
    Activity, Envelope, History, Overview, Place, Range, Stored, UNREAD_MAX,
    ids::{Kind, conversation_id, conversation_row, group_row, seq, sides, signed},
};

const ROW_OF: &str = "SELECT c.id FROM conversation c WHERE c.app = $1 AND c.a = $3 AND c.b = $4
                      AND $2 IN (c.a, c.b)";

/// Messages of conversation $3 in $4 < seq <= $5 that the account sees, at most $6; a row without a
/// message where it may see that conversation at all. $7: it is a group's.
macro_rules! history {
    ($order:literal) => {
        concat!(
            "SELECT l.message_id, l.send_time, l.seq, l.sender, l.kind, l.body, l.extra, c.id,
                    c.a = '', CASE c.a WHEN $2 THEN c.b ELSE c.a END
             FROM conversation c LEFT JOIN LATERAL (
                 SELECT m.* FROM message m
                 WHERE m.conversation = c.id AND m.seq > $4 AND m.seq <= $5 AND EXISTS (
                     SELECT FROM member k
                     WHERE k.app = $1 AND k.account = $2 AND k.conversation = c.id
                       AND m.seq > k.since AND m.seq <= coalesce(k.until, m.seq))
                 ORDER BY m.seq ",
            $order,
            " LIMIT $6
             ) l ON true
             WHERE c.id = $3 AND c.app = $1 AND (c.a = '') = $7 AND EXISTS (
                 SELECT FROM member k WHERE k.app = $1 AND k.account = $2 AND k.conversation = c.id)
             ORDER BY l.seq"
        )
    };
}

const AFTER: &str = history!("");
const BEFORE: &str = history!("DESC");

/// A member's times in a group, and its one time in each direct conversation, are `times`.
const CONVERSATIONS: &str = "
    WITH times AS MATERIALIZED (
        SELECT c.id, c.a = '' AS is_group, k.since, greatest(k.cursor, k.since) AS cursor,
               coalesce(k.until, c.head_seq) AS head, k.joined_at,
               CASE c.a WHEN k.account THEN c.b ELSE c.a END AS other,
               row_number() OVER (PARTITION BY c.id ORDER BY k.since DESC) AS nth
        FROM member k JOIN conversation c ON c.id = k.conversation
        WHERE k.app = $1 AND k.account = $2
    ), listed AS (
        SELECT t.id, max(greatest(t.joined_at, coalesce(n.message_id, 0))) AS at
        FROM times t
        LEFT JOIN message n ON n.conversation = t.id AND n.seq = t.head AND t.head > t.since
        GROUP BY t.id
    ), page AS MATERIALIZED (
        SELECT id, at FROM listed WHERE at < $3 OR (at = $3 AND id < $4)
        ORDER BY at DESC, id DESC LIMIT $5
    )
    SELECT l.message_id, l.send_time, l.seq, l.sender, l.kind, l.body, l.extra, t.id, t.is_group,
           t.other, p.at, t.head, t.cursor, g.name,
           (SELECT count(*) FROM (
                SELECT FROM times u JOIN message m
                    ON m.conversation = u.id AND m.seq > u.cursor AND m.seq <= u.head
                WHERE u.id = p.id AND m.sender <> $2 LIMIT $6) AS news)
    FROM page p
    JOIN times t ON t.id = p.id AND t.nth = 1
    LEFT JOIN grp g ON g.conversation = p.id
    LEFT JOIN LATERAL (
        SELECT n.* FROM times u CROSS JOIN LATERAL (
            SELECT m.* FROM message m
            WHERE m.conversation = u.id AND m.seq > u.since AND m.seq <= u.head
            ORDER BY m.seq DESC LIMIT 1
        ) n
        WHERE u.id = p.id ORDER BY n.seq DESC LIMIT 1
    ) l ON true
    ORDER BY p.at DESC, p.id DESC";

/// The message of a row, where there is one.
fn stored(row: &Row) -> Result<Option<Stored>, Failure> {
    let Some(message_id) = row.try_get::<_, Option<i64>>(0)? else { return Ok(None) };
    let (conversation, kind) = (row.try_get(7)?, Kind::of(row.try_get(8)?));
    let envelope = Envelope {
        message_id,
        send_time: row.try_get(1)?,
        conversation: conversation_id(kind, conversation),
        seq: seq(row.try_get(2)?),
        sender: Account::from(text(row, 3)?),
        other: target(kind, conversation, text(row, 9)?),
    };
    Ok(Some(Stored { envelope, content: content(row, 4)? }))
}

/// The row that a place stands for, whoever may see it.
async fn row_of(
    client: &Object,
    app: &App,
    account: &Account,
    place: &Place,
) -> Result<Option<(Kind, i64)>, Failure> {
    match place {
        Place::Conversation(id) => Ok(conversation_row(id.as_str())),
        Place::Group(group) => Ok(group_row(group).map(|row| (Kind::Group, row))),
        Place::With(other) => {
            let (a, b) = sides(account, other);
            let (a, b) = (a.as_str().as_bytes(), b.as_str().as_bytes());
            let rows = ask(client, ROW_OF, app, account, &[&a, &b]).await?;
            let found = rows.first().map(|row| row.try_get(0)).transpose()?;
            Ok(found.map(|row| (Kind::Direct, row)))
        }
    }
}

pub(super) async fn history(
    client: &Object,
    app: &App,
    account: &Account,
    place: &Place,
    range: Range,
    limit: usize,
) -> Result<Option<History>, Failure> {
    let Some((kind, row)) = row_of(client, app, account, place).await? else { return Ok(None) };
    let (low, high, statement) = match range {
        Range::Before(seq) => (0, signed(seq).saturating_sub(1), BEFORE),
        Range::After(seq) => (signed(seq), i64::MAX, AFTER),
    };
    let most = limited(limit.saturating_add(1));
    let is_group = kind == Kind::Group;
    let part: Values<'_, 5> = [&row, &low, &high, &most, &is_group];
    let rows = ask(client, statement, app, account, &part).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut messages = Vec::with_capacity(rows.len());
    for row in &rows {
        messages.extend(stored(row)?);
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
    let (most, counted) = (limited(limit), i64::from(UNREAD_MAX));
    let page: Values<'_, 4> = [&before.at, &before.tie, &most, &counted];
    let rows = ask(client, CONVERSATIONS, app, account, &page).await?;
    rows.iter().map(overview).collect()
}

fn overview(row: &Row) -> Result<Overview, Failure> {
    let (conversation, kind) = (row.try_get(7)?, Kind::of(row.try_get(8)?));
    let name: Option<Vec<u8>> = row.try_get(13)?;
    let unread: i64 = row.try_get(14)?;
    Ok(Overview {
        conversation: conversation_id(kind, conversation),
        other: target(kind, conversation, text(row, 9)?),
        name: if name.is_some() { text(row, 13)? } else { String::new() },
        head: seq(row.try_get(11)?),
        cursor: seq(row.try_get(12)?),
        unread: u32::try_from(unread).unwrap_or(UNREAD_MAX),
        last: stored(row)?,
        active: Activity { at: row.try_get(10)?, tie: conversation },
    })
}
