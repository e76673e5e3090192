//! What came while the client was away.

use imago_proto::msg::{
    MessageContent, MessageContentReq, MessageContentResp, MessageIndex, MessageIndexReq,
    MessageIndexResp,
};
use prost::Message;

use super::limits::ANSWER_MAX;
use crate::{
    Context, Reject,
    store::{Content, Page, Target},
};

/// Ids in one content request (client wire, section 6).
const CONTENTS_MAX: usize = 200;

/// Answers `chat.offline.index`.
pub(super) async fn index(ctx: Context, req: MessageIndexReq) -> Result<MessageIndexResp, Reject> {
    let session = ctx.session();
    let page = match req.message_id {
        0 => Page::Unread,
        ..0 => Page::Everything,
        past @ 1.. => {
            ctx.store().ack_until(&session.app, &session.account, past).await?;
            Page::After(past)
        }
    };
    let messages = ctx.store().index(&session.app, &session.account, page).await?;
    let indexes = messages.into_iter().map(|message| MessageIndex {
        message_id: message.message_id,
        direction: 0,
        send_time: message.send_time,
        account_b: message.sender.to_string(),
        group: match message.other {
            Target::Group(group) => group.to_string(),
            Target::Account(_) => String::new(),
        },
        conversation: message.conversation.to_string(),
        seq: message.seq.0,
    });
    Ok(MessageIndexResp { indexes: indexes.collect() })
}

/// Answers `chat.offline.content`: in the order asked, an entry for each id.
pub(super) async fn content(
    ctx: Context,
    req: MessageContentReq,
) -> Result<MessageContentResp, Reject> {
    let ids = req.message_ids;
    if ids.is_empty() || ids.len() > CONTENTS_MAX {
        return Err(Reject::invalid(format!(
            "message_ids: expected 1 to {CONTENTS_MAX}, got {}",
            ids.len()
        )));
    }
    let session = ctx.session();
    let found = ctx.store().contents(&session.app, &session.account, ids.clone()).await?;
    let contents = ids.into_iter().zip(found).map(|(message_id, content)| {
        let Content { kind, body, extra } = content.unwrap_or_default();
        MessageContent { message_id, r#type: kind, body, extra }
    });
    let answer = MessageContentResp { contents: contents.collect() };
    if answer.encoded_len() > ANSWER_MAX {
        return Err(Reject::invalid("message_ids: these contents are too large for one answer"));
    }
    Ok(answer)
}
