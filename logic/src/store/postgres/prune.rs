//! Removal of old messages and devices, a little at a time.

use deadpool_postgres::Object;

use super::{
    failure::Failure,
    rows::{call, values},
};

/// Rows removed in one go, so that no transaction takes long.
const BATCH: i64 = 500;

pub(super) async fn prune(client: &Object, below: i64) -> Result<usize, Failure> {
    let removed =
        call(client, "SELECT prune($1, $2)", values![below => INT8, BATCH => INT8]).await?;
    let removed: i64 = removed.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}
