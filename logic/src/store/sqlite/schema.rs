//! Settings of a connection, and the upgrade of the schema.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::migrations::MIGRATIONS;

/// How long a busy database is tried again. A process that stands still within a transaction keeps the lock.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// When this thread first found the database busy.
    static BUSY_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Pages in the log at which it is moved into the database: 64 MiB. A page that many messages change is
/// moved once.
const CHECKPOINT_PAGES: u32 = 16_384;

/// Sets a new connection up. With `synchronous=FULL`, a commit returns after the log is on disk (SQLite,
/// "PRAGMA synchronous").
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_for_lock))?;
    // The switch to WAL does not call the busy handler.
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(rusqlite::Error::SqliteFailure(error, _))
                if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                    && wait_for_lock(tries) =>
            {
                tries += 1;
            }
            done => break done?,
        }
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", "on")?;
    // Sorting then needs no disk, which may be full.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Waits a moment for another process. Returns `false` once the wait exceeds [`BUSY_PATIENCE`].
///
/// The wait is measured by the clock, because on a busy machine a short sleep may take long. SQLite's own
/// waits grow to 100 ms, far longer than another process holds the lock.
fn wait_for_lock(tries: i32) -> bool {
    let now = Instant::now();
    if tries == 0 {
        BUSY_SINCE.set(Some(now));
    }
    if BUSY_SINCE.get().is_some_and(|since| now.duration_since(since) >= BUSY_PATIENCE) {
        return false;
    }
    std::thread::sleep(Duration::from_micros(if tries < 10 { 200 } else { 1000 }));
    true
}

/// Makes a connection refuse to write.
pub(super) fn forbid_writes(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", "on")
}

/// Brings the schema up to date, one process at a time. A file that is up to date is not written, because
/// its disk may be full.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let version_of = |db: &Connection| -> rusqlite::Result<u32> {
        db.pragma_query_value(None, "user_version", |row| row.get(0))
    };
    let apply = |connection: &mut Connection| -> rusqlite::Result<Option<u32>> {
        if version_of(connection)? as usize == MIGRATIONS.len() {
            return Ok(None);
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = version_of(&transaction)?;
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
