//! Message ids: times with the number of a node, which this server leases in the database.

use std::{
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use deadpool_postgres::Object;
use imago_kit::unix_nanos;
use parking_lot::Mutex;

use super::{
    failure::Failure,
    rows::{call, values},
};

/// Bits of an id that are the node's number.
const NODE_BITS: u32 = 10;

/// How often a lease is renewed: three times before it expires by the database's clock.
pub(super) const RENEW: Duration = Duration::from_secs(20);

/// Leases the number that has been free for longest: its last holder is the least likely to use it still.
const TAKE: &str = "
    UPDATE node SET owner = $1, expires = now() + interval '60s'
    WHERE number = (
        SELECT number FROM node WHERE expires < now()
        ORDER BY expires, number LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING number";
const RENEWED: &str = "
    UPDATE node SET expires = now() + interval '60s' WHERE number = $1 AND owner = $2
    RETURNING number";

/// Creates message ids: Unix nanoseconds whose last ten bits are the node's number. The ids of one server are
/// unique even if its clock goes back, and servers with different numbers have different ids. Should two
/// servers have the same number for a while, the primary key of messages refuses the second of two equal ids.
#[derive(Debug)]
pub(super) struct Node {
    owner: String,
    number: AtomicI32,
    last: Mutex<i64>,
}

// === impl Node ===

impl Node {
    /// Creates a node without a number.
    pub(super) fn new() -> Self {
        let owner = format!("{:032x}", rand::random::<u128>());
        Self { owner, number: AtomicI32::new(-1), last: Mutex::new(0) }
    }

    /// Returns the number.
    pub(super) fn number(&self) -> i32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Returns an id above all that this node has returned before, and a send time of at most that id.
    pub(super) fn next_id(&self) -> (i64, i64) {
        self.id_at(unix_nanos())
    }

    fn id_at(&self, now: i64) -> (i64, i64) {
        let mut last = self.last.lock();
        *last = (now >> NODE_BITS).max(*last + 1);
        let id = (*last << NODE_BITS) | i64::from(self.number().max(0));
        (id, now.min(id))
    }

    /// Renews the lease of the number, or leases another number after a loss.
    pub(super) async fn renew(&self, client: &Object) -> Result<(), Failure> {
        let number = self.number();
        if number >= 0 {
            let held = values![number => INT4, self.owner => TEXT];
            if !call(client, RENEWED, held).await?.is_empty() {
                return Ok(());
            }
            tracing::warn!(number, "another server has this node's number, taking another one");
        }
        let taken = call(client, TAKE, values![self.owner => TEXT]).await?;
        let none = "1024 servers have leased a node number in this database, and no more can";
        let row = taken.first().ok_or_else(|| Failure::Refused(none.to_owned()))?;
        self.number.store(row.try_get(0)?, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn node(number: i32) -> Node {
        let node = Node::new();
        node.number.store(number, Ordering::Relaxed);
        node
    }

    #[test]
    fn ids_rise_and_are_not_below_their_send_times_even_if_the_clock_goes_back() {
        let node = node(1023);
        let mut last = 0;
        for now in [5_000_000, 5_000_001, 5_000_001, 9_000_000, 6_000_000, 6_000_000] {
            let (id, send_time) = node.id_at(now);
            assert!(id > last && send_time <= id && send_time <= now, "{id} at {now}");
            assert!(now - send_time < 1024);
            last = id;
        }
    }

    #[test]
    fn no_two_nodes_with_equal_clocks_give_one_id() {
        let nodes = [node(0), node(1), node(1023)];
        let times = (0..1000).map(|number| 1_700_000_000_000_000_000 + number / 3);
        let ids: Vec<i64> =
            times.flat_map(|now| nodes.each_ref().map(|node| node.id_at(now).0)).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }
}
