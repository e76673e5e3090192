//! The versions of the schema.

/// Turns keys of version 2, `<length>:<app><length>:<caller><request>` with lengths in bytes, into
/// those of version 3.
macro_rules! rekey {
    ($table:literal, $key:literal, $which:literal) => {
        concat!(
            "UPDATE ", $table, " SET ", $key, " = (
                 SELECT CAST(substr(rest, at + 1 + len) AS TEXT) || CAST(app AS TEXT)
                     || CAST(substr(rest, at + 1, len) AS TEXT)
                     || '|' || (length(rest) - at - len) || ':' || length(app)
                 FROM (SELECT app, rest, at, CAST(CAST(substr(rest, 1, at - 1) AS TEXT) AS INTEGER) AS len
                       FROM (SELECT app, rest, instr(rest, x'3a') AS at
                             FROM (SELECT substr(key, at + 1, len) AS app, substr(key, at + 1 + len) AS rest
                                   FROM (SELECT CAST(", $key, " AS BLOB) AS key, instr(", $key, ", ':') AS at,
                                                CAST(substr(", $key, ", 1, instr(", $key, ", ':') - 1) AS INTEGER) AS len)))))
             WHERE ", $which, ";"
        )
    };
}

/// Each version's changes; the number of applied ones is the file's `user_version`.
pub(super) const MIGRATIONS: [&str; 8] = [
    "
    -- `a` < `b`, or `a` = `b` where an account talks to itself.
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
    -- A membership: its account sees the sequences past `since`, up to `until` once it has left. An
    -- account that comes back has another one. `position` is the rank in the order of joining.
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
    // Keys of requests begin with the request (see `request_key`), no more with app and caller.
    concat!(
        rekey!("message", "request", "TRUE"),
        rekey!("change", "request", "TRUE"),
        rekey!("conversation", "b", "a = ''"),
    ),
    // Messages are indexed after they are stored: those past `placed.until` have no row in `place` yet (see
    // `commit/mod.rs`). A conversation's last sequence is renamed, so that a process of the version before,
    // which has the file open still, fails and gives no sequence out twice.
    "
    CREATE TABLE place (
        conversation INTEGER NOT NULL,
        seq          INTEGER NOT NULL,
        message_id   INTEGER NOT NULL,
        PRIMARY KEY (conversation, seq)
    ) WITHOUT ROWID;
    INSERT INTO place (conversation, seq, message_id)
        SELECT conversation, seq, message_id FROM message ORDER BY conversation, seq;
    DROP INDEX message_seq;
    ALTER TABLE conversation RENAME COLUMN head_seq TO placed_seq;
    CREATE TABLE placed (until INTEGER NOT NULL);
    INSERT INTO placed (until) SELECT COALESCE(MAX(message_id), 0) FROM message;
",
    // Keys of requests are indexed after the messages, too: on a busy server, the keys of one commit would
    // each change a page of their own.
    "
    CREATE TABLE message_5 (
        message_id   INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversation (id),
        seq          INTEGER NOT NULL,
        sender       TEXT NOT NULL,
        kind         INTEGER NOT NULL,
        body         TEXT NOT NULL,
        extra        TEXT NOT NULL,
        send_time    INTEGER NOT NULL,
        request      TEXT NOT NULL
    );
    INSERT INTO message_5 SELECT * FROM message ORDER BY message_id;
    CREATE TABLE message_request (
        request    TEXT PRIMARY KEY,
        message_id INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO message_request (request, message_id)
        SELECT request, message_id FROM message
        WHERE message_id <= (SELECT until FROM placed) ORDER BY request;
    DROP TABLE message;
    ALTER TABLE message_5 RENAME TO message;
",
    // Some messages past `placed.until` may be indexed already. The version number keeps servers from
    // writing that do not know it.
    "",
    // How far each device has acknowledged, and the id of each conversation's last indexed message
    // (0: none). The last sequence is renamed again, so that a process that writes it without the id fails.
    "
    ALTER TABLE conversation RENAME COLUMN placed_seq TO last_seq;
    ALTER TABLE conversation ADD COLUMN last_id INTEGER NOT NULL DEFAULT 0;
    UPDATE conversation SET last_id = COALESCE(
        (SELECT p.message_id FROM place p WHERE p.conversation = id AND p.seq = last_seq), 0);
    -- `seen_at` is in Unix nanoseconds, and up to a day behind (see `devices.rs`).
    CREATE TABLE device (
        id      INTEGER PRIMARY KEY,
        app     TEXT NOT NULL,
        account TEXT NOT NULL,
        name    TEXT NOT NULL,
        seen_at INTEGER NOT NULL,
        UNIQUE (app, account, name)
    );
    CREATE INDEX device_seen ON device (seen_at);
    -- A membership without a row: its device has acknowledged nothing of it.
    CREATE TABLE device_cursor (
        device       INTEGER NOT NULL,
        conversation INTEGER NOT NULL,
        since        INTEGER NOT NULL,
        cursor       INTEGER NOT NULL,
        PRIMARY KEY (device, conversation, since)
    ) WITHOUT ROWID;
    -- The sender's device, which does not miss its own message.
    ALTER TABLE message ADD COLUMN device TEXT NOT NULL DEFAULT '';
",
    // Servers write it to find out whether the file can be written.
    "CREATE TABLE probe (id INTEGER PRIMARY KEY, at INTEGER NOT NULL);",
];
