//! Groups, their members, and the changes of both.

use std::collections::HashSet;

use imago_kit::unix_nanos;
use imago_proto::{Account, App, GroupId};
use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{
    super::{
        Created, Denied, Group, Member, MemberChange, Members, NewGroup,
        ids::{group_id, group_row, request_key, seq},
    },
    commit::Batch,
    failure::Allowed,
};

const NANOS: i64 = 1_000_000_000;

/// A group's row within the transaction, which decides on a request.
struct Row {
    id: i64,
    owner: String,
    open: bool,
    size: i64,
    version: i64,
    head: i64,
}

fn find(db: &Connection, app: &App, group: &GroupId) -> Result<Option<Row>> {
    let Some(id) = group_row(group) else { return Ok(None) };
    db.prepare_cached(
        "SELECT g.owner, g.open, g.size, g.version, c.last_seq
         FROM grp g JOIN conversation c ON c.id = g.conversation
         WHERE c.id = ?1 AND c.app = ?2",
    )?
    .query_row(params![id, app.as_str()], |row| {
        Ok(Row {
            id,
            owner: row.get(0)?,
            open: row.get(1)?,
            size: row.get(2)?,
            version: row.get(3)?,
            head: row.get(4)?,
        })
    })
    .optional()
}

fn is_member(db: &Connection, app: &App, account: &Account, group: i64) -> Result<bool> {
    db.prepare_cached(
        "SELECT 1 FROM member
         WHERE app = ?1 AND account = ?2 AND conversation = ?3 AND until IS NULL",
    )?
    .exists(params![app.as_str(), account.as_str(), group])
}

/// Returns the row and the version of a group to which a message is sent. With a `sender`, only a member
/// is admitted; without one, every account is.
pub(super) fn admit(
    batch: &Batch<'_>,
    app: &App,
    group: &GroupId,
    sender: Option<&Account>,
) -> Allowed<(i64, u64)> {
    let db = batch.transaction();
    let Some(row) = find(db, app, group)? else { return Ok(Err(Denied::UnknownGroup)) };
    if let Some(sender) = sender
        && !is_member(db, app, sender, row.id)?
    {
        return Ok(Err(Denied::NotMember));
    }
    Ok(Ok((row.id, row.version.unsigned_abs())))
}

pub(super) fn create(batch: &Batch<'_>, new: &NewGroup, most: usize) -> Allowed<Created> {
    let db = batch.transaction();
    let request = request_key(&new.app, &new.owner, &new.request);
    let first: Option<i64> = db
        .prepare_cached("SELECT id FROM conversation WHERE app = ?1 AND a = '' AND b = ?2")?
        .query_row(params![new.app.as_str(), request], |row| row.get(0))
        .optional()?;
    if let Some(id) = first {
        let members = listed(db, id)?.into_iter().map(|member| member.account).collect();
        return Ok(Ok(created(id, members)));
    }
    let mut unique = HashSet::new();
    let named = std::iter::once(&new.owner).chain(&new.members);
    let members: Vec<Account> = named.filter(|name| unique.insert(*name)).cloned().collect();
    if members.len() > most {
        return Ok(Err(Denied::Full));
    }
    db.prepare_cached("INSERT INTO conversation (app, a, b) VALUES (?1, '', ?2)")?
        .execute(params![new.app.as_str(), request])?;
    let id = db.last_insert_rowid();
    let (now, size) = (unix_nanos(), members.len() as i64);
    db.prepare_cached(
        "INSERT INTO grp (conversation, name, avatar, introduction, owner, open, created_at, size, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
    )?
    .execute(params![
        id,
        new.name,
        new.avatar,
        new.introduction,
        new.owner.as_str(),
        new.open,
        now / NANOS,
        size
    ])?;
    for (position, member) in members.iter().enumerate() {
        add_member(db, &new.app, member, id, 0, now, position as i64)?;
    }
    Ok(Ok(created(id, members)))
}

fn created(id: i64, members: Vec<Account>) -> Created {
    Created { group: group_id(id), members }
}

/// Makes an account a member from `since` on, for the first time or again.
fn add_member(
    db: &Connection,
    app: &App,
    account: &Account,
    group: i64,
    since: i64,
    now: i64,
    position: i64,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO member (app, account, conversation, cursor, since, joined_at, position)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)
         ON CONFLICT (app, account, conversation, since) DO UPDATE SET
             until = NULL, joined_at = ?5, position = ?6",
    )?
    .execute(params![app.as_str(), account.as_str(), group, since, now, position])?;
    Ok(())
}

