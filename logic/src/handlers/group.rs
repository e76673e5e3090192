//! Commands of groups: creating them, changing their members, and reading them.

use imago_proto::{
    Account, GroupId, Status, command,
    msg::{
        GroupCreateNotify, GroupCreateReq, GroupCreateResp, GroupGetReq, GroupGetResp,
        GroupJoinNotify, GroupJoinReq, GroupQuitNotify, GroupQuitReq, Member,
    },
};

use prost::Message;

use super::{
    fitting,
    limits::{
        ACCOUNT_MAX, ANSWER_MAX, AVATAR_MAX, CLIENT_ID_MAX, GROUP_ID_MAX, GROUP_NAME_MAX,
        INTRODUCTION_MAX, at_most, named, within,
    },
};
use crate::{
    Context, Reject,
    store::{Denied, Group, MemberChange, NewGroup, StoreError},
};

/// Answers `chat.group.create`. The caller is the owner, even if the request names another one.
pub(super) async fn create(ctx: Context, req: GroupCreateReq) -> Result<GroupCreateResp, Reject> {
    within("name", &req.name, GROUP_NAME_MAX)?;
    within("avatar", &req.avatar, AVATAR_MAX)?;
    within("introduction", &req.introduction, INTRODUCTION_MAX)?;
    within("client_message_id", &req.client_message_id, CLIENT_ID_MAX)?;
    let most = ctx.groups().members_max;
    at_most("members", req.members.len(), most)?;
    for member in &req.members {
        named("members", member, ACCOUNT_MAX)?;
    }
    let group = NewGroup {
        app: ctx.session().app.clone(),
        owner: ctx.session().account.clone(),
        name: req.name,
        avatar: req.avatar,
        introduction: req.introduction,
        members: req.members.into_iter().map(Account::from).collect(),
        open: req.open,
        request: ctx.request_key(&req.client_message_id),
    };
    let created = ctx.store().create_group(group, most).await?;
    let group_id = created.group.to_string();
    let members = created.members.iter().map(ToString::to_string).collect();
    let mut notify = GroupCreateNotify { group_id: group_id.clone(), members };
    if notify.encoded_len() > ANSWER_MAX {
        // Receivers ask for the members themselves.
        notify.members.clear();
    }
    ctx.push_to_accounts(command::CHAT_GROUP_CREATE, &group_id, created.members, &notify);
    Ok(GroupCreateResp { group_id })
}

/// Answers `chat.group.join`. A late repeat, after the account has left again, is not pushed.
pub(super) async fn join(ctx: Context, req: GroupJoinReq) -> Result<(), Reject> {
    let change = change(&ctx, req.account, &req.group_id, &req.client_message_id)?;
    let (group, account) = (change.group.clone(), change.account.clone());
    ctx.store().join_group(change, ctx.groups().members_max).await?;
    let members = accounts(&ctx, &group).await?;
    if members.contains(&account) {
        let notify = GroupJoinNotify { group_id: group.to_string(), account: account.to_string() };
        ctx.push_to_accounts(command::CHAT_GROUP_JOIN, group.as_str(), members, &notify);
    }
    Ok(())
}

/// Answers `chat.group.quit`. The push goes to the account that left, too, because the owner may have removed
/// it. A request that changes nothing is not pushed: otherwise strangers could reach all members.
pub(super) async fn quit(ctx: Context, req: GroupQuitReq) -> Result<(), Reject> {
    let change = change(&ctx, req.account, &req.group_id, &req.client_message_id)?;
    let (group, account) = (change.group.clone(), change.account.clone());
    let before = accounts(&ctx, &group).await?;
    ctx.store().quit_group(change).await?;
    if !before.contains(&account) {
        return Ok(());
    }
    let mut members = accounts(&ctx, &group).await?;
    if !members.contains(&account) {
        let notify = GroupQuitNotify { group_id: group.to_string(), account: account.to_string() };
        members.push(account);
        ctx.push_to_accounts(command::CHAT_GROUP_QUIT, group.as_str(), members, &notify);
    }
    Ok(())
}

fn change(
    ctx: &Context,
    account: String,
    group_id: &str,
    client_message_id: &str,
) -> Result<MemberChange, Reject> {
    named("account", &account, ACCOUNT_MAX)?;
    named("group_id", group_id, GROUP_ID_MAX)?;
    within("client_message_id", client_message_id, CLIENT_ID_MAX)?;
    Ok(MemberChange {
        app: ctx.session().app.clone(),
        caller: ctx.session().account.clone(),
        account: Account::from(account),
        group: GroupId::from(group_id),
        // A join and a quit with one id are different requests.
        request: format!("{} {}", ctx.command(), ctx.request_key(client_message_id)),
    })
}

async fn accounts(ctx: &Context, group: &GroupId) -> Result<Vec<Account>, Reject> {
    let members = ctx.store().members(&ctx.session().app, group).await?;
    let since = members.map(|members| members.since).unwrap_or_default();
    Ok(since.iter().map(|(account, _)| account.clone()).collect())
}

/// Answers `chat.group.detail`.
pub(super) async fn detail(ctx: Context, req: GroupGetReq) -> Result<GroupGetResp, Reject> {
    let group = visible(&ctx, &req.group_id).await?;
    let (members, more) = page(&group, req.skip);
    Ok(GroupGetResp {
        id: group.id.to_string(),
        name: group.name,
        avatar: group.avatar,
        introduction: group.introduction,
        owner: group.owner.to_string(),
        members,
        created_at: group.created_at,
        more,
    })
}

/// Answers `chat.group.members`: the members alone.
pub(super) async fn members(ctx: Context, req: GroupGetReq) -> Result<GroupGetResp, Reject> {
    let group = visible(&ctx, &req.group_id).await?;
    let (members, more) = page(&group, req.skip);
    Ok(GroupGetResp { id: group.id.to_string(), members, more, ..GroupGetResp::default() })
}

/// Returns a group that the caller may read: one of its own, or an open one.
async fn visible(ctx: &Context, group_id: &str) -> Result<Group, Reject> {
    named("group_id", group_id, GROUP_ID_MAX)?;
    let session = ctx.session();
    let found = ctx.store().group(&session.app, &GroupId::from(group_id)).await?;
    let group = found.ok_or(StoreError::Denied(Denied::UnknownGroup))?;
    let is_member = group.members.iter().any(|member| member.account == session.account);
    if !is_member && !group.open {
        return Err(Reject::new(Status::Unauthorized, "not a member of the group"));
    }
    Ok(group)
}

/// Returns the members past the first `skip` that fit into an answer, and whether more follow.
fn page(group: &Group, skip: u32) -> (Vec<Member>, bool) {
    let rest = group.members.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
    let mut members: Vec<Member> = rest
        .map(|member| Member {
            account: member.account.to_string(),
            join_time: member.joined_at,
            ..Member::default()
        })
        .collect();
    let fit = fitting(&members);
    let more = fit < members.len();
    members.truncate(fit);
    (members, more)
}
