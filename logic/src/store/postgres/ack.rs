//! Acknowledgements of many devices, written by one statement.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use async_trait::async_trait;
use deadpool_postgres::Object;
use imago_kit::unix_nanos;
use imago_proto::{ConversationId, Seq};

use super::{
    failure::Failure,
    queue::{Job, Locked, Work},
    rows::{call, counted, index_of_rank, values},
};
use crate::store::{
    Device, Given,
    ids::{Kind, conversation_id, conversation_row, seq, signed},
};

const ACKNOWLEDGE: &str =
    "SELECT * FROM acknowledge($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

/// The parts that a device was given.
pub(super) struct Ack {
    pub(super) device: Device,
    pub(super) given: Vec<Given>,
}

impl Job for Ack {
    /// Returns the line of the account: its devices share read marks.
    fn line(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.device.app, &self.device.account).hash(&mut hasher);
        hasher.finish()
    }
}

/// Stores acknowledgements.
pub(super) struct Acknowledge;

/// A conversation of a device.
type Named = (usize, Kind, i64);

#[async_trait]
impl Work for Acknowledge {
    type Job = Ack;
    type Outcome = Vec<(ConversationId, Seq)>;

    async fn run(
        &self,
        client: &Object,
        acks: &[&Ack],
        locked: Locked,
    ) -> Result<Vec<Option<Self::Outcome>>, Failure> {
        let batch = Batch::new(acks);
        let waits = locked == Locked::WaitForFirst;
        let values = values![
            waits => BOOL,
            batch.apps => BYTEA_ARRAY,
            batch.accounts => BYTEA_ARRAY,
            batch.names => BYTEA_ARRAY,
            unix_nanos() => INT8,
            batch.devices => INT4_ARRAY,
            batch.conversations => INT8_ARRAY,
            batch.are_groups => BOOL_ARRAY,
            batch.firsts => INT4_ARRAY,
            batch.lasts => INT4_ARRAY,
            batch.froms => INT8_ARRAY,
            batch.tos => INT8_ARRAY,
        ];
        let mut cursors: HashMap<usize, Option<i64>> = HashMap::new();
        if !batch.devices.is_empty() {
            for row in call(client, ACKNOWLEDGE, values).await? {
                cursors.insert(index_of_rank(&row, 0)?, row.try_get(1)?);
            }
        }
        Ok(batch.named.iter().map(|named| outcome(named, &cursors)).collect())
    }
}

/// Returns the cursors that a device has named; `None` where one of them was left out.
fn outcome(
    named: &[(usize, Kind, i64)],
    cursors: &HashMap<usize, Option<i64>>,
) -> Option<Vec<(ConversationId, Seq)>> {
    let reached = named.iter().filter_map(|(index, kind, row)| {
        let cursor = cursors.get(index)?;
        Some(cursor.map(|cursor| (conversation_id(*kind, *row), seq(cursor))))
    });
    reached.collect()
}

/// Acknowledgements as columns: each device once, each of its conversations once, and the parts of
/// one conversation side by side.
#[derive(Default)]
struct Batch<'a> {
    apps: Vec<&'a [u8]>,
    accounts: Vec<&'a [u8]>,
    names: Vec<&'a [u8]>,
    devices: Vec<i32>,
    conversations: Vec<i64>,
    are_groups: Vec<bool>,
    firsts: Vec<i32>,
    lasts: Vec<i32>,
    froms: Vec<i64>,
    tos: Vec<i64>,
    /// For each acknowledgement, the indexes of its conversations.
    named: Vec<Vec<Named>>,
}

impl<'a> Batch<'a> {
    fn new(acks: &[&'a Ack]) -> Self {
        let mut batch = Self::default();
        let (mut devices, mut indexes) = (HashMap::new(), HashMap::<Named, usize>::new());
        let mut parts: Vec<Vec<(i64, i64)>> = Vec::new();
        for ack in acks {
            let device = *devices.entry(&ack.device).or_insert_with(|| batch.device(&ack.device));
            let mut named: Vec<Named> = Vec::new();
            for given in &ack.given {
                let Some((kind, row)) = conversation_row(given.conversation.as_str()) else {
                    continue;
                };
                let index = *indexes.entry((device, kind, row)).or_insert_with(|| {
                    parts.push(Vec::new());
                    batch.devices.push(counted(device));
                    batch.conversations.push(row);
                    batch.are_groups.push(kind == Kind::Group);
                    batch.devices.len() - 1
                });
                if let Some(parts) = parts.get_mut(index) {
                    parts.push((signed(given.from), signed(given.to)));
                }
                if !named.contains(&(index, kind, row)) {
                    named.push((index, kind, row));
                }
            }
            batch.named.push(named);
        }
        for parts in parts {
            batch.firsts.push(counted(batch.froms.len()));
            for (from, to) in joined(parts) {
                batch.froms.push(from);
                batch.tos.push(to);
            }
            batch.lasts.push(counted(batch.froms.len()) - 1);
        }
        batch
    }

    fn device(&mut self, device: &'a Device) -> usize {
        self.apps.push(device.app.as_str().as_bytes());
        self.accounts.push(device.account.as_str().as_bytes());
        self.names.push(device.name.as_bytes());
        self.names.len() - 1
    }
}

/// Parts in the order of their beginnings, those that touch or overlap as one.
fn joined(mut parts: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    parts.retain(|(from, to)| from <= to);
    parts.sort_unstable();
    let mut joined: Vec<(i64, i64)> = Vec::with_capacity(parts.len());
    for (from, to) in parts {
        match joined.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_touch_are_one() {
        let parts = vec![(7, 7), (4, 6), (1, 3), (9, 10), (2, 3), (6, 5), (12, i64::MAX), (11, 11)];
        assert_eq!(joined(parts), [(1, 7), (9, i64::MAX)]);
        assert_eq!(joined(Vec::new()), []);
    }
}
