//! Messages from one account to another, or to a group.

use imago_proto::{
    Account, GroupId, Status,
    msg::{MessageReq, MessageResp},
};

use super::{
    limits::{ACCOUNT_MAX, BODY_MAX, CLIENT_ID_MAX, EXTRA_MAX, GROUP_ID_MAX, within},
    push_of,
};
use crate::{
    Context, Reject,
    store::{Content, Envelope, NewMessage, Stored, Target},
};

/// Answers `chat.user.talk` once the message is durable, then pushes it. A repeat is answered with
/// the first result, and pushed again: the first try may have died in between.
pub(super) async fn user_talk(ctx: Context, req: MessageReq) -> Result<MessageResp, Reject> {
    check(&ctx, &req, ACCOUNT_MAX)?;
    let target = Target::Account(Account::from(ctx.dest()));
    let (stored, _) = append(&ctx, req, target).await?;
    let answer = answer(&stored.envelope);
    let sender = stored.envelope.sender.clone();
    // Only a key that was used for a group before gives another target than the one asked for.
    let Target::Account(receiver) = stored.envelope.other.clone() else { return Ok(answer) };
    let mut push = push_of(stored);
    let peer = std::mem::take(&mut push.peer);
    if receiver != sender {
        ctx.push(ctx.command(), &receiver, &push);
    }
    push.peer = peer;
    ctx.push_to_any_others(&sender, push);
    Ok(answer)
}

/// Answers `chat.group.talk` as [`user_talk`] does its command: all members get the message, on
/// every device but the calling one.
pub(super) async fn group_talk(ctx: Context, req: MessageReq) -> Result<MessageResp, Reject> {
    check(&ctx, &req, GROUP_ID_MAX)?;
    let target = Target::Group(GroupId::from(ctx.dest()));
    let (stored, members) = append(&ctx, req, target).await?;
    let answer = answer(&stored.envelope);
    if let Target::Group(group) = stored.envelope.other.clone() {
        let seq = stored.envelope.seq;
        ctx.push_to_members(ctx.command(), &group, members, seq, &push_of(stored));
    }
    Ok(answer)
}

fn check(ctx: &Context, req: &MessageReq, dest_max: usize) -> Result<(), Reject> {
    if ctx.dest().is_empty() {
        return Err(Reject::new(Status::NoDestination, "dest is empty"));
    }
    within("dest", ctx.dest(), dest_max)?;
    within("body", &req.body, BODY_MAX)?;
    within("extra", &req.extra, EXTRA_MAX)?;
    within("client_message_id", &req.client_message_id, CLIENT_ID_MAX)
}

/// Stores the message once; gives it as it was stored the first time, and the version of the
/// group's members.
async fn append(ctx: &Context, req: MessageReq, target: Target) -> Result<(Stored, u64), Reject> {
    let sender = ctx.session().account.clone();
    let content = Content { kind: req.r#type, body: req.body, extra: req.extra };
    let message = NewMessage {
        app: ctx.session().app.clone(),
        sender: sender.clone(),
        target: target.clone(),
        open_talk: ctx.groups().open_talk,
        request: ctx.request_key(&req.client_message_id),
        content: content.clone(),
    };
    let appended = ctx.store().append(message).await?;
    let (other, content) = match appended.repeat_of {
        Some(first) => (first.target, first.content),
        None => (target, content),
    };
    let envelope = Envelope {
        message_id: appended.message_id,
        send_time: appended.send_time,
        conversation: appended.conversation,
        seq: appended.seq,
        sender,
        other,
    };
    Ok((Stored { envelope, content }, appended.members))
}

fn answer(envelope: &Envelope) -> MessageResp {
    MessageResp {
        message_id: envelope.message_id,
        send_time: envelope.send_time,
        conversation: envelope.conversation.to_string(),
        seq: envelope.seq.0,
    }
}