pub(super) fn join(batch: &mut Batch<'_>, change: &MemberChange, most: usize) -> Allowed<()> {
    let MemberChange { app, caller, account, group, .. } = change;
    let db = batch.indexed()?;
    let Some(row) = find(db, app, group)? else { return Ok(Err(Denied::UnknownGroup)) };
    if is_repeat(db, change)? {
        return Ok(Ok(()));
    }
    let may = is_member(db, app, caller, row.id)? || (row.open && caller == account);
    if !may {
        return Ok(Err(Denied::NotMember));
    }
    let is_in = is_member(db, app, account, row.id)?;
    if !is_in && usize::try_from(row.size).unwrap_or(usize::MAX) >= most {
        return Ok(Err(Denied::Full));
    }
    record(db, change)?;
    if !is_in {
        add_member(db, app, account, row.id, row.head, unix_nanos(), row.version)?;
        changed(db, row.id, 1)?;
    }
    Ok(Ok(()))
}

pub(super) fn quit(batch: &mut Batch<'_>, change: &MemberChange) -> Allowed<()> {
    let MemberChange { app, caller, account, group, .. } = change;
    let db = batch.indexed()?;
    let Some(row) = find(db, app, group)? else { return Ok(Err(Denied::UnknownGroup)) };
    if is_repeat(db, change)? {
        return Ok(Ok(()));
    }
    if caller != account && caller.as_str() != row.owner {
        return Ok(Err(Denied::NotOwner));
    }
    record(db, change)?;
    if !is_member(db, app, account, row.id)? {
        return Ok(Ok(()));
    }
    db.prepare_cached(
        "UPDATE member SET until = ?4
         WHERE app = ?1 AND account = ?2 AND conversation = ?3 AND until IS NULL",
    )?
    .execute(params![app.as_str(), account.as_str(), row.id, row.head])?;
    changed(db, row.id, -1)?;
    Ok(Ok(()))
}

/// Returns whether this request was carried out before. Callers ask first: a repeat succeeds even if its
/// caller has lost the right since.
fn is_repeat(db: &Connection, change: &MemberChange) -> Result<bool> {
    let request = request_key(&change.app, &change.caller, &change.request);
    db.prepare_cached("SELECT 1 FROM change WHERE request = ?1")?.exists([request])
}

/// Records a request that succeeds, even if it changes nothing: its late repeat must change nothing
/// either. Records are pruned with the messages.
fn record(db: &Connection, change: &MemberChange) -> Result<()> {
    let request = request_key(&change.app, &change.caller, &change.request);
    db.prepare_cached("INSERT INTO change (request, made_at) VALUES (?1, ?2)")?
        .execute(params![request, unix_nanos()])?;
    Ok(())
}

fn changed(db: &Connection, group: i64, by: i64) -> Result<()> {
    db.prepare_cached(
        "UPDATE grp SET version = version + 1, size = size + ?2 WHERE conversation = ?1",
    )?
    .execute([group, by])?;
    Ok(())
}

pub(super) fn group(db: &Connection, app: &App, id: &GroupId) -> Result<Option<Group>> {
    let Some(row) = group_row(id) else { return Ok(None) };
    let found = db
        .prepare_cached(
            "SELECT g.name, g.avatar, g.introduction, g.owner, g.open, g.created_at
             FROM grp g JOIN conversation c ON c.id = g.conversation
             WHERE c.id = ?1 AND c.app = ?2",
        )?
        .query_row(params![row, app.as_str()], |found| {
            Ok(Group {
                id: id.clone(),
                name: found.get(0)?,
                avatar: found.get(1)?,
                introduction: found.get(2)?,
                owner: Account::from(found.get::<_, String>(3)?),
                open: found.get(4)?,
                created_at: found.get(5)?,
                members: Vec::new(),
            })
        })
        .optional()?;
    let Some(group) = found else { return Ok(None) };
    Ok(Some(Group { members: listed(db, row)?, ..group }))
}

fn listed(db: &Connection, group: i64) -> Result<Vec<Member>> {
    db.prepare_cached(
        "SELECT account, joined_at FROM member
         WHERE conversation = ?1 AND position IS NOT NULL AND until IS NULL ORDER BY position",
    )?
    .query_map([group], |row| {
        let joined_at: i64 = row.get(1)?;
        Ok(Member {
            account: Account::from(row.get::<_, String>(0)?),
            joined_at: joined_at / NANOS,
        })
    })?
    .collect()
}

pub(super) fn members(db: &Connection, app: &App, group: &GroupId) -> Result<Option<Members>> {
    let Some(Row { id, version, .. }) = find(db, app, group)? else { return Ok(None) };
    let since = db
        .prepare_cached(
            "SELECT account, since FROM member
             WHERE conversation = ?1 AND position IS NOT NULL AND until IS NULL",
        )?
        .query_map([id], |row| Ok((Account::from(row.get::<_, String>(0)?), seq(row.get(1)?))))?
        .collect::<Result<_>>()?;
    Ok(Some(Members { version: version.unsigned_abs(), since }))
}
