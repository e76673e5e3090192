//! What came while the client was away.

use imago_proto::{
    link,
    msg::{
        MessageContent, MessageContentReq, MessageContentResp, MessageIndex, MessageIndexReq,
        MessageIndexResp,
    },
};
use prost::Message;

use super::{
    ack::{acknowledge, given_of},
    limits::ANSWER_MAX,
    place_of,
};
use crate::{
    Context, Reject,
    store::{Content, Given, Page, Stored, Target},
};

/// Ids in one content request (client wire, section 6).
const CONTENTS_MAX: usize = 200;

/// Answers `chat.offline.index`: what the device has not acknowledged. A message id acknowledges what
/// the session was given up to that message; a negative one asks for everything that is kept.
pub(super) async fn index(ctx: Context, req: MessageIndexReq) -> Result<MessageIndexResp, Reject> {
    let page = match req.message_id {
        ..0 => Page::Everything,
        0.. => Page::Unacknowledged,
    };
    acknowledge(&ctx, given_of(ctx.request())).await?;
    let listing = ctx.store().index(&ctx.device(), page).await?;
    ctx.note(|notes| {
        notes.given = listing.given.into_iter().map(wire_given).collect();
        notes.given_until = listing.messages.last().map_or(0, |last| last.message_id);
    });
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

fn wire_given(given: Given) -> link::Given {
    let Given { conversation, from, to } = given;
    link::Given { conversation: conversation.to_string(), from: from.0, to: to.0 }
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
    let given = given_of_messages(found.iter().flatten());
    let contents = ids.iter().zip(found).map(|(message_id, stored)| {
        let Content { kind, body, extra } = stored.map(|stored| stored.content).unwrap_or_default();
        MessageContent { message_id: *message_id, r#type: kind, body, extra }
    });
    let answer = MessageContentResp { contents: contents.collect() };
    if answer.encoded_len() > ANSWER_MAX {
        return Err(Reject::invalid("message_ids: these contents are too large for one answer"));
    }
    ctx.note(|notes| {
        notes.given = given;
        notes.given_until = ids.last().copied().unwrap_or_default();
    });
    Ok(answer)
}

/// What an answer with these messages gives: neighbours in the list that are neighbours in their
/// conversation make one part.
pub(super) fn given_of_messages<'a>(
    messages: impl IntoIterator<Item = &'a Stored>,
) -> Vec<link::Given> {
    let mut given: Vec<link::Given> = Vec::new();
    for message in messages {
        let place = place_of(&message.envelope);
        match given.iter_mut().rfind(|given| given.conversation == place.conversation) {
            Some(given) if place.seq == given.to + 1 => given.to = place.seq,
            _ => {
                let (from, to) = (place.seq, place.seq);
                given.push(link::Given { conversation: place.conversation, from, to });
            }
        }
    }
    given
}
