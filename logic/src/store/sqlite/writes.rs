//! The writes, each within a batch's transaction.

use imago_proto::{Account, App, ConversationId, Seq};
use rusqlite::{OptionalExtension, Result, params};

use super::{
    super::{
        Appended, Content, Denied, First, NewMessage, Target,
        ids::{FIRST_ID, Kind, conversation_id, conversation_row, request_key, seq, sides, signed},
    },
    groups,
    reads::{Conversation, conversations, last_until},
    writer::Batch,
};
use crate::clock::unix_nanos;

/// Messages removed in one go, so that no commit takes long.
const PRUNE_BATCH: u32 = 500;

/// What a write gives where the database is well: its result, or why it may not be done.
pub(super) type Allowed<T> = Result<std::result::Result<T, Denied>>;

pub(super) fn append(batch: &mut Batch<'_>, message: &NewMessage) -> Allowed<Appended> {
    let request = request_key(&message.app, &message.sender, &message.request);
    if let Some(first) = find_request(batch, &message.sender, &request)? {
        return Ok(Ok(first));
    }
    let (kind, conversation, members) = match &message.target {
        Target::Account(receiver) => {
            (Kind::Direct, conversation_of(batch, &message.app, &message.sender, receiver)?, 0)
        }
        Target::Group(group) => {
            let sender = (!message.open_talk).then_some(&message.sender);
            match groups::admit(batch, &message.app, group, sender)? {
                Ok((row, version)) => (Kind::Group, row, version),
                Err(denied) => return Ok(Err(denied)),
            }
        }
    };
    let head: i64 = batch
        .transaction
        .prepare_cached(
            "UPDATE conversation SET head_seq = head_seq + 1 WHERE id = ?1 RETURNING head_seq",
        )?
        .query_row([conversation], |row| row.get(0))?;
    let send_time = unix_nanos();
    let message_id = next_id(batch, send_time)?;
    batch
        .transaction
        .prepare_cached(
            "INSERT INTO message (message_id, conversation, seq, sender, kind, body, extra, send_time, request)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            message_id,
            conversation,
            head,
            message.sender.as_str(),
            message.content.kind,
            message.content.body,
            message.content.extra,
            send_time,
            request
        ])?;
    batch.last_id = Some(message_id);
    Ok(Ok(Appended {
        message_id,
        send_time,
        conversation: conversation_id(kind, conversation),
        seq: seq(head),
        members,
        repeat_of: None,
    }))
}

fn find_request(batch: &Batch<'_>, sender: &Account, request: &str) -> Result<Option<Appended>> {
    batch
        .transaction
        .prepare_cached(
            "SELECT m.message_id, m.send_time, c.id, m.seq, m.kind, m.body, m.extra,
                    CASE c.a WHEN ?2 THEN c.b ELSE c.a END, c.a = '', COALESCE(g.version, 0)
             FROM message m JOIN conversation c ON c.id = m.conversation
             LEFT JOIN grp g ON g.conversation = c.id
             WHERE m.request = ?1",
        )?
        .query_row([request, sender.as_str()], |row| {
            let content = Content { kind: row.get(4)?, body: row.get(5)?, extra: row.get(6)? };
            let (conversation, kind) = (row.get(2)?, Kind::of(row.get(8)?));
            let target = match kind.group(conversation) {
                Some(group) => Target::Group(group),
                None => Target::Account(Account::from(row.get::<_, String>(7)?)),
            };
            Ok(Appended {
                message_id: row.get(0)?,
                send_time: row.get(1)?,
                conversation: conversation_id(kind, conversation),
                seq: seq(row.get(3)?),
                members: row.get::<_, i64>(9)?.unsigned_abs(),
                repeat_of: Some(First { target, content }),
            })
        })
        .optional()
}

