//! Acknowledgements of many accounts, written in one transaction.

use std::collections::BTreeMap;

use async_trait::async_trait;
use deadpool_postgres::Object;
use futures::try_join;
use imago_proto::{Account, App, ConversationId, Seq};

use super::{failure::Failure, queue::Work, rows::Values};
use crate::store::ids::{Kind, conversation_row, signed};

/// Another's update in between is looked at again: no cursor goes back (PostgreSQL 15, 13.2.1).
const UNTIL: &str = "
    UPDATE member k SET cursor = t.last
    FROM (
        SELECT k.app, k.account, k.conversation, k.since,
               last_until(c.id, greatest(k.cursor, k.since), coalesce(k.until, c.head_seq), s.id) AS last
        FROM unnest($1::bytea[], $2::bytea[], $3::bigint[]) AS s (app, account, id)
        JOIN member k ON k.app = s.app AND k.account = s.account
        JOIN conversation c ON c.id = k.conversation
        WHERE greatest(k.cursor, k.since) < coalesce(k.until, c.head_seq)
    ) t
    WHERE k.app = t.app AND k.account = t.account AND k.conversation = t.conversation
      AND k.since = t.since AND k.cursor < t.last";
const CURSORS: &str = "
    UPDATE member k SET cursor = least(s.seq, coalesce(k.until, c.head_seq))
    FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::boolean[], $5::bigint[])
             AS s (app, account, conversation, is_group, seq)
    JOIN conversation c ON c.id = s.conversation AND (c.a = '') = s.is_group
    WHERE k.app = s.app AND k.account = s.account AND k.conversation = s.conversation
      AND k.cursor < least(s.seq, coalesce(k.until, c.head_seq))";

/// What an account has.
pub(super) struct Ack {
    pub(super) app: App,
    pub(super) account: Account,
    /// Everything up to this id; 0: nothing is said of that.
    pub(super) until: i64,
    pub(super) cursors: Vec<(ConversationId, Seq)>,
}

/// Stores acknowledgements.
pub(super) struct Acknowledge;

#[async_trait]
impl Work for Acknowledge {
    type Job = Ack;
    type Outcome = ();

    async fn run(&self, client: &Object, acks: &[&Ack]) -> Result<Vec<()>, Failure> {
        // One row for each, sorted, so that servers that do the same meet their rows in one order.
        let mut untils: BTreeMap<(&[u8], &[u8]), i64> = BTreeMap::new();
        let mut cursors: BTreeMap<(&[u8], &[u8], i64, bool), i64> = BTreeMap::new();
        for ack in acks {
            let (app, account) = (ack.app.as_str().as_bytes(), ack.account.as_str().as_bytes());
            if ack.until > 0 {
                let until = untils.entry((app, account)).or_default();
                *until = ack.until.max(*until);
            }
            for (conversation, seq) in &ack.cursors {
                let Some((kind, row)) = conversation_row(conversation.as_str()) else { continue };
                let cursor = cursors.entry((app, account, row, kind == Kind::Group)).or_default();
                *cursor = signed(*seq).max(*cursor);
            }
        }
        let (until, cursor) =
            try_join!(client.prepare_cached(UNTIL), client.prepare_cached(CURSORS))?;
        let apps: Vec<&[u8]> = untils.keys().map(|key| key.0).collect();
        let accounts: Vec<&[u8]> = untils.keys().map(|key| key.1).collect();
        let ids: Vec<i64> = untils.values().copied().collect();
        let cursor_apps: Vec<&[u8]> = cursors.keys().map(|key| key.0).collect();
        let cursor_accounts: Vec<&[u8]> = cursors.keys().map(|key| key.1).collect();
        let rows: Vec<i64> = cursors.keys().map(|key| key.2).collect();
        let are_groups: Vec<bool> = cursors.keys().map(|key| key.3).collect();
        let seqs: Vec<i64> = cursors.values().copied().collect();
        let untils: Values<'_, 3> = [&apps, &accounts, &ids];
        let cursors: Values<'_, 5> = [&cursor_apps, &cursor_accounts, &rows, &are_groups, &seqs];
        try_join!(
            client.batch_execute("BEGIN"),
            client.execute(&until, &untils),
            client.execute(&cursor, &cursors),
            client.batch_execute("COMMIT"),
        )?;
        Ok(vec![(); acks.len()])
    }
}
