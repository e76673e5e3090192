//! Messages that arrived while the client was offline.

use std::mem;

use imago_proto::{
    Seq, link,
    msg::{
        MessageContent, MessageContentReq, MessageContentResp, MessageIndex, MessageIndexReq,
        MessageIndexResp,
    },
};
use prost::Message;

use super::{
    ack::{acknowledge, acknowledged_by},
    given_of,
    limits::ANSWER_MAX,
};
use crate::{
    Context, Reject,
    store::{Content, Given, Listing, Page, Target},
};

/// Ids in one content request (docs/wire.md, "Acknowledgement and sync").
const CONTENTS_MAX: usize = 200;

/// Answers `chat.offline.index` with the messages that the device has not acknowledged. A message id
/// acknowledges what the session was given up to that message; a negative one asks for all messages.
pub(super) async fn index(ctx: Context, req: MessageIndexReq) -> Result<MessageIndexResp, Reject> {
    let page = match req.message_id {
        ..0 => Page::Everything,
        0.. => Page::Unacknowledged,
    };
    acknowledge(&ctx, acknowledged_by(ctx.request())).await?;
    let listing = ctx.store().index(&ctx.device(), page).await?;
    ctx.note(|notes| notes.given = given_by(&listing));
    let indexes = listing.messages.into_iter().map(|message| MessageIndex {
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

/// Returns the part that each message of a listing gives: the message, and those before it in its conversation
/// that are not listed, such as own messages.
fn given_by(listing: &Listing) -> Vec<link::Given> {
    let mut rest = listing.given.clone();
    let given = listing.messages.iter().filter_map(|message| {
        let is_part = |given: &&mut Given| {
            given.conversation == message.conversation
                && (given.from..=given.to).contains(&message.seq)
        };
        let part = rest.iter_mut().find(is_part)?;
        let from = mem::replace(&mut part.from, Seq(message.seq.0 + 1));
        Some(link::Given { from: from.0, ..given_of(message) })
    });
    given.collect()
}

/// Answers `chat.offline.content` with an entry for each id, in the order of the request.
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
    let given = found.iter().flatten().map(|stored| given_of(&stored.envelope)).collect();
    let contents = ids.iter().zip(found).map(|(message_id, stored)| {
        let Content { kind, body, extra } = stored.map(|stored| stored.content).unwrap_or_default();
        MessageContent { message_id: *message_id, r#type: kind, body, extra }
    });
    let answer = MessageContentResp { contents: contents.collect() };
    if answer.encoded_len() > ANSWER_MAX {
        return Err(Reject::invalid("message_ids: these contents are too large for one answer"));
    }
    ctx.note(|notes| notes.given = given);
    Ok(answer)
}
