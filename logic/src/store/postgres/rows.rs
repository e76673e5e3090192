//! Statements, the values that they get, and those out of their rows.

use deadpool_postgres::Object;
use imago_proto::{Account, App, link::Mark};
use sha2::{Digest, Sha256};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::failure::Failure;
use crate::store::{
    Content, Envelope, Stored, Target,
    ids::{Kind, conversation_id, seq},
};

/// Values of a statement, with their types.
pub(super) type Values<'a, const N: usize> = [(&'a (dyn ToSql + Sync), Type); N];

/// Values of a statement: `value => TYPE, …`.
macro_rules! values {
    ($($value:expr => $kind:ident),* $(,)?) => {
        [$((&$value as &(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type::$kind)),*]
    };
}
pub(super) use values;

/// Runs a statement in one round trip, as a transaction of its own. The statement is not prepared, so that each
/// transaction may use another connection to the database (PgBouncer). The function it calls keeps its plans in
/// the database (PostgreSQL 15, 43.11.2).
pub(super) async fn call<const N: usize>(
    client: &Object,
    statement: &str,
    values: Values<'_, N>,
) -> Result<Vec<Row>, Failure> {
    Ok(client.query_typed(statement, &values).await?)
}

/// Reads a text, which the database holds as bytes.
pub(super) fn text(row: &Row, column: usize) -> Result<String, Failure> {
    let bytes: Vec<u8> = row.try_get(column)?;
    String::from_utf8(bytes).map_err(|error| Failure::Bad(format!("column {column}: {error}")))
}

/// Reads kind, body and extra from this and the next two columns.
pub(super) fn content(row: &Row, column: usize) -> Result<Content, Failure> {
    Ok(Content {
        kind: row.try_get(column)?,
        body: text(row, column + 1)?,
        extra: text(row, column + 2)?,
    })
}

/// Reads from this column on: message id, send time, conversation, whether it is a group's, its other
/// side, sequence, sender.
pub(super) fn envelope(row: &Row, column: usize) -> Result<Envelope, Failure> {
    let (conversation, kind) = (row.try_get(column + 2)?, Kind::of(row.try_get(column + 3)?));
    Ok(Envelope {
        message_id: row.try_get(column)?,
        send_time: row.try_get(column + 1)?,
        conversation: conversation_id(kind, conversation),
        seq: seq(row.try_get(column + 5)?),
        sender: Account::from(text(row, column + 6)?),
        other: target(kind, conversation, text(row, column + 4)?),
    })
}

/// Reads an [`envelope`] and the content.
pub(super) fn stored(row: &Row, column: usize) -> Result<Stored, Failure> {
    Ok(Stored { envelope: envelope(row, column)?, content: content(row, column + 7)? })
}

/// Returns whether the row has a message from this column on.
pub(super) fn is_there(row: &Row, column: usize) -> Result<bool, Failure> {
    Ok(row.try_get::<_, Option<i64>>(column)?.is_some())
}

/// Returns the other side of a row's conversation.
pub(super) fn target(kind: Kind, conversation: i64, other: String) -> Target {
    match kind.group(conversation) {
        Some(group) => Target::Group(group),
        None => Target::Account(Account::from(other)),
    }
}

/// Converts a rank, which the database counts from 1, to an index.
pub(super) fn index_of_rank(row: &Row, column: usize) -> Result<usize, Failure> {
    let rank: i32 = row.try_get(column)?;
    Ok(usize::try_from(rank).unwrap_or_default().saturating_sub(1))
}

/// Converts an index to a rank, which the database counts from 1.
pub(super) fn counted(index: usize) -> i32 {
    i32::try_from(index.saturating_add(1)).unwrap_or(i32::MAX)
}

/// Parses a snapshot: `xmin:xmax:xip,xip` (PostgreSQL 15, 9.26.6).
pub(super) fn mark(row: &Row, column: usize) -> Result<Mark, Failure> {
    let text: String = row.try_get(column)?;
    parse(&text).ok_or_else(|| Failure::Bad(format!("expected a snapshot, got {text:?}")))
}

fn parse(text: &str) -> Option<Mark> {
    let mut parts = text.splitn(3, ':');
    let (low, high) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let open = parts.next()?.split(',').filter(|number| !number.is_empty());
    Some(Mark { low, high, open: open.map(|number| number.parse().ok()).collect::<Option<_>>()? })
}

/// Returns the SHA-256 (FIPS 180-4) of a request with its app and caller. Lengths before the names keep the
/// parts apart, for any characters in the names.
pub(super) fn digest(app: &App, caller: &Account, request: &str) -> Vec<u8> {
    let (app_len, caller_len) = (app.as_str().len(), caller.as_str().len());
    Sha256::digest(format!("{app_len}:{app}{caller_len}:{caller}{request}")).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read() {
        assert_eq!(parse("10:20:"), Some(Mark { low: 10, high: 20, open: vec![] }));
        assert_eq!(parse("10:20:10,14"), Some(Mark { low: 10, high: 20, open: vec![10, 14] }));
        for wrong in ["", "10", "10:20", "10:x:", "10:20:1,x", "10:20:1:2"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
