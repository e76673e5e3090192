//! Removal of old messages, a little at a time.

use deadpool_postgres::Object;

use super::failure::Failure;

/// Messages removed in one go, so that no transaction takes long.
const BATCH: i64 = 500;

/// The newest message of all stays: from its id the next one is counted. What another server is
/// removing is left to it.
const MESSAGES: &str = "
    DELETE FROM message WHERE message_id IN (
        SELECT message_id FROM message
        WHERE message_id < least($1, (SELECT max(message_id) FROM message))
        ORDER BY message_id LIMIT $2 FOR UPDATE SKIP LOCKED)";
const CHANGES: &str = "
    DELETE FROM change WHERE request IN (
        SELECT request FROM change WHERE made_at < $1
        ORDER BY made_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

pub(super) async fn prune(client: &Object, below: i64) -> Result<usize, Failure> {
    let changes = client.prepare_cached(CHANGES).await?;
    client.execute(&changes, &[&below, &BATCH]).await?;
    let messages = client.prepare_cached(MESSAGES).await?;
    let removed = client.execute(&messages, &[&below, &BATCH]).await?;
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}
