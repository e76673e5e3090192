//! Logins of many devices, noted by one statement.

use std::hash::{DefaultHasher, Hash, Hasher};

use async_trait::async_trait;
use deadpool_postgres::Object;
use imago_kit::unix_nanos;
use imago_proto::link::Mark;

use super::{
    failure::Failure,
    queue::{Job, Locked, Work},
    rows::{call, mark, values},
};
use crate::store::Device;

const ENTER: &str = "SELECT enter_devices($1, $2, $3, $4)";

impl Job for Device {
    fn line(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Makes devices known.
pub(super) struct Enter;

#[async_trait]
impl Work for Enter {
    type Job = Device;
    type Outcome = Mark;

    async fn run(
        &self,
        client: &Object,
        devices: &[&Device],
        _: Locked,
    ) -> Result<Vec<Option<Mark>>, Failure> {
        let apps: Vec<&[u8]> =
            devices.iter().map(|device| device.app.as_str().as_bytes()).collect();
        let accounts = devices.iter().map(|device| device.account.as_str().as_bytes());
        let accounts: Vec<&[u8]> = accounts.collect();
        let names: Vec<&[u8]> = devices.iter().map(|device| device.name.as_bytes()).collect();
        let values = values![
            apps => BYTEA_ARRAY,
            accounts => BYTEA_ARRAY,
            names => BYTEA_ARRAY,
            unix_nanos() => INT8,
        ];
        let rows = call(client, ENTER, values).await?;
        let none = || Failure::Again("expected a snapshot, got none".to_owned());
        let mark = mark(rows.first().ok_or_else(none)?, 0)?;
        Ok(vec![Some(mark); devices.len()])
    }
}
