//! What accounts have and miss, each in one statement, so in one snapshot of the database.

use std::collections::HashMap;

use deadpool_postgres::Object;
use imago_proto::{Account, App, ConversationId, Seq};
use tokio_postgres::{Row, types::ToSql};

use super::{
    failure::Failure,
    rows::{Values, content, place, target, text},
};
use crate::store::{
    Content, Envelope, INDEX_MAX, Page, Stored,
    ids::{Kind, conversation_id, conversation_row, seq, signed},
};

/// Messages of the conversations of account $2 of app $1, from where `$start` says on, ascending
/// by id, at most $3. `$who` is `AND …` of what they have to be.
macro_rules! messages {
    ($start:literal, $join:literal, $who:literal, $contents:literal) => {
        concat!(
            "WITH mine AS MATERIALIZED (
                 SELECT c.id, c.a = '' AS is_group, coalesce(k.until, c.head_seq) AS head,
                        CASE c.a WHEN k.account THEN c.b ELSE c.a END AS other, ",
            $start,
            " AS start
                 FROM member k JOIN conversation c ON c.id = k.conversation ",
            $join,
            "
                 WHERE k.app = $1 AND k.account = $2
             ), first AS (
                 SELECT n.message_id, mine.id, mine.is_group, mine.other
                 FROM mine CROSS JOIN LATERAL (
                     SELECT m.message_id FROM message m
                     WHERE m.conversation = mine.id AND m.seq > mine.start AND m.seq <= mine.head ",
            $who,
            "
                     ORDER BY m.seq LIMIT $3
                 ) n
                 WHERE mine.start < mine.head
                 ORDER BY n.message_id LIMIT $3
             )
             SELECT m.message_id, m.send_time, m.seq, m.sender, f.id, f.is_group, f.other",
            $contents,
            "
             FROM first f JOIN message m ON m.message_id = f.message_id ORDER BY m.message_id"
        )
    };
}

const UNREAD: &str = messages!("greatest(k.cursor, k.since)", "", "AND m.sender <> $2", "");
const EVERYTHING: &str = messages!("k.since", "", "AND m.sender <> $2", "");
const AFTER: &str = messages!(
    "last_until(c.id, k.since, coalesce(k.until, c.head_seq), $4)",
    "",
    "AND m.sender <> $2",
    ""
);
const UNREAD_PAST: &str = messages!(
    "last_until(c.id, greatest(k.cursor, k.since), coalesce(k.until, c.head_seq), $4)",
    "",
    "AND m.sender <> $2",
    ", m.kind, m.body, m.extra"
);
const SYNC: &str = messages!(
    "greatest(k.since, coalesce(s.seq, k.cursor))",
    "LEFT JOIN unnest($4::bigint[], $5::boolean[], $6::bigint[]) AS s (id, is_group, seq)
         ON s.id = c.id AND s.is_group = (c.a = '')",
    "",
    ", m.kind, m.body, m.extra"
);
const CONTENTS: &str = "
    SELECT s.place, m.kind, m.body, m.extra
    FROM unnest($3::bigint[]) WITH ORDINALITY AS s (id, place)
    JOIN message m ON m.message_id = s.id
    WHERE EXISTS (
        SELECT FROM member k
        WHERE k.app = $1 AND k.account = $2 AND k.conversation = m.conversation
          AND m.seq > k.since AND m.seq <= coalesce(k.until, m.seq))";

/// Runs a prepared read for an account.
pub(super) async fn ask(
    client: &Object,
    statement: &str,
    app: &App,
    account: &Account,
    more: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Failure> {
    let statement = client.prepare_cached(statement).await?;
    let (app, account) = (app.as_str().as_bytes(), account.as_str().as_bytes());
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&app, &account];
    values.extend(more);
    Ok(client.query(&statement, &values).await?)
}

pub(super) fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Message id, send time, sequence, sender; and conversation, whether it is a group's, other side.
fn envelope(row: &Row) -> Result<Envelope, Failure> {
    let (conversation, kind) = (row.try_get(4)?, Kind::of(row.try_get(5)?));
    Ok(Envelope {
        message_id: row.try_get(0)?,
        send_time: row.try_get(1)?,
        conversation: conversation_id(kind, conversation),
        seq: seq(row.try_get(2)?),
        sender: Account::from(text(row, 3)?),
        other: target(kind, conversation, text(row, 6)?),
    })
}

fn stored(row: &Row) -> Result<Stored, Failure> {
    Ok(Stored { envelope: envelope(row)?, content: content(row, 7)? })
}

pub(super) async fn index(
    client: &Object,
    app: &App,
    account: &Account,
    page: Page,
) -> Result<Vec<Envelope>, Failure> {
    let limit = limited(INDEX_MAX);
    let rows = match page {
        Page::Unacknowledged => ask(client, UNREAD, app, account, &[&limit]).await?,
        Page::Everything => ask(client, EVERYTHING, app, account, &[&limit]).await?,
    };
    rows.iter().map(envelope).collect()
}

pub(super) async fn unread(
    client: &Object,
    app: &App,
    account: &Account,
    past: i64,
    limit: usize,
) -> Result<Vec<Stored>, Failure> {
    let rows = ask(client, UNREAD_PAST, app, account, &[&limited(limit), &past]).await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn sync(
    client: &Object,
    app: &App,
    account: &Account,
    cursors: &[(ConversationId, Seq)],
    limit: usize,
) -> Result<Vec<Stored>, Failure> {
    let known: HashMap<(Kind, i64), i64> = cursors
        .iter()
        .filter_map(|(id, seq)| Some((conversation_row(id.as_str())?, signed(*seq))))
        .collect();
    let rows: Vec<i64> = known.keys().map(|(_, row)| *row).collect();
    let are_groups: Vec<bool> = known.keys().map(|(kind, _)| *kind == Kind::Group).collect();
    let seqs: Vec<i64> = known.values().copied().collect();
    let more: Values<'_, 4> = [&limited(limit), &rows, &are_groups, &seqs];
    let rows = ask(client, SYNC, app, account, &more).await?;
    rows.iter().map(stored).collect()
}

pub(super) async fn contents(
    client: &Object,
    app: &App,
    account: &Account,
    ids: &[i64],
) -> Result<Vec<Option<Content>>, Failure> {
    let mut contents = vec![None; ids.len()];
    for row in ask(client, CONTENTS, app, account, &[&ids]).await? {
        if let Some(slot) = contents.get_mut(place(&row, 0)?) {
            *slot = Some(content(&row, 1)?);
        }
    }
    Ok(contents)
}
