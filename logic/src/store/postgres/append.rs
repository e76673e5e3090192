//! Messages of many senders, stored by one statement.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use async_trait::async_trait;
use deadpool_postgres::Object;
use imago_proto::COMMIT_UNKNOWN;
use quick_cache::sync::Cache;
use tokio_postgres::Row;

use super::{
    columns::{Columns, Home, Pair},
    failure::Failure,
    node::Node,
    queue::{Job, Locked, Work},
    rows::{call, content, digest, index_of_rank, target, text, values},
};
use crate::store::{
    Appended, Denied, First, NewMessage,
    ids::{Kind, conversation_id, seq},
};

/// Direct conversations whose rows are cached: about 20 MB. Overflow policy: read again.
const REMEMBERED: usize = 100_000;

const APPEND: &str = "SELECT * FROM append_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
    $12, $13, $14, $15, $16)";

type Outcome = Result<Appended, Denied>;

impl Job for NewMessage {
    /// Returns the line of the conversation.
    fn line(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Home::of(self).hash(&mut hasher);
        hasher.finish()
    }

    fn is_overtaking(&self) -> bool {
        self.chain.is_broken()
    }

    fn failed(&self) {
        self.chain.break_off();
    }
}

/// Stores messages.
pub(super) struct Append {
    node: Arc<Node>,
    /// Rows of direct conversations, which never change nor go.
    known: Cache<Pair, i64>,
}

// === impl Append ===

impl Append {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, known: Cache::new(REMEMBERED) }
    }
}

#[async_trait]
impl Work for Append {
    type Job = NewMessage;
    type Outcome = Outcome;

    async fn run(
        &self,
        client: &Object,
        messages: &[&NewMessage],
        locked: Locked,
    ) -> Result<Vec<Option<Outcome>>, Failure> {
        let requests: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| digest(&message.app, &message.sender, &message.request))
            .collect();
        let mut columns = Columns::default();
        let Asked { firsts, sent } = Asked::new(&requests);
        for index in &sent {
            if let (Some(message), Some(request)) = (messages.get(*index), requests.get(*index)) {
                columns.push(message, request, &self.node, &self.known);
            }
        }
        let waits = locked == Locked::WaitForFirst;
        let values = values![
            waits => BOOL,
            columns.rows => INT8_ARRAY,
            columns.apps => BYTEA_ARRAY,
            columns.ones => BYTEA_ARRAY,
            columns.others => BYTEA_ARRAY,
            columns.are_groups => BOOL_ARRAY,
            columns.homes => INT4_ARRAY,
            columns.senders => BYTEA_ARRAY,
            columns.are_open => BOOL_ARRAY,
            columns.requests => BYTEA_ARRAY,
            columns.kinds => INT4_ARRAY,
            columns.bodies => BYTEA_ARRAY,
            columns.extras => BYTEA_ARRAY,
            columns.ids => INT8_ARRAY,
            columns.send_times => INT8_ARRAY,
            columns.devices => BYTEA_ARRAY,
        ];
        let rows = call(client, APPEND, values).await?;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; sent.len()];
        let mut homes = vec![0; sent.len()];
        for row in &rows {
            let index = index_of_rank(row, 0)?;
            let given = (columns.ids.get(index), columns.send_times.get(index));
            let (Some(id), Some(send_time)) = given else { continue };
            if let (Some(outcome), Some(home)) = (outcomes.get_mut(index), homes.get_mut(index)) {
                *outcome = outcome_of(row, *id, *send_time)?;
                *home = stored_in(row)?;
            }
        }
        self.remember(columns, &homes);
        Ok(firsts
            .into_iter()
            .enumerate()
            .map(|(index, first)| {
                let outcome = outcomes.get(first.sent).cloned().flatten()?;
                match messages.get(first.index) {
                    Some(message) if first.index != index => Some(repeat(outcome, message)),
                    _ => Some(outcome),
                }
            })
            .collect())
    }
}

impl Append {
    /// Remembers rows of conversations that were not known: `stored` tells in which each message is.
    fn remember(&self, columns: Columns<'_>, stored: &[i64]) {
        let homes = columns.homes.clone();
        let mut unknown = columns.unknown();
        for (home, row) in homes.iter().zip(stored) {
            if *row > 0
                && let Some(pair) = unknown.remove(home)
            {
                self.known.insert(pair, *row);
            }
        }
    }
}

/// Of messages with equal requests, only the first is sent to the database.
struct Asked {
    /// For each message, the first one with its request.
    firsts: Vec<Asking>,
    /// Indexes of those that are sent.
    sent: Vec<usize>,
}

/// A message that is sent, by its index among all messages, and among those sent.
#[derive(Clone, Copy)]
struct Asking {
    index: usize,
    sent: usize,
}

impl Asked {
    fn new(requests: &[Vec<u8>]) -> Self {
        let mut known: HashMap<&[u8], Asking> = HashMap::new();
        let mut sent = Vec::with_capacity(requests.len());
        let firsts =
            requests.iter().enumerate().map(|(index, request)| match known.entry(request) {
                Entry::Occupied(first) => *first.get(),
                Entry::Vacant(entry) => {
                    sent.push(index);
                    *entry.insert(Asking { index, sent: sent.len() - 1 })
                }
            });
        Self { firsts: firsts.collect(), sent }
    }
}

/// Returns the outcome for another message with the request of `first`.
fn repeat(outcome: Outcome, first: &NewMessage) -> Outcome {
    let appended = outcome?;
    if appended.repeat_of.is_some() {
        return Ok(appended);
    }
    let (target, content) = (first.target.clone(), first.content.clone());
    let repeat_of = Some(First { target, content });
    Ok(Appended { after: COMMIT_UNKNOWN, repeat_of, ..appended })
}

/// Returns the row of the conversation in which a message was stored; 0 where it was not.
fn stored_in(row: &Row) -> Result<i64, Failure> {
    let state: i32 = row.try_get(1)?;
    Ok(if state == 0 { row.try_get(2)? } else { 0 })
}

/// What became of a message: its state, conversation, sequence, commit of the one before it, version
/// of the group, whether it is a group's; and if it is a repeat, the first one as it is stored.
fn outcome_of(row: &Row, id: i64, send_time: i64) -> Result<Option<Outcome>, Failure> {
    let state: i32 = row.try_get(1)?;
    match state {
        0 | 1 => {}
        2 => return Ok(Some(Err(Denied::UnknownGroup))),
        3 => return Ok(Some(Err(Denied::NotMember))),
        _ => return Ok(None),
    }
    let (conversation, kind) = (row.try_get(2)?, Kind::of(row.try_get(6)?));
    let (after, version): (i64, i64) = (row.try_get(4)?, row.try_get(5)?);
    let appended = Appended {
        message_id: id,
        send_time,
        conversation: conversation_id(kind, conversation),
        seq: seq(row.try_get(3)?),
        after: after.unsigned_abs(),
        members: version.unsigned_abs(),
        repeat_of: None,
    };
    if state == 0 {
        return Ok(Some(Ok(appended)));
    }
    let target = target(kind, conversation, text(row, 7)?);
    Ok(Some(Ok(Appended {
        message_id: row.try_get(8)?,
        send_time: row.try_get(9)?,
        after: COMMIT_UNKNOWN,
        repeat_of: Some(First { target, content: content(row, 10)? }),
        ..appended
    })))
}
