//! Values out of rows, and digests into them.

use imago_proto::{Account, App};
use sha2::{Digest, Sha256};
use tokio_postgres::{Row, types::ToSql};

use super::failure::Failure;
use crate::store::{Content, Target, ids::Kind};

/// Values of a statement.
pub(super) type Values<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];

/// A text, which the database holds as its bytes.
pub(super) fn text(row: &Row, column: usize) -> Result<String, Failure> {
    let bytes: Vec<u8> = row.try_get(column)?;
    String::from_utf8(bytes).map_err(|error| Failure::Bad(format!("column {column}: {error}")))
}

/// Kind, body and extra, in this and the next two columns.
pub(super) fn content(row: &Row, column: usize) -> Result<Content, Failure> {
    Ok(Content {
        kind: row.try_get(column)?,
        body: text(row, column + 1)?,
        extra: text(row, column + 2)?,
    })
}

/// Whom the conversation of that row is with.
pub(super) fn target(kind: Kind, conversation: i64, other: String) -> Target {
    match kind.group(conversation) {
        Some(group) => Target::Group(group),
        None => Target::Account(Account::from(other)),
    }
}

/// A place that `WITH ORDINALITY` has counted, from 1, as an index.
pub(super) fn place(row: &Row, column: usize) -> Result<usize, Failure> {
    let place: i64 = row.try_get(column)?;
    Ok(usize::try_from(place).unwrap_or_default().saturating_sub(1))
}

/// SHA-256 (FIPS 180-4) of a request with its app and caller: as long as any, and as unique. Lengths
/// before names tell the parts, whatever characters the names have.
pub(super) fn digest(app: &App, caller: &Account, request: &str) -> Vec<u8> {
    let (app_len, caller_len) = (app.as_str().len(), caller.as_str().len());
    Sha256::digest(format!("{app_len}:{app}{caller_len}:{caller}{request}")).to_vec()
}
