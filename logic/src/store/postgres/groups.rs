//! Groups, their members, and the changes of both, each in one statement.

use std::collections::HashSet;

use deadpool_postgres::Object;
use imago_kit::unix_nanos;
use imago_proto::{Account, App, GroupId};

use super::{
    failure::Failure,
    reads::limited,
    rows::{call, digest, text, values},
};
use crate::store::{
    Created, Denied, Group, Member, MemberChange, Members, NewGroup,
    ids::{group_id, group_row, seq},
};

const NANOS: i64 = 1_000_000_000;

const CREATE: &str = "SELECT * FROM create_group($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const CHANGE: &str = "SELECT change_group($1, $2, $3, $4, $5, $6, $7, $8)";
const READ: &str = "SELECT * FROM read_group($1, $2)";

type Allowed<T> = Result<Result<T, Denied>, Failure>;

/// Whether an account joins a group, or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Join {
        /// Members that the group may have.
        most: usize,
    },
    Quit,
}

pub(super) async fn create(client: &Object, new: &NewGroup, most: usize) -> Allowed<Created> {
    let mut seen = HashSet::new();
    let named = std::iter::once(&new.owner).chain(&new.members);
    let named = named.filter(|name| seen.insert(*name)).map(|name| name.as_str().as_bytes());
    let members: Vec<&[u8]> = named.collect();
    let group = values![
        new.app.as_str().as_bytes() => BYTEA,
        digest(&new.app, &new.owner, &new.request) => BYTEA,
        new.name.as_bytes() => BYTEA,
        new.avatar.as_bytes() => BYTEA,
        new.introduction.as_bytes() => BYTEA,
        new.owner.as_str().as_bytes() => BYTEA,
        new.open => BOOL,
        unix_nanos() => INT8,
        members => BYTEA_ARRAY,
        limited(most) => INT8,
    ];
    let rows = call(client, CREATE, group).await?;
    let Some(row) = rows.first() else { return Ok(Err(Denied::Full)) };
    let names: Vec<Vec<u8>> = row.try_get(1)?;
    let members = names.into_iter().map(|name| match String::from_utf8(name) {
        Ok(name) => Ok(Account::from(name)),
        Err(error) => Err(Failure::Bad(format!("name of a member: {error}"))),
    });
    let members = members.collect::<Result<_, _>>()?;
    Ok(Ok(Created { group: group_id(row.try_get(0)?), members }))
}

pub(super) async fn change(client: &Object, asked: &MemberChange, change: Change) -> Allowed<()> {
    let Some(group) = group_row(&asked.group) else { return Ok(Err(Denied::UnknownGroup)) };
    let (joins, most) = match change {
        Change::Join { most } => (true, most),
        Change::Quit => (false, usize::MAX),
    };
    let values = values![
        joins => BOOL,
        asked.app.as_str().as_bytes() => BYTEA,
        asked.caller.as_str().as_bytes() => BYTEA,
        asked.account.as_str().as_bytes() => BYTEA,
        group => INT8,
        digest(&asked.app, &asked.caller, &asked.request) => BYTEA,
        unix_nanos() => INT8,
        limited(most) => INT8,
    ];
    let rows = call(client, CHANGE, values).await?;
    let outcome: Option<i32> = rows.first().map(|row| row.try_get(0)).transpose()?;
    match outcome {
        Some(0) => Ok(Ok(())),
        Some(2) => Ok(Err(Denied::UnknownGroup)),
        Some(3) => Ok(Err(Denied::NotMember)),
        Some(4) => Ok(Err(Denied::NotOwner)),
        Some(5) => Ok(Err(Denied::Full)),
        other => Err(Failure::Refused(format!("expected the outcome of a change, got {other:?}"))),
    }
}

pub(super) async fn group(
    client: &Object,
    app: &App,
    id: &GroupId,
) -> Result<Option<Group>, Failure> {
    let Some(row) = group_row(id) else { return Ok(None) };
    let rows = call(client, READ, values![app.as_str().as_bytes() => BYTEA, row => INT8]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut members = Vec::with_capacity(rows.len());
    for row in &rows {
        // The last one may have left.
        if row.try_get::<_, Option<&[u8]>>(7)?.is_some() {
            let joined_at: i64 = row.try_get(8)?;
            let account = Account::from(text(row, 7)?);
            members.push(Member { account, joined_at: joined_at / NANOS });
        }
    }
    Ok(Some(Group {
        id: id.clone(),
        name: text(first, 0)?,
        avatar: text(first, 1)?,
        introduction: text(first, 2)?,
        owner: Account::from(text(first, 3)?),
        open: first.try_get(4)?,
        created_at: first.try_get(5)?,
        members,
    }))
}

pub(super) async fn members(
    client: &Object,
    app: &App,
    id: &GroupId,
) -> Result<Option<Members>, Failure> {
    let Some(row) = group_row(id) else { return Ok(None) };
    let rows = call(client, READ, values![app.as_str().as_bytes() => BYTEA, row => INT8]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let version: i64 = first.try_get(6)?;
    let mut since = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get::<_, Option<&[u8]>>(7)?.is_some() {
            since.push((Account::from(text(row, 7)?), seq(row.try_get(9)?)));
        }
    }
    Ok(Some(Members { version: version.unsigned_abs(), since: since.into() }))
}
