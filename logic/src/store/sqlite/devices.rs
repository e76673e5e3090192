//! Devices, and how far each has acknowledged its conversations.

use std::collections::BTreeMap;

use imago_kit::unix_nanos;
use imago_proto::{ConversationId, Seq, link::Mark};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{
    super::{
        Device, Given,
        ids::{Kind, conversation_id, conversation_row, seq, signed},
    },
    commit::Batch,
};

/// Age at which `seen_at` of a device is written again. Most logins thus write nothing.
const SEEN_EVERY: i64 = 24 * 3600 * 1_000_000_000;

/// Returns the commit of a message, as [`Mark`] counts. Ids rise in the order of commits.
pub(super) fn commit(message_id: i64) -> u64 {
    message_id.unsigned_abs()
}

/// Returns a mark that covers this message and all before it.
pub(super) fn mark(last_id: i64) -> Mark {
    Mark::up_to(commit(last_id))
}

/// Returns the row of a known device.
pub(super) fn find(db: &Connection, device: &Device) -> Result<Option<i64>> {
    Ok(find_with_time(db, device)?.map(|(id, _)| id))
}

/// Returns the row of a known device, and when it last entered.
fn find_with_time(db: &Connection, device: &Device) -> Result<Option<(i64, i64)>> {
    db.prepare_cached(
        "SELECT id, seen_at FROM device WHERE app = ?1 AND account = ?2 AND name = ?3",
    )?
    .query_row([device.app.as_str(), device.account.as_str(), &device.name], |row| row.try_into())
    .optional()
}

/// Returns whether `seen_at` need not be written. A clock that was wrong may have left a future time.
fn is_recent(seen_at: i64, now: i64) -> bool {
    now.abs_diff(seen_at) < SEEN_EVERY.unsigned_abs()
}

/// Returns the mark for a known device; `None` where a write is needed, by [`enter`].
pub(super) fn enter_without_writing(db: &Connection, device: &Device) -> Result<Option<Mark>> {
    let Some((_, seen_at)) = find_with_time(db, device)? else { return Ok(None) };
    if !is_recent(seen_at, unix_nanos()) {
        return Ok(None);
    }
    let last: Option<i64> = db
        .prepare_cached("SELECT MAX(message_id) FROM message")?
        .query_row([], |row| row.get(0))?;
    Ok(Some(mark(last.unwrap_or_default())))
}

/// Makes a device known and returns its mark. The mark covers all messages before the cursors of a new
/// device: one that it did not cover might be neither synced nor owed.
pub(super) fn enter(batch: &Batch<'_>, device: &Device) -> Result<Mark> {
    upsert(batch.transaction(), device)?;
    Ok(mark(batch.last_id()))
}

