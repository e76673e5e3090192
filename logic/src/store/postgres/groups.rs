//! Groups: who is in them, and the changes of that.

use std::collections::HashSet;

use deadpool_postgres::{Object, Transaction};
use imago_container::unix_nanos;
use imago_proto::{Account, App, GroupId};
use tokio_postgres::types::ToSql;

use super::{
    failure::Failure,
    locks,
    rows::{Values, digest, text},
};
use crate::store::{
    Created, Denied, Group, Member, MemberChange, Members, NewGroup,
    ids::{group_id, group_row, seq},
};

const NANOS: i64 = 1_000_000_000;

/// The group's row as it is within the transaction; caller $3, and who joins or leaves, $4; whether
/// request $5 was carried out before.
const DECIDE: &str = "
    SELECT g.owner, g.open, g.size, g.version, c.head_seq,
           EXISTS (SELECT FROM member k WHERE k.app = $2 AND k.account = $3
                       AND k.conversation = $1 AND k.until IS NULL),
           EXISTS (SELECT FROM member k WHERE k.app = $2 AND k.account = $4
                       AND k.conversation = $1 AND k.until IS NULL),
           EXISTS (SELECT FROM change WHERE request = $5)
    FROM grp g JOIN conversation c ON c.id = g.conversation
    WHERE c.id = $1 AND c.app = $2";
const MEMBERS: &str = "
    INSERT INTO member (app, account, conversation, cursor, since, joined_at, position)
    SELECT $1, s.account, $2, $3, $3, $4, $5 + s.place - 1
    FROM unnest($6::bytea[]) WITH ORDINALITY AS s (account, place)
    ON CONFLICT (app, account, conversation, since) DO UPDATE SET
        until = NULL, joined_at = excluded.joined_at, position = excluded.position";
const LISTED: &str = "
    SELECT account, joined_at, since FROM member
    WHERE conversation = $1 AND position IS NOT NULL AND until IS NULL ORDER BY position";
const MADE: &str = "SELECT id FROM conversation WHERE app = $1 AND a = '' AND b = $2";
const MAKE: &str = "
    INSERT INTO conversation (app, a, b) VALUES ($1, '', $2) ON CONFLICT DO NOTHING RETURNING id";
const GROUP: &str = "
    INSERT INTO grp (conversation, name, avatar, introduction, owner, open, created_at, size, version)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
const LEAVE: &str = "
    UPDATE member SET until = $4
    WHERE app = $1 AND account = $2 AND conversation = $3 AND until IS NULL";
const CHANGED: &str =
    "UPDATE grp SET version = version + 1, size = size + $2 WHERE conversation = $1";
const CHANGE: &str = "INSERT INTO change (request, made_at) VALUES ($1, $2)";
const FIND: &str = "
    SELECT g.name, g.avatar, g.introduction, g.owner, g.open, g.created_at, k.account, k.joined_at
    FROM grp g JOIN conversation c ON c.id = g.conversation
    LEFT JOIN member k ON k.conversation = c.id AND k.position IS NOT NULL AND k.until IS NULL
    WHERE c.id = $1 AND c.app = $2 ORDER BY k.position";
const VERSIONED: &str = "
    SELECT g.version, k.account, k.since
    FROM grp g JOIN conversation c ON c.id = g.conversation
    LEFT JOIN member k ON k.conversation = c.id AND k.position IS NOT NULL AND k.until IS NULL
    WHERE c.id = $1 AND c.app = $2";

type Allowed<T> = Result<Result<T, Denied>, Failure>;

