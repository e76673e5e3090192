//! A small write and read, which find out whether the file can be used.

use imago_kit::unix_nanos;
use rusqlite::Result;

use super::commit::Batch;

/// Changes the only row of the table `probe`, and reads it.
pub(super) fn probe(batch: &mut Batch<'_>) -> Result<()> {
    let db = batch.transaction();
    let at = unix_nanos();
    db.prepare_cached(
        "INSERT INTO probe (id, at) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
    )?
    .execute([at])?;
    let read: i64 =
        db.prepare_cached("SELECT at FROM probe WHERE id = 1")?.query_row([], |row| row.get(0))?;
    if read == at { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}