/// Returns the row of a device that enters now. A new one gets the read marks of its account as cursors.
fn upsert(db: &Connection, device: &Device) -> Result<i64> {
    let now = unix_nanos();
    if let Some((id, seen_at)) = find_with_time(db, device)? {
        if !is_recent(seen_at, now) {
            db.prepare_cached("UPDATE device SET seen_at = ?2 WHERE id = ?1")?
                .execute([id, now])?;
        }
        return Ok(id);
    }
    let Device { app, account, name } = device;
    db.prepare_cached("INSERT INTO device (app, account, name, seen_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![app.as_str(), account.as_str(), name, now])?;
    let id = db.last_insert_rowid();
    db.prepare_cached(
        "INSERT INTO device_cursor (device, conversation, since, cursor)
         SELECT ?1, conversation, since, cursor FROM member
         WHERE app = ?2 AND account = ?3 AND cursor > since",
    )?
    .execute(params![id, app.as_str(), account.as_str()])?;
    Ok(id)
}

/// The parts of one conversation that a device acknowledges.
pub(super) struct Parts {
    kind: Kind,
    conversation: i64,
    /// First and last sequences, in the order of the first, so that adjacent parts join.
    parts: Vec<(i64, i64)>,
}

/// Groups parts by conversation. Names of no conversation are left out.
pub(super) fn parts(given: &[Given]) -> Vec<Parts> {
    let mut parts: BTreeMap<(i64, bool), Vec<(i64, i64)>> = BTreeMap::new();
    for Given { conversation, from, to } in given {
        if let Some((kind, row)) = conversation_row(conversation.as_str()) {
            let part = (signed(*from), signed(*to));
            parts.entry((row, kind == Kind::Group)).or_default().push(part);
        }
    }
    let by_conversation = parts.into_iter().map(|((conversation, is_group), mut parts)| {
        parts.sort_unstable();
        Parts { kind: Kind::of(is_group), conversation, parts }
    });
    by_conversation.collect()
}

pub(super) fn ack(
    batch: &Batch<'_>,
    device: &Device,
    acked: &[Parts],
) -> Result<Vec<(ConversationId, Seq)>> {
    let id = upsert(batch.transaction(), device)?;
    let mut reached = Vec::new();
    for parts in acked {
        let Some(head) = batch.head(parts.conversation)? else { continue };
        if let Some(cursor) = ack_parts(batch.transaction(), device, id, parts, head.seq)? {
            reached.push((conversation_id(parts.kind, parts.conversation), seq(cursor)));
        }
    }
    Ok(reached)
}

/// The cursors of a device and of its account in one membership.
struct Acked {
    since: i64,
    until: Option<i64>,
    /// The account's cursor.
    read: i64,
    /// The device's cursor.
    cursor: i64,
}

impl Acked {
    /// Returns the device's cursor after these parts, which are in the order of their first sequences.
    fn after(&self, parts: &[(i64, i64)], head: i64) -> i64 {
        let end = self.until.unwrap_or(head);
        let start = self.cursor.min(end).max(self.since);
        parts.iter().fold(start, |at, (from, to)| {
            if *from <= at.saturating_add(1) { at.max(end.min(*to)) } else { at }
        })
    }
}

/// Moves the cursors in all memberships of a conversation. Returns the last cursor; `None` where the
/// account was never a member.
fn ack_parts(
    db: &Connection,
    device: &Device,
    id: i64,
    Parts { kind, conversation, parts }: &Parts,
    head: i64,
) -> Result<Option<i64>> {
    let (app, account) = (device.app.as_str(), device.account.as_str());
    // The kind in a conversation's id is given by the client: the row must be of that kind.
    let memberships: Vec<Acked> = db
        .prepare_cached(
            "SELECT k.since, k.until, k.cursor, COALESCE(d.cursor, k.since)
             FROM member k LEFT JOIN device_cursor d
                 ON d.device = ?4 AND d.conversation = k.conversation AND d.since = k.since
             WHERE k.app = ?1 AND k.account = ?2 AND k.conversation = ?3
               AND (k.position IS NOT NULL) = ?5
             ORDER BY k.since",
        )?
        .query_map(params![app, account, conversation, id, *kind == Kind::Group], |row| {
            Ok(Acked {
                since: row.get(0)?,
                until: row.get(1)?,
                read: row.get(2)?,
                cursor: row.get(3)?,
            })
        })?
        .collect::<Result<_>>()?;
    let mut last = None;
    for of in memberships {
        let cursor = of.after(parts, head);
        if cursor > of.cursor {
            db.prepare_cached(
                "INSERT INTO device_cursor (device, conversation, since, cursor)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET cursor = excluded.cursor",
            )?
            .execute([id, *conversation, of.since, cursor])?;
        }
        if cursor > of.read {
            db.prepare_cached(
                "UPDATE member SET cursor = ?5
                 WHERE app = ?1 AND account = ?2 AND conversation = ?3 AND since = ?4",
            )?
            .execute(params![app, account, conversation, of.since, cursor])?;
        }
        last = Some(cursor);
    }
    Ok(last)
}

/// Removes devices that have not entered since `below`, with their cursors, until at least `rows` rows are
/// gone. Returns the number of devices.
pub(super) fn forget(db: &Connection, below: i64, rows: usize) -> Result<usize> {
    let old: Vec<i64> = db
        .prepare_cached("SELECT id FROM device WHERE seen_at < ?1 ORDER BY seen_at LIMIT ?2")?
        .query_map(params![below.saturating_sub(SEEN_EVERY), rows as i64], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let mut cursors = db.prepare_cached("DELETE FROM device_cursor WHERE device = ?1")?;
    let mut device = db.prepare_cached("DELETE FROM device WHERE id = ?1")?;
    let (mut gone, mut forgotten) = (0, 0);
    for id in old {
        if gone >= rows {
            break;
        }
        gone += cursors.execute([id])? + device.execute([id])?;
        forgotten += 1;
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_touch_a_cursor_move_it_up_to_the_end_of_its_membership() {
        let of = |since, until, cursor| Acked { since, until, read: 0, cursor };
        for (of, parts, cursor) in [
            (of(0, None, 0), &[(1, 3), (4, 6), (8, 9)][..], 6),
            (of(0, None, 0), &[(2, 3)], 0),
            (of(0, None, 5), &[(0, 3)], 5),
            (of(0, None, 5), &[(0, i64::MAX)], 10),
            (of(4, None, 0), &[(5, 6)], 6),
            (of(4, Some(7), 4), &[(1, 9)], 7),
            (of(4, Some(7), 7), &[(8, 9)], 7),
            (of(0, None, 5), &[(i64::MAX, i64::MAX)], 5),
            (of(0, None, i64::MAX), &[(i64::MAX, i64::MAX)], 10),
        ] {
            assert_eq!(of.after(parts, 10), cursor, "{parts:?}");
        }
    }
}
