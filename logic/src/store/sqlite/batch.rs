//! A transaction that several writes share, and what it need not read again.

use std::collections::HashMap;

use imago_proto::{Account, App};
use rusqlite::{OptionalExtension, Result, Transaction, params};

use super::super::ids::{FIRST_ID, sides};

/// Conversations that are remembered. Overflow policy: all are forgotten, and read again.
const KNOWN_MAX: usize = 100_000;

/// A direct conversation by its app and accounts, in the order in which they are stored.
type Sides = (App, Account, Account);

/// Rows of direct conversations that are committed: no row ever changes or goes.
#[derive(Debug, Default)]
pub(super) struct Known {
    rows: HashMap<Sides, i64>,
}

/// A transaction that several writes share.
pub(super) struct Batch<'a> {
    transaction: Transaction<'a>,
    known: &'a mut Known,
    /// Rows of direct conversations that this transaction has made or found.
    met: HashMap<Sides, i64>,
    /// The newest message id, once it was needed.
    last_id: Option<i64>,
    /// The last sequences of conversations that messages were added to, not yet written: one write
    /// for each conversation, not for each message.
    heads: HashMap<i64, i64>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(transaction: Transaction<'a>, known: &'a mut Known) -> Self {
        let (met, heads) = (HashMap::new(), HashMap::new());
        Self { transaction, known, met, last_id: None, heads }
    }

    /// The transaction, with all that was written before in it.
    pub(super) fn settled(&mut self) -> Result<&Transaction<'a>> {
        if !self.heads.is_empty() {
            let mut update = self
                .transaction
                .prepare_cached("UPDATE conversation SET head_seq = ?2 WHERE id = ?1")?;
            for (conversation, head) in self.heads.drain() {
                update.execute([conversation, head])?;
            }
        }
        Ok(&self.transaction)
    }

    /// The transaction, without the last sequences of its conversations.
    pub(super) fn unsettled(&self) -> &Transaction<'a> {
        &self.transaction
    }

    pub(super) fn commit(mut self) -> Result<()> {
        self.settled()?;
        self.transaction.commit()?;
        if self.known.rows.len() + self.met.len() > KNOWN_MAX {
            self.known.rows = HashMap::new();
        }
        self.known.rows.extend(self.met);
        Ok(())
    }

    /// The sequence of a conversation's next message. The message has to be stored under it.
    pub(super) fn next_seq(&mut self, conversation: i64) -> Result<i64> {
        let head = match self.heads.get(&conversation) {
            Some(head) => *head,
            None => self
                .transaction
                .prepare_cached("SELECT head_seq FROM conversation WHERE id = ?1")?
                .query_row([conversation], |row| row.get(0))?,
        };
        Ok(head + 1)
    }

    /// Minted within the transaction, so ids rise in the order of commits, whichever process
    /// writes.
    pub(super) fn next_id(&mut self, now: i64) -> Result<i64> {
        let last = match self.last_id {
            Some(last) => last,
            None => self
                .transaction
                .prepare_cached("SELECT COALESCE(MAX(message_id), 0) FROM message")?
                .query_row([], |row| row.get(0))?,
        };
        Ok(now.max(last.saturating_add(1)).max(FIRST_ID))
    }

    /// A message was stored.
    pub(super) fn stored(&mut self, conversation: i64, seq: i64, id: i64) {
        self.heads.insert(conversation, seq);
        self.last_id = Some(id);
    }

    /// The row of the two accounts' conversation, if there is one.
    pub(super) fn find_conversation(
        &mut self,
        app: &App,
        one: &Account,
        other: &Account,
    ) -> Result<Option<i64>> {
        let (a, b) = sides(one, other);
        let key = (app.clone(), a.clone(), b.clone());
        if let Some(row) = self.known.rows.get(&key).or_else(|| self.met.get(&key)) {
            return Ok(Some(*row));
        }
        let found = self
            .transaction
            .prepare_cached("SELECT id FROM conversation WHERE app = ?1 AND a = ?2 AND b = ?3")?
            .query_row([app.as_str(), a.as_str(), b.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(row) = found {
            self.met.insert(key, row);
        }
        Ok(found)
    }

    /// Makes it, with its members.
    pub(super) fn make_conversation(
        &mut self,
        app: &App,
        one: &Account,
        other: &Account,
    ) -> Result<i64> {
        let (a, b) = sides(one, other);
        let db = &self.transaction;
        db.prepare_cached("INSERT INTO conversation (app, a, b) VALUES (?1, ?2, ?3)")?
            .execute([app.as_str(), a.as_str(), b.as_str()])?;
        let row = db.last_insert_rowid();
        let mut insert = db.prepare_cached(
            "INSERT INTO member (app, account, conversation) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?;
        for account in [a, b] {
            insert.execute(params![app.as_str(), account.as_str(), row])?;
        }
        self.met.insert((app.clone(), a.clone(), b.clone()), row);
        Ok(row)
    }
}
