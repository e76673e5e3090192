//! The messages that devices have and miss, each in one statement, and so in one snapshot of the database.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use imago_proto::{Account, App, ConversationId, Seq, link::Mark};
use tokio_postgres::Row;

use super::{
    failure::Failure,
    rows::{call, counted, envelope, index_of_rank, is_there, mark, stored, values},
};
use crate::store::{
    Device, Given, INDEX_MAX, Listing, Owed, Page, Stored,
    ids::{Kind, conversation_row, seq, signed},
};

/// The snapshot is that in which the messages are read.
const MISSING: &str = "
    SELECT s.mark, l.*
    FROM (SELECT txid_current_snapshot()::text AS mark) s
    LEFT JOIN missing_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
                               $16, $17, $18) l ON true";
const CONTENTS: &str = "SELECT * FROM read_contents($1, $2, $3)";

/// Column of a [`MISSING`] message's id.
const MESSAGE: usize = 1;
/// Column of the sequence that its reader was given before.
const START: usize = 11;

pub(super) fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The messages of a device that are read.
struct Wanted<'a> {
    everything: bool,
    only_others: bool,
    /// Leaves out what the device itself sent.
    but_its_own: bool,
    with_content: bool,
    limit: usize,
    /// Where to begin in some conversations, by key.
    named: BTreeMap<i64, i64>,
    mark: &'a Mark,
    have: &'a [Given],
}

/// Returns the number by which the database knows a conversation.
fn key(conversation: &ConversationId) -> Option<i64> {
    let (kind, row) = conversation_row(conversation.as_str())?;
    row.checked_mul(2)?.checked_add(i64::from(kind == Kind::Group))
}

/// Converts a commit to the type of databases.
fn commit(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Wanted<'_> {
    async fn read(self, client: &Object, device: &Device) -> Result<Vec<Row>, Failure> {
        let (app, account) = (device.app.as_str().as_bytes(), device.account.as_str().as_bytes());
        let (named, seqs): (Vec<i64>, Vec<i64>) = self.named.into_iter().unzip();
        let open: Vec<i64> = self.mark.open.iter().copied().map(commit).collect();
        let mut parts: BTreeMap<i64, Vec<&Given>> = BTreeMap::new();
        for given in self.have {
            if let Some(key) = key(&given.conversation) {
                parts.entry(key).or_default().push(given);
            }
        }
        let had: Vec<i64> = parts.keys().copied().collect();
        let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
        let (mut froms, mut tos) = (Vec::new(), Vec::new());
        for parts in parts.into_values() {
            firsts.push(counted(froms.len()));
            froms.extend(parts.iter().map(|given| signed(given.from)));
            tos.extend(parts.iter().map(|given| signed(given.to)));
            lasts.push(counted(froms.len()) - 1);
        }
        let values = values![
            app => BYTEA,
            account => BYTEA,
            device.name.as_bytes() => BYTEA,
            self.everything => BOOL,
            self.only_others => BOOL,
            self.but_its_own => BOOL,
            self.with_content => BOOL,
            limited(self.limit) => INT8,
            named => INT8_ARRAY,
            seqs => INT8_ARRAY,
            commit(self.mark.low) => INT8,
            commit(self.mark.high) => INT8,
            open => INT8_ARRAY,
            had => INT8_ARRAY,
            firsts => INT4_ARRAY,
            lasts => INT4_ARRAY,
            froms => INT8_ARRAY,
            tos => INT8_ARRAY,
        ];
        call(client, MISSING, values).await
    }
}

/// Returns the messages of [`MISSING`] rows. The first row has none where nothing is missing.
fn all_stored(rows: &[Row]) -> Result<Vec<Stored>, Failure> {
    let mut messages = Vec::with_capacity(rows.len());
    for row in rows {
        if is_there(row, MESSAGE)? {
            messages.push(stored(row, MESSAGE)?);
        }
    }
    Ok(messages)
}

pub(super) async fn index(
    client: &Object,
    device: &Device,
    page: Page,
) -> Result<Listing, Failure> {
    let wanted = Wanted {
        everything: page == Page::Everything,
        only_others: true,
        but_its_own: false,
        with_content: false,
        limit: INDEX_MAX,
        named: BTreeMap::new(),
        mark: &Mark::default(),
        have: &[],
    };
    let mut messages = Vec::new();
    // By conversation and the sequence before: a member may have been in a group several times.
    let mut given: BTreeMap<(String, u64), Given> = BTreeMap::new();
    for row in wanted.read(client, device).await? {
        if !is_there(&row, MESSAGE)? {
            continue;
        }
        let message = envelope(&row, MESSAGE)?;
        let start = seq(row.try_get(START)?).0;
        let conversation = message.conversation.clone();
        given
            .entry((conversation.to_string(), start))
            .and_modify(|given| given.to = message.seq)
            .or_insert(Given { conversation, from: Seq(start + 1), to: message.seq });
        messages.push(message);
    }
    Ok(Listing { messages, given: given.into_values().collect() })
}

pub(super) async fn sync(
    client: &Object,
    device: &Device,
    cursors: &[(ConversationId, Seq)],
    limit: usize,
) -> Result<Vec<Stored>, Failure> {
    let named = cursors.iter().filter_map(|(id, seq)| Some((key(id)?, signed(*seq))));
    let wanted = Wanted {
        everything: false,
        only_others: false,
        but_its_own: false,
        with_content: true,
        limit,
        named: named.collect(),
        mark: &Mark::default(),
        have: &[],
    };
    all_stored(&wanted.read(client, device).await?)
}

pub(super) async fn owed(
    client: &Object,
    device: &Device,
    mark: &Mark,
    have: &[Given],
    limit: usize,
) -> Result<Owed, Failure> {
    let wanted = Wanted {
        everything: false,
        only_others: false,
        but_its_own: true,
        with_content: true,
        limit,
        named: BTreeMap::new(),
        mark,
        have,
    };
    let rows = wanted.read(client, device).await?;
    let none = || Failure::Again("expected a snapshot, got none".to_owned());
    let mark = self::mark(rows.first().ok_or_else(none)?, 0)?;
    Ok(Owed { messages: all_stored(&rows)?, mark })
}

pub(super) async fn contents(
    client: &Object,
    app: &App,
    account: &Account,
    ids: &[i64],
) -> Result<Vec<Option<Stored>>, Failure> {
    let mut contents = vec![None; ids.len()];
    let (app, account) = (app.as_str().as_bytes(), account.as_str().as_bytes());
    let asked = values![app => BYTEA, account => BYTEA, ids => INT8_ARRAY];
    for row in call(client, CONTENTS, asked).await? {
        if let Some(slot) = contents.get_mut(index_of_rank(&row, 0)?) {
            *slot = Some(stored(&row, 1)?);
        }
    }
    Ok(contents)
}
