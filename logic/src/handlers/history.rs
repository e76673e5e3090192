//! Histories and lists of conversations.

use imago_proto::{
    Account, ConversationId, GroupId, Seq, Status,
    msg::{
        Conversation, ConversationsReq, ConversationsResp, HistoryReq, HistoryResp, MessagePush,
    },
};

use super::{
    fitting, given_of,
    limits::{ACCOUNT_MAX, GROUP_ID_MAX, wanted, within},
    push_of,
};
use crate::{
    Context, Reject,
    store::{Activity, ConversationRef, History, Overview, Range, Target},
};

/// Limits of the entries in one answer.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;

/// Answers `chat.history`.
pub(super) async fn history(ctx: Context, req: HistoryReq) -> Result<HistoryResp, Reject> {
    let limit = wanted("limit", req.limit, LIMIT, LIMIT_MAX)?;
    let range = match (req.before, req.after) {
        (0, 0) => Range::Before(Seq(u64::MAX)),
        (before, 0) => Range::Before(Seq(before)),
        (0, after) => Range::After(Seq(after)),
        _ => return Err(Reject::invalid("before, after: expected one of them, got both")),
    };
    let conversation = conversation_ref(&req)?;
    let is_direct = matches!(conversation, ConversationRef::With(_));
    let session = ctx.session();
    let found =
        ctx.store().history(&session.app, &session.account, conversation, range, limit).await?;
    let found = match found {
        Some(found) => found,
        // Any account may be talked to: this conversation has no messages yet.
        None if is_direct => History::default(),
        None => return Err(Reject::new(Status::Unauthorized, "no such conversation of yours")),
    };
    let mut given: Vec<_> =
        found.messages.iter().map(|message| given_of(&message.envelope)).collect();
    let mut messages: Vec<MessagePush> = found.messages.into_iter().map(push_of).collect();
    let fit = match range {
        Range::After(_) => fitting(&messages),
        Range::Before(_) => fitting(messages.iter().rev()),
    };
    let cut = messages.len() - fit;
    match range {
        Range::After(_) => {
            messages.truncate(fit);
            given.truncate(fit);
        }
        Range::Before(_) => {
            messages.drain(..cut);
            given.drain(..cut);
        }
    }
    ctx.note(|notes| notes.given = given);
    Ok(HistoryResp { messages, more: found.more || cut > 0 })
}

fn conversation_ref(req: &HistoryReq) -> Result<ConversationRef, Reject> {
    match (req.conversation.as_str(), req.peer.as_str(), req.group.as_str()) {
        (id, "", "") if !id.is_empty() => {
            within("conversation", id, GROUP_ID_MAX)?;
            Ok(ConversationRef::Conversation(ConversationId::from(id)))
        }
        ("", peer, "") if !peer.is_empty() => {
            within("peer", peer, ACCOUNT_MAX)?;
            Ok(ConversationRef::With(Account::from(peer)))
        }
        ("", "", group) if !group.is_empty() => {
            within("group", group, GROUP_ID_MAX)?;
            Ok(ConversationRef::Group(GroupId::from(group)))
        }
        _ => Err(Reject::invalid("conversation, peer, group: expected exactly one of them")),
    }
}

/// Answers `chat.conversations`.
pub(super) async fn conversations(
    ctx: Context,
    req: ConversationsReq,
) -> Result<ConversationsResp, Reject> {
    let limit = wanted("limit", req.limit, LIMIT, LIMIT_MAX)?;
    let before = match req.page.as_str() {
        "" => None,
        page => Some(activity(page).ok_or_else(|| {
            Reject::invalid("page: expected what an answer gave as its next, or nothing")
        })?),
    };
    let session = ctx.session();
    let found =
        ctx.store().conversations(&session.app, &session.account, before, limit + 1).await?;
    let mut conversations: Vec<Conversation> =
        found.iter().take(limit).map(conversation_of).collect();
    let fit = fitting(&conversations);
    conversations.truncate(fit);
    let last = found.get(conversations.len().wrapping_sub(1));
    let next = match last {
        Some(last) if conversations.len() < found.len() => page_of(last.active),
        _ => String::new(),
    };
    Ok(ConversationsResp { conversations, next })
}

fn conversation_of(overview: &Overview) -> Conversation {
    let (peer, group) = match &overview.other {
        Target::Account(peer) => (peer.to_string(), String::new()),
        Target::Group(group) => (String::new(), group.to_string()),
    };
    Conversation {
        conversation: overview.conversation.to_string(),
        peer,
        group,
        name: overview.name.clone(),
        head: overview.head.0,
        cursor: overview.cursor.0,
        unread: overview.unread,
        last: overview.last.clone().map(push_of),
    }
}

/// Parses the event before which a page begins.
fn page_of(Activity { at, tie }: Activity) -> String {
    format!("{at}.{tie}")
}

fn activity(page: &str) -> Option<Activity> {
    let (at, tie) = page.split_once('.')?;
    Some(Activity { at: at.parse().ok()?, tie: tie.parse().ok()? })
}
