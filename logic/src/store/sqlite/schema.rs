//! Settings of a connection, and the versions of the schema.

use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// Each version's changes; the number of applied ones is the file's `user_version`.
pub(super) const MIGRATIONS: [&str; 2] = [
    "
    -- `a` < `b`, or `a` = `b` where somebody talks to oneself.
    CREATE TABLE conversation (
        id       INTEGER PRIMARY KEY,
        app      TEXT NOT NULL,
        a        TEXT NOT NULL,
        b        TEXT NOT NULL,
        head_seq INTEGER NOT NULL DEFAULT 0,
        UNIQUE (app, a, b)
    );
    CREATE TABLE member (
        app          TEXT NOT NULL,
        account      TEXT NOT NULL,
        conversation INTEGER NOT NULL REFERENCES conversation (id),
        cursor       INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (app, account, conversation)
    ) WITHOUT ROWID;
    -- `request` is app, sender and the request's key. Ids and sequences of a conversation rise together.
    CREATE TABLE message (
        message_id   INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversation (id),
        seq          INTEGER NOT NULL,
        sender       TEXT NOT NULL,
        kind         INTEGER NOT NULL,
        body         TEXT NOT NULL,
        extra        TEXT NOT NULL,
        send_time    INTEGER NOT NULL,
        request      TEXT NOT NULL UNIQUE
    );
    CREATE UNIQUE INDEX message_seq ON message (conversation, seq);
",
    // Groups. Their conversations have no `a`, and in `b` the key of the request that made them.
    "
    CREATE TABLE grp (
        conversation INTEGER PRIMARY KEY REFERENCES conversation (id),
        name         TEXT NOT NULL,
        avatar       TEXT NOT NULL,
        introduction TEXT NOT NULL,
        owner        TEXT NOT NULL,
        open         INTEGER NOT NULL,
        created_at   INTEGER NOT NULL,
        size         INTEGER NOT NULL,
        version      INTEGER NOT NULL
    );
    -- A membership: its account sees the sequences past `since`, up to `until` once it has left. Whoever
    -- comes back has another one. `position` is the place in the order of joining.
    ALTER TABLE member RENAME TO member_1;
    CREATE TABLE member (
        app          TEXT NOT NULL,
        account      TEXT NOT NULL,
        conversation INTEGER NOT NULL REFERENCES conversation (id),
        since        INTEGER NOT NULL DEFAULT 0,
        until        INTEGER,
        cursor       INTEGER NOT NULL DEFAULT 0,
        joined_at    INTEGER NOT NULL DEFAULT 0,
        position     INTEGER,
        PRIMARY KEY (app, account, conversation, since)
    ) WITHOUT ROWID;
    INSERT INTO member (app, account, conversation, cursor)
        SELECT app, account, conversation, cursor FROM member_1;
    DROP TABLE member_1;
    CREATE INDEX member_of_group ON member (conversation, position)
        WHERE position IS NOT NULL AND until IS NULL;
    -- Requests that changed a group's members, so that a late repeat changes nothing.
    CREATE TABLE change (
        request TEXT PRIMARY KEY,
        made_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX change_made ON change (made_at);
",
];

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