async fn execute(
    transaction: &Transaction<'_>,
    statement: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64, Failure> {
    let statement = transaction.prepare_cached(statement).await?;
    Ok(transaction.execute(&statement, values).await?)
}

pub(super) async fn create(client: &mut Object, new: &NewGroup, most: usize) -> Allowed<Created> {
    let transaction = client.transaction().await?;
    let (app, request) = (new.app.as_str().as_bytes(), digest(&new.app, &new.owner, &new.request));
    let made = transaction.prepare_cached(MADE).await?;
    let first = transaction.query_opt(&made, &[&app, &request]).await?;
    if let Some(row) = first {
        return Ok(Ok(existing(&transaction, row.try_get(0)?).await?));
    }
    let mut seen = HashSet::new();
    let named = std::iter::once(&new.owner).chain(&new.members);
    let members: Vec<Account> = named.filter(|name| seen.insert(*name)).cloned().collect();
    if members.len() > most {
        return Ok(Err(Denied::Full));
    }
    let make = transaction.prepare_cached(MAKE).await?;
    // Waits where the same request is under way elsewhere.
    let Some(row) = transaction.query_opt(&make, &[&app, &request]).await? else {
        let row = transaction.query_one(&made, &[&app, &request]).await?;
        return Ok(Ok(existing(&transaction, row.try_get(0)?).await?));
    };
    let id: i64 = row.try_get(0)?;
    let (now, size) = (unix_nanos(), i64::try_from(members.len()).unwrap_or(i64::MAX));
    let texts = [&new.name, &new.avatar, &new.introduction].map(|text| text.as_bytes());
    let [name, avatar, introduction] = texts;
    let (owner, created_at) = (new.owner.as_str().as_bytes(), now / NANOS);
    let group: Values<'_, 8> =
        [&id, &name, &avatar, &introduction, &owner, &new.open, &created_at, &size];
    execute(&transaction, GROUP, &group).await?;
    let names: Vec<&[u8]> = members.iter().map(|member| member.as_str().as_bytes()).collect();
    execute(&transaction, MEMBERS, &[&app, &id, &0i64, &now, &0i64, &names]).await?;
    transaction.commit().await?;
    Ok(Ok(Created { group: group_id(id), members }))
}

/// A group that was made before.
async fn existing(transaction: &Transaction<'_>, id: i64) -> Result<Created, Failure> {
    let listed = transaction.prepare_cached(LISTED).await?;
    let rows = transaction.query(&listed, &[&id]).await?;
    let members = rows.iter().map(|row| text(row, 0).map(Account::from)).collect::<Result<_, _>>();
    Ok(Created { group: group_id(id), members: members? })
}

/// What decides on a change.
struct Decision {
    owner: String,
    open: bool,
    size: usize,
    version: i64,
    head: i64,
    caller_is_member: bool,
    account_is_member: bool,
    /// A repeat is a success, whatever its caller may do by now.
    was_made: bool,
}

/// Waits for its turn, so that no message nor another change comes in between, and looks.
async fn decide(
    transaction: &Transaction<'_>,
    change: &MemberChange,
    group: i64,
) -> Result<Option<Decision>, Failure> {
    execute(transaction, "SELECT pg_advisory_xact_lock($1)", &[&locks::WRITES]).await?;
    let decide = transaction.prepare_cached(DECIDE).await?;
    let (app, caller) = (change.app.as_str().as_bytes(), change.caller.as_str().as_bytes());
    let account = change.account.as_str().as_bytes();
    let request = digest(&change.app, &change.caller, &change.request);
    let values: Values<'_, 5> = [&group, &app, &caller, &account, &request];
    let Some(row) = transaction.query_opt(&decide, &values).await? else { return Ok(None) };
    let size: i64 = row.try_get(2)?;
    Ok(Some(Decision {
        owner: text(&row, 0)?,
        open: row.try_get(1)?,
        size: usize::try_from(size).unwrap_or_default(),
        version: row.try_get(3)?,
        head: row.try_get(4)?,
        caller_is_member: row.try_get(5)?,
        account_is_member: row.try_get(6)?,
        was_made: row.try_get(7)?,
    }))
}

/// Remembers a request that succeeded, also one that changed nothing, and commits: a late repeat
/// must not undo what came after.
async fn note(transaction: Transaction<'_>, change: &MemberChange) -> Result<(), Failure> {
    let request = digest(&change.app, &change.caller, &change.request);
    execute(&transaction, CHANGE, &[&request, &unix_nanos()]).await?;
    Ok(transaction.commit().await?)
}

pub(super) async fn join(client: &mut Object, change: &MemberChange, most: usize) -> Allowed<()> {
    let Some(group) = group_row(&change.group) else { return Ok(Err(Denied::UnknownGroup)) };
    let transaction = client.transaction().await?;
    let Some(found) = decide(&transaction, change, group).await? else {
        return Ok(Err(Denied::UnknownGroup));
    };
    if found.was_made {
        return Ok(Ok(()));
    }
    let enters_an_open_one = found.open && change.caller == change.account;
    if !found.caller_is_member && !enters_an_open_one {
        return Ok(Err(Denied::NotMember));
    }
    if found.account_is_member {
        return note(transaction, change).await.map(Ok);
    }
    if found.size >= most {
        return Ok(Err(Denied::Full));
    }
    let app = change.app.as_str().as_bytes();
    let names = vec![change.account.as_str().as_bytes()];
    let member: Values<'_, 6> = [&app, &group, &found.head, &unix_nanos(), &found.version, &names];
    execute(&transaction, MEMBERS, &member).await?;
    execute(&transaction, CHANGED, &[&group, &1i64]).await?;
    note(transaction, change).await.map(Ok)
}

pub(super) async fn quit(client: &mut Object, change: &MemberChange) -> Allowed<()> {
    let Some(group) = group_row(&change.group) else { return Ok(Err(Denied::UnknownGroup)) };
    let transaction = client.transaction().await?;
    let Some(found) = decide(&transaction, change, group).await? else {
        return Ok(Err(Denied::UnknownGroup));
    };
    if found.was_made {
        return Ok(Ok(()));
    }
    if change.caller != change.account && change.caller.as_str() != found.owner {
        return Ok(Err(Denied::NotOwner));
    }
    if !found.account_is_member {
        return note(transaction, change).await.map(Ok);
    }
    let (app, account) = (change.app.as_str().as_bytes(), change.account.as_str().as_bytes());
    execute(&transaction, LEAVE, &[&app, &account, &group, &found.head]).await?;
    execute(&transaction, CHANGED, &[&group, &-1i64]).await?;
    note(transaction, change).await.map(Ok)
}

pub(super) async fn group(
    client: &Object,
    app: &App,
    id: &GroupId,
) -> Result<Option<Group>, Failure> {
    let Some(row) = group_row(id) else { return Ok(None) };
    let find = client.prepare_cached(FIND).await?;
    let rows = client.query(&find, &[&row, &app.as_str().as_bytes()]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut members = Vec::with_capacity(rows.len());
    for row in &rows {
        // The last one may have left.
        if row.try_get::<_, Option<&[u8]>>(6)?.is_some() {
            let joined_at: i64 = row.try_get(7)?;
            let account = Account::from(text(row, 6)?);
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
    let versioned = client.prepare_cached(VERSIONED).await?;
    let rows = client.query(&versioned, &[&row, &app.as_str().as_bytes()]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let version: i64 = first.try_get(0)?;
    let mut since = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get::<_, Option<&[u8]>>(1)?.is_some() {
            since.push((Account::from(text(row, 1)?), seq(row.try_get(2)?)));
        }
    }
    Ok(Some(Members { version: version.unsigned_abs(), since: since.into() }))
}
