//! The versions of the schema, applied at start by one server at a time.

use tokio_postgres::Client;

use super::{failure::Failure, rows::values};

/// Each version's changes; how many are applied stands in `imago_schema`.
pub(super) const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/1.sql"),
    concat!(
        include_str!("migrations/2/tables.sql"),
        include_str!("migrations/2/append.sql"),
        include_str!("migrations/2/devices.sql"),
        include_str!("migrations/2/reads.sql"),
        include_str!("migrations/2/history.sql"),
        include_str!("migrations/2/groups.sql"),
    ),
    include_str!("migrations/3.sql"),
];

/// Advisory lock of a server that changes the schema ("imago" in ASCII, and a counter), the same in every
/// version.
const LOCK: i64 = 0x69_6d_61_67_6f_01;

/// Limits of the migrating transaction. A change of a large table may take long, while other servers wait. A
/// server that vanishes within it holds the lock no longer than this.
const LIMITS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = '5s'";
/// How long a change waits for users of a table: others wait behind it.
const NO_LONG_WAITS: &str = "SET LOCAL lock_timeout = '4s'";

/// Brings the schema up to date, without prepared statements (see [`call`](super::rows::call)); refuses one of a later Imago, and a database whose transactions
/// do not see what was committed before each statement.
pub(super) async fn migrate(client: &mut Client) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LIMITS).await?;
    let isolation = "SELECT current_setting('transaction_isolation')";
    let isolation: String = transaction.query_typed_one(isolation, &[]).await?.try_get(0)?;
    if isolation != "read committed" {
        return Err(Failure::Refused(format!(
            "default_transaction_isolation is {isolation:?}, expected \"read committed\": set it for this user (ALTER ROLE … SET)"
        )));
    }
    // Until the commit.
    transaction.query_typed("SELECT pg_advisory_xact_lock($1)", &values![LOCK => INT8]).await?;
    transaction.batch_execute(NO_LONG_WAITS).await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS imago_schema (version bigint NOT NULL)")
        .await?;
    let version = "SELECT coalesce(max(version), 0) FROM imago_schema";
    let version: i64 = transaction.query_typed_one(version, &[]).await?.try_get(0)?;
    let applied = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(missing) = MIGRATIONS.get(applied..) else {
        return Err(Failure::Refused(format!(
            "schema version {version} is of a later Imago, this one knows up to {}; use that one, or another database",
            MIGRATIONS.len()
        )));
    };
    if missing.is_empty() {
        return Ok(());
    }
    for migration in missing {
        transaction.batch_execute(migration).await?;
    }
    let version = MIGRATIONS.len();
    transaction
        .batch_execute(&format!(
            "DELETE FROM imago_schema; INSERT INTO imago_schema VALUES ({version})"
        ))
        .await?;
    transaction.commit().await?;
    tracing::info!(version, "database schema is up to date");
    Ok(())
}
