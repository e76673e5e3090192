//! Settings of a connection, and how its schema is brought up to date.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::migrations::MIGRATIONS;

/// How often a busy database is tried again, about a millisecond apart: 5 s.
const BUSY_TRIES: i32 = 5000;

/// Pages in the log before they are moved into the database: 64 MiB. Pages that many messages change
/// are moved once for all of them.
const CHECKPOINT_PAGES: u32 = 16_384;

/// Sets a new connection up. Durable: with `synchronous=FULL` a commit returns after the log is
/// on disk (SQLite, "PRAGMA synchronous").
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    // SQLite's own waits grow to 100 ms, far longer than another process holds the lock.
    connection.busy_handler(Some(|tries| {
        std::thread::sleep(Duration::from_micros(if tries < 10 { 200 } else { 1000 }));
        tries < BUSY_TRIES
    }))?;
    // The switch to WAL does not call the busy handler.
    for _ in 0..BUSY_TRIES {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(rusqlite::Error::SqliteFailure(error, _))
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => {
                done?;
                break;
            }
        }
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// For connections that only read.
pub(super) fn forbid_writes(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", "on")
}

/// Brings the schema up to date, one process at a time.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let apply = |connection: &mut Connection| -> rusqlite::Result<Option<u32>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: u32 =
            transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let Some(missing) = MIGRATIONS.get(version as usize..) else { return Ok(Some(version)) };
        if version > 0 && !missing.is_empty() {
            let to = MIGRATIONS.len();
            tracing::info!(
                from = version,
                to,
                "bringing the file up to date, which may copy all messages"
            );
        }
        for migration in missing {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
        transaction.commit()?;
        Ok(None)
    };
    match apply(connection) {
        Ok(None) => Ok(()),
        Ok(Some(version)) => Err(format!(
            "schema version {version} is of a later Imago, this one knows up to {}; use that one, or another file",
            MIGRATIONS.len()
        )),
        Err(error) => Err(error.to_string()),
    }
}
