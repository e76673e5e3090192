//! Messages to an account or to a group.

use std::sync::Arc;

use imago_proto::{
    Account, GroupId, Status, link,
    msg::{MessageReq, MessageResp},
};

use super::{
    limits::{ACCOUNT_MAX, BODY_MAX, CLIENT_ID_MAX, EXTRA_MAX, GROUP_ID_MAX, within},
    place_of, push_of,
};
use crate::{
    Context, Reject,
    context::Receivers,
    store::{Content, Envelope, NewMessage, Stored, Target},
};

/// Answers `chat.user.talk` once the message is durable, then pushes it. A repeat gets the first result, and is
/// pushed again, because the first try may have failed in between.
pub(super) async fn user_talk(ctx: Context, req: MessageReq) -> Result<MessageResp, Reject> {
    check(&ctx, &req, ACCOUNT_MAX)?;
    let target = Target::Account(Account::from(ctx.dest()));
    let Said { stored, place, .. } = append(&ctx, req, target).await?;
    let answer = answer(&stored.envelope);
    let sender = stored.envelope.sender.clone();
    // The target differs only if the key was used for a group before.
    let Target::Account(receiver) = stored.envelope.other.clone() else { return Ok(answer) };
    let mut push = push_of(stored);
    let peer = std::mem::take(&mut push.peer);
    if receiver != sender {
        let to = Receivers::Account(receiver.clone());
        ctx.push_message(to, place.clone(), receiver.as_str(), &push);
    }
    push.peer = peer;
    ctx.push_message_to_any_others(&sender, place, push);
    Ok(answer)
}

/// Answers `chat.group.talk`, as [`user_talk`] does. All devices of all members get the message, except the
/// calling one.
pub(super) async fn group_talk(ctx: Context, req: MessageReq) -> Result<MessageResp, Reject> {
    check(&ctx, &req, GROUP_ID_MAX)?;
    let target = Target::Group(GroupId::from(ctx.dest()));
    let Said { stored, place, members } = append(&ctx, req, target).await?;
    let answer = answer(&stored.envelope);
    if let Target::Group(group) = stored.envelope.other.clone() {
        let seq = stored.envelope.seq;
        let to = Receivers::Members { group: group.clone(), version: members, seq };
        ctx.push_message(to, place, group.as_str(), &push_of(stored));
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

/// A message that is stored.
struct Said {
    /// The message as the first request stored it.
    stored: Stored,
    place: Arc<link::Place>,
    /// Version of the group's members.
    members: u64,
}

/// Stores the message once, and notes for the gateway that it is the session's own.
async fn append(ctx: &Context, req: MessageReq, target: Target) -> Result<Said, Reject> {
    let sender = ctx.session().account.clone();
    let content = Content { kind: req.r#type, body: req.body, extra: req.extra };
    let message = NewMessage {
        app: ctx.session().app.clone(),
        sender: sender.clone(),
        device: ctx.session().device().into(),
        target: target.clone(),
        open_talk: ctx.groups().open_talk,
        request: ctx.request_key(&req.client_message_id),
        content: content.clone(),
        chain: ctx.chain().clone(),
    };
    let watch = ctx.chain().watch();
    let appended = ctx.store().append(message).await?;
    watch.stored();
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
    let place = Arc::new(link::Place { after: appended.after, ..place_of(&envelope) });
    ctx.note(|notes| notes.place = Some(place.clone()));
    Ok(Said { stored: Stored { envelope, content }, place, members: appended.members })
}

fn answer(envelope: &Envelope) -> MessageResp {
    MessageResp {
        message_id: envelope.message_id,
        send_time: envelope.send_time,
        conversation: envelope.conversation.to_string(),
        seq: envelope.seq.0,
    }
}
