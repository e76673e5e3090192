//! Writes of messages, each within the transaction of a batch.

use imago_kit::unix_nanos;
use imago_proto::{Account, COMMIT_UNKNOWN};
use rusqlite::{Connection, Result, params};

use super::{
    super::{
        Appended, Content, Denied, First, NewMessage, Target,
        ids::{Kind, conversation_id, request_key, seq},
    },
    commit::{Batch, Row},
    devices::{self, commit},
    failure::Allowed,
    groups,
};

/// Messages, and cursors of devices, that one commit removes. More would hold up other writes.
const PRUNE_BATCH: usize = 500;

pub(super) fn append(batch: &mut Batch<'_>, message: &NewMessage) -> Allowed<Appended> {
    let request = request_key(&message.app, &message.sender, &message.request);
    // A repeat gets the first result, even if the sender may not send it any more.
    if let Some(id) = batch.message_of(&request)? {
        return first_of(batch.transaction(), id, &message.sender).map(Ok);
    }
    let (kind, conversation, members) = match conversation_of(batch, message)? {
        Ok(found) => found,
        Err(Absent::Denied(denied)) => return Ok(Err(denied)),
        Err(Absent::With(other)) => {
            let row = batch.create_conversation(&message.app, &message.sender, other)?;
            (Kind::Direct, row, 0)
        }
    };
    let last = batch.head(conversation)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let send_time = unix_nanos();
    let message_id = batch.next_id(send_time);
    let row = Row { id: message_id, conversation, seq: last.seq + 1, message, send_time, request };
    batch.insert(row)?;
    Ok(Ok(Appended {
        message_id,
        send_time,
        conversation: conversation_id(kind, conversation),
        seq: seq(last.seq + 1),
        after: commit(last.id),
        members,
        repeat_of: None,
    }))
}

/// Why a message has no conversation.
enum Absent<'m> {
    /// The message is the first one between sender and this account.
    With(&'m Account),
    Denied(Denied),
}

/// Returns the row of a message's conversation, and the version of its group's members.
fn conversation_of<'m>(
    batch: &mut Batch<'_>,
    message: &'m NewMessage,
) -> Result<std::result::Result<(Kind, i64, u64), Absent<'m>>> {
    let (app, sender) = (&message.app, &message.sender);
    match &message.target {
        Target::Account(receiver) => {
            let row = batch.find_conversation(app, sender, receiver)?;
            Ok(row.map(|row| (Kind::Direct, row, 0)).ok_or(Absent::With(receiver)))
        }
        Target::Group(group) => {
            let sender = (!message.open_talk).then_some(sender);
            let admitted = groups::admit(batch, app, group, sender)?;
            Ok(admitted.map(|(row, version)| (Kind::Group, row, version)).map_err(Absent::Denied))
        }
    }
}

/// Returns what the first of several equal requests of a sender has stored.
fn first_of(db: &Connection, message_id: i64, sender: &Account) -> Result<Appended> {
    db.prepare_cached(
        "SELECT m.message_id, m.send_time, c.id, m.seq, m.kind, m.body, m.extra,
                    CASE c.a WHEN ?2 THEN c.b ELSE c.a END, c.a = '', COALESCE(g.version, 0)
             FROM message m JOIN conversation c ON c.id = m.conversation
             LEFT JOIN grp g ON g.conversation = c.id
             WHERE m.message_id = ?1",
    )?
    .query_row(params![message_id, sender.as_str()], |row| {
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
            after: COMMIT_UNKNOWN,
            members: row.get::<_, i64>(9)?.unsigned_abs(),
            repeat_of: Some(First { target, content }),
        })
    })
}

/// Removes old requests, messages and devices. The newest message stays: the next id is counted from it.
pub(super) fn prune(batch: &mut Batch<'_>, below: i64) -> Result<usize> {
    let db = batch.indexed()?;
    db.prepare_cached(
        "DELETE FROM change WHERE request IN
                 (SELECT request FROM change WHERE made_at < ?1 ORDER BY made_at LIMIT ?2)",
    )?
    .execute(params![below, PRUNE_BATCH as i64])?;
    Ok(prune_messages(db, below)? + devices::forget(db, below, PRUNE_BATCH)?)
}

fn prune_messages(db: &Connection, below: i64) -> Result<usize> {
    let old: Vec<(i64, i64, i64, String)> = db
        .prepare_cached(
            "SELECT message_id, conversation, seq, request FROM message
             WHERE message_id < MIN(?1, (SELECT MAX(message_id) FROM message))
             ORDER BY message_id LIMIT ?2",
        )?
        .query_map(params![below, PRUNE_BATCH as i64], |row| row.try_into())?
        .collect::<Result<_>>()?;
    let mut message = db.prepare_cached("DELETE FROM message WHERE message_id = ?1")?;
    let mut place = db.prepare_cached("DELETE FROM place WHERE conversation = ?1 AND seq = ?2")?;
    let mut key = db.prepare_cached("DELETE FROM message_request WHERE request = ?1")?;
    for (id, conversation, seq, request) in &old {
        message.execute([id])?;
        place.execute([conversation, seq])?;
        key.execute([request])?;
    }
    Ok(old.len())
}