/// The row of the two accounts' conversation, made with its members where it is missing.
fn conversation_of(
    batch: &mut Batch<'_>,
    app: &App,
    sender: &Account,
    receiver: &Account,
) -> Result<i64> {
    let (a, b) = sides(sender, receiver);
    let key = (app.to_string(), a.to_string(), b.to_string());
    if let Some(id) = batch.conversations.get(&key) {
        return Ok(*id);
    }
    let found = batch
        .transaction
        .prepare_cached("SELECT id FROM conversation WHERE app = ?1 AND a = ?2 AND b = ?3")?
        .query_row(params![key.0, key.1, key.2], |row| row.get(0))
        .optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            batch
                .transaction
                .prepare_cached("INSERT INTO conversation (app, a, b) VALUES (?1, ?2, ?3)")?
                .execute(params![key.0, key.1, key.2])?;
            let id = batch.transaction.last_insert_rowid();
            for account in [&key.1, &key.2] {
                batch
                    .transaction
                    .prepare_cached(
                        "INSERT INTO member (app, account, conversation) VALUES (?1, ?2, ?3)
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![key.0, account, id])?;
            }
            id
        }
    };
    batch.conversations.insert(key, id);
    Ok(id)
}

/// Minted within the transaction, so ids rise in the order of commits, whichever process writes.
fn next_id(batch: &mut Batch<'_>, now: i64) -> Result<i64> {
    let last = match batch.last_id {
        Some(last) => last,
        None => batch
            .transaction
            .prepare_cached("SELECT COALESCE(MAX(message_id), 0) FROM message")?
            .query_row([], |row| row.get(0))?,
    };
    Ok(now.max(last.saturating_add(1)).max(FIRST_ID))
}

pub(super) fn ack_until(
    batch: &Batch<'_>,
    app: &App,
    account: &Account,
    message_id: i64,
) -> Result<()> {
    let mut update = batch.transaction.prepare_cached(
        "UPDATE member SET cursor = ?5
         WHERE app = ?1 AND account = ?2 AND conversation = ?3 AND since = ?4",
    )?;
    for Conversation { id, since, cursor, head, .. } in
        conversations(&batch.transaction, app, account)?
    {
        let last = last_until(&batch.transaction, id, cursor, head, message_id)?;
        if last > cursor {
            update.execute(params![app.as_str(), account.as_str(), id, since, last])?;
        }
    }
    Ok(())
}

pub(super) fn ack_cursors(
    batch: &Batch<'_>,
    app: &App,
    account: &Account,
    cursors: &[(ConversationId, Seq)],
) -> Result<()> {
    let mut update = batch.transaction.prepare_cached(
        "UPDATE member SET cursor = MAX(cursor,
             MIN(?4, COALESCE(until,
                 (SELECT head_seq FROM conversation WHERE id = member.conversation))))
         WHERE app = ?1 AND account = ?2 AND conversation = ?3 AND (position IS NOT NULL) = ?5",
    )?;
    for (conversation, seq) in cursors {
        if let Some((kind, row)) = conversation_row(conversation.as_str()) {
            let is_group = kind == Kind::Group;
            update.execute(params![app.as_str(), account.as_str(), row, signed(*seq), is_group])?;
        }
    }
    Ok(())
}

/// Keeps the newest message of all, from whose id the next one is counted.
pub(super) fn prune(batch: &Batch<'_>, below: i64) -> Result<usize> {
    batch
        .transaction
        .prepare_cached(
            "DELETE FROM change WHERE request IN
                 (SELECT request FROM change WHERE made_at < ?1 ORDER BY made_at LIMIT ?2)",
        )?
        .execute(params![below, PRUNE_BATCH])?;
    batch
        .transaction
        .prepare_cached(
            "DELETE FROM message WHERE message_id IN (
                 SELECT message_id FROM message
                 WHERE message_id < MIN(?1, (SELECT MAX(message_id) FROM message))
                 ORDER BY message_id LIMIT ?2)",
        )?
        .execute(params![below, PRUNE_BATCH])
}
