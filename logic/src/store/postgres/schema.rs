//! The versions of the schema, applied at start by one server at a time.

use tokio_postgres::Client;

use super::{failure::Failure, locks};

/// Each version's changes; how many are applied stands in `imago_schema`.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// Brings the schema up to date; refuses one of a later Imago.
pub(super) async fn migrate(client: &mut Client) -> Result<(), Failure> {
    let transaction = client.transaction().await?;
    // Until the commit.
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&locks::SCHEMA]).await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS imago_schema (version bigint NOT NULL)")
        .await?;
    let row =
        transaction.query_one("SELECT coalesce(max(version), 0) FROM imago_schema", &[]).await?;
    let version: i64 = row.try_get(0)?;
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
    let version = MIGRATIONS.len() as i64;
    transaction.batch_execute("DELETE FROM imago_schema").await?;
    transaction.execute("INSERT INTO imago_schema VALUES ($1)", &[&version]).await?;
    transaction.commit().await?;
    tracing::info!(version, "database schema is up to date");
    Ok(())
}
