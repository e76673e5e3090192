//! A small write and read, which find out whether the database can be used.

use deadpool_postgres::{Object, Pool};
use imago_kit::unix_nanos;
use tokio_postgres::Row;

use super::{
    failure::Failure,
    pool,
    rows::{Values, call, values},
};

/// Rows of the table. Most servers have different rows, so that the lock of a server that is cut off within its
/// probe does not block the others.
const SLOTS: i64 = 4096;

const PROBE: &str = "
    INSERT INTO probe (slot, at) VALUES ($1, $2)
    ON CONFLICT (slot) DO UPDATE SET at = excluded.at
    RETURNING at";

const READ: &str = "SELECT max(version) FROM imago_schema";

/// Reads a row.
pub(super) async fn read(pool: &Pool) -> Result<(), Failure> {
    let client = Untrusted(Some(pool::get(pool).await?));
    client.call(READ, []).await?;
    client.trust();
    Ok(())
}

/// The row that a store writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(i64);

// === impl Slot ===

impl Slot {
    pub(super) fn random() -> Self {
        Self(rand::random_range(0..SLOTS))
    }

    /// Writes the row, and reads it.
    pub(super) async fn probe(self, pool: &Pool) -> Result<(), Failure> {
        let client = Untrusted(Some(pool::get(pool).await?));
        let at = unix_nanos();
        if client.write(self.0, at).await? != at {
            return Err(Failure::Refused("the database gives back something else".to_owned()));
        }
        client.trust();
        Ok(())
    }
}

/// A connection that is closed, not used again, where its query fails or is given up.
struct Untrusted(Option<Object>);

// === impl Untrusted ===

impl Untrusted {
    async fn write(&self, slot: i64, at: i64) -> Result<i64, Failure> {
        let rows = self.call(PROBE, values![slot => INT8, at => INT8]).await?;
        let none = || Failure::Refused("the database gives back nothing".to_owned());
        Ok(rows.first().ok_or_else(none)?.try_get(0)?)
    }

    async fn call<const N: usize>(
        &self,
        statement: &str,
        values: Values<'_, N>,
    ) -> Result<Vec<Row>, Failure> {
        let taken = || Failure::Refused("the connection is gone".to_owned());
        call(self.0.as_ref().ok_or_else(taken)?, statement, values).await
    }

    fn trust(mut self) {
        self.0 = None;
    }
}

impl Drop for Untrusted {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}
