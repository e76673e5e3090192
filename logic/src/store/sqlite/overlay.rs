//! Reads of a file that cannot be written.
//!
//! A read by conversation and sequence has the tail indexed first, which is a write (`commit/mod.rs`). Where
//! that fails or takes too long, as on a full disk or while another process keeps the lock, the read runs
//! here. Temporary views shadow the tables `place` and `conversation`, and add the messages past
//! `placed.until` as if these were indexed. The statements are the same for both.

use rusqlite::{Connection, Result, TransactionBehavior, params};

use super::commit::{UnindexedHeads, indexed_until};

/// The tail lies in the table `late`, in memory. A part of it may be indexed already.
const VIEWS: &str = "
    CREATE TEMP TABLE late (
        message_id   INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL,
        seq          INTEGER NOT NULL,
        UNIQUE (conversation, seq)
    );
    CREATE TEMP VIEW place AS
        SELECT conversation, seq, message_id FROM main.place
        UNION ALL
        SELECT conversation, seq, message_id FROM late l
        WHERE NOT EXISTS (
            SELECT 1 FROM main.place p WHERE p.conversation = l.conversation AND p.seq = l.seq);
    CREATE TEMP VIEW conversation AS
        SELECT id, app, a, b,
            COALESCE((SELECT MAX(seq) FROM late l WHERE l.conversation = c.id), last_seq) AS last_seq,
            COALESCE((SELECT message_id FROM late l WHERE l.conversation = c.id
                      ORDER BY seq DESC LIMIT 1), last_id) AS last_id
        FROM main.conversation c;
";

/// A connection that sees every message as indexed, and never writes the file.
pub(super) struct Overlay {
    connection: Connection,
    late: Late,
}

/// The extent of `late`: messages past `until`, up to `last_id`.
#[derive(Clone, Copy, Debug, Default)]
struct Late {
    until: i64,
    last_id: i64,
}

// === impl Overlay ===

impl Overlay {
    /// Creates an overlay from a connection that may not write the file.
    pub(super) fn new(connection: Connection) -> Result<Self> {
        connection.execute_batch(VIEWS)?;
        Ok(Self { connection, late: Late::default() })
    }

    /// Runs a read in one snapshot, in which every message is indexed.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&Connection, &UnindexedHeads) -> Result<T>,
    ) -> Result<T> {
        // An error rolls `late` back, too.
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let late = catch_up(&transaction, self.late)?;
        let found = read(&transaction, &UnindexedHeads::none(late.last_id))?;
        transaction.commit()?;
        self.late = late;
        Ok(found)
    }
}

/// Reads what was written since the last read. Snapshots never go back.
fn catch_up(db: &Connection, known: Late) -> Result<Late> {
    let until = indexed_until(db)?;
    if until != known.until {
        db.prepare_cached("DELETE FROM late WHERE message_id <= ?1")?.execute([until])?;
    }
    let past = known.last_id.max(until);
    db.prepare_cached(
        "INSERT INTO late (message_id, conversation, seq)
         SELECT message_id, conversation, seq FROM main.message WHERE message_id > ?1",
    )?
    .execute(params![past])?;
    let newest: Option<i64> =
        db.prepare_cached("SELECT MAX(message_id) FROM late")?.query_row([], |row| row.get(0))?;
    Ok(Late { until, last_id: newest.unwrap_or(past) })
}

#[cfg(test)]
mod tests {
    use rusqlite::OpenFlags;

    use super::{super::schema, *};

    #[test]
    fn the_views_are_searched_by_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imago.db");
        let mut first = Connection::open(&path).unwrap();
        schema::prepare(&first).unwrap();
        schema::migrate(&mut first).unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let overlay = Overlay::new(Connection::open_with_flags(&path, flags).unwrap()).unwrap();
        for sql in [
            "SELECT p.seq, m.body FROM place p CROSS JOIN message m ON m.message_id = p.message_id
             WHERE p.conversation = 1 AND p.seq > 2 AND p.seq <= 9 AND EXISTS (
                 SELECT 1 FROM member k WHERE k.app = 'x' AND k.account = 'a' AND k.conversation = 1
                     AND p.seq > k.since)
             ORDER BY p.seq DESC LIMIT 3",
            "SELECT seq, message_id FROM place WHERE conversation = 1 ORDER BY seq DESC LIMIT 1",
            "SELECT 1 FROM place p CROSS JOIN message m ON m.message_id = p.message_id
             WHERE p.conversation = 1 AND p.seq > 2 AND m.sender <> 'a' LIMIT 5",
            "SELECT c.last_seq, c.last_id FROM member k JOIN conversation c ON c.id = k.conversation
             WHERE k.app = 'x' AND k.account = 'a'",
            "SELECT id FROM conversation WHERE app = 'x' AND a = 'a' AND b = 'b'",
        ] {
            let mut plan =
                overlay.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            let is_whole = |step: &&String| step.starts_with("SCAN") || step.contains("TEMP B-TREE");
            assert_eq!(steps.iter().find(is_whole), None, "{sql}: {steps:#?}");
        }
    }
}
