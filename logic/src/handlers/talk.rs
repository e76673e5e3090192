//! Messages from one account to another.

use imago_proto::{
    Account, Status,
    msg::{MessagePush, MessageReq, MessageResp},
};

use super::within;
use crate::{
    Context, Reject,
    store::{Content, NewMessage},
};

/// Limits in characters (client wire, section 6).
const BODY_MAX: usize = 5000;
const EXTRA_MAX: usize = 500;
const ACCOUNT_MAX: usize = 60;
/// Limit of a client's own message id.
const CLIENT_ID_MAX: usize = 64;

/// Answers `chat.user.talk` once the message is durable, then pushes it. A repeat is answered with
/// the first result, and pushed again: the first try may have died in between.
pub(super) async fn user_talk(ctx: Context, req: MessageReq) -> Result<MessageResp, Reject> {
    if ctx.dest().is_empty() {
        return Err(Reject::new(Status::NoDestination, "dest is empty"));
    }
    within("dest", ctx.dest(), ACCOUNT_MAX)?;
    within("body", &req.body, BODY_MAX)?;
    within("extra", &req.extra, EXTRA_MAX)?;
    within("client_message_id", &req.client_message_id, CLIENT_ID_MAX)?;
    let receiver = Account::from(ctx.dest());
    let sender = ctx.session().account.clone();
    let content = Content { kind: req.r#type, body: req.body, extra: req.extra };
    let appended = ctx
        .store()
        .append(NewMessage {
            app: ctx.session().app.clone(),
            sender: sender.clone(),
            receiver: receiver.clone(),
            request: ctx.request_key(&req.client_message_id),
            content: content.clone(),
        })
        .await?;
    let (receiver, content) = match appended.repeat_of {
        Some(first) => (first.receiver, first.content),
        None => (receiver, content),
    };
    let mut push = MessagePush {
        message_id: appended.message_id,
        r#type: content.kind,
        body: content.body,
        extra: content.extra,
        sender: sender.to_string(),
        send_time: appended.send_time,
        conversation: appended.conversation.to_string(),
        seq: appended.seq.0,
        peer: String::new(),
    };
    if receiver != sender {
        ctx.push(ctx.command(), &receiver, &push);
    }
    push.peer = receiver.to_string();
    ctx.push_to_others(ctx.command(), &sender, &push);
    Ok(MessageResp {
        message_id: appended.message_id,
        send_time: appended.send_time,
        conversation: appended.conversation.to_string(),
        seq: appended.seq.0,
    })
}
