//! The built-in commands.

mod ack;
mod group;
mod history;
mod limits;
mod login;
mod offline;
mod sync;
mod talk;

use imago_proto::{COMMIT_UNKNOWN, Status, command, link, msg::MessagePush};
use prost::Message;

use self::limits::ANSWER_MAX;
use crate::{
    Reject, Router,
    layer::{Recover, Timing},
    store::{Denied, Envelope, Need, StoreError, StoreState, Stored, Target},
};

/// Returns a router with the built-in commands, recovered and timed. Add your own with [`Router::handle`].
pub fn router() -> Router {
    Router::new()
        .layer(Recover)
        .layer(Timing)
        .handle(command::LOGIN_SIGNIN, login::sign_in)
        .handle(command::LOGIN_SIGNOUT, login::sign_out)
        .handle_overlapping(command::CHAT_USER_TALK, talk::user_talk)
        .handle_overlapping(command::CHAT_GROUP_TALK, talk::group_talk)
        .handle_overlapping(command::CHAT_TALK_ACK, ack::ack)
        .handle(command::CHAT_OFFLINE_INDEX, offline::index)
        .handle(command::CHAT_OFFLINE_CONTENT, offline::content)
        .handle(command::CHAT_GROUP_CREATE, group::create)
        .handle(command::CHAT_GROUP_JOIN, group::join)
        .handle(command::CHAT_GROUP_QUIT, group::quit)
        .handle(command::CHAT_GROUP_DETAIL, group::detail)
        .handle(command::CHAT_GROUP_MEMBERS, group::members)
        .handle(command::CHAT_SYNC, sync::sync)
        .handle(command::CHAT_HISTORY, history::history)
        .handle(command::CHAT_CONVERSATIONS, history::conversations)
}

/// Returns what a request needs of the message store.
pub(crate) fn store_need(request: &link::Forward) -> Need {
    match request.command.as_str() {
        // With a message id, it acknowledges.
        command::CHAT_OFFLINE_INDEX if !request.acked.is_empty() => Need::Writing,
        command::CHAT_OFFLINE_INDEX
        | command::CHAT_OFFLINE_CONTENT
        | command::CHAT_GROUP_DETAIL
        | command::CHAT_GROUP_MEMBERS
        | command::CHAT_SYNC
        | command::CHAT_HISTORY
        | command::CHAT_CONVERSATIONS => Need::Reading,
        command if command.starts_with("chat.") => Need::Writing,
        _ => Need::Nothing,
    }
}

/// Returns the refusal of a request that the store cannot serve.
pub(crate) fn store_lacks(need: Need, store: &StoreState) -> Reject {
    if need == Need::Writing && !store.lacks(Need::Reading) {
        return Reject::failed("the message store cannot be written, try again later");
    }
    Reject::failed("the message store is away, try again later")
}

impl From<StoreError> for Reject {
    /// Tells the caller whether to retry, and the log what has failed.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::failed("busy, try again later"),
            StoreError::Overtaking => Self::failed(
                "an earlier message of this conversation was not stored, try again in order",
            ),
            StoreError::Denied(denied) => {
                let status = match denied {
                    Denied::UnknownGroup | Denied::Full => Status::InvalidPacketBody,
                    Denied::NotMember | Denied::NotOwner => Status::Unauthorized,
                };
                Self::new(status, denied.to_string())
            }
            error => {
                tracing::warn!(%error, "store failed");
                Self::failed("the message store failed, try again later")
            }
        }
    }
}

/// Returns a stored message as clients get it.
pub(crate) fn push_of(stored: Stored) -> MessagePush {
    let Stored { envelope, content } = stored;
    let (peer, group) = match &envelope.other {
        // Clients tell messages of the other side by their sender.
        Target::Account(other) if *other == envelope.sender => (String::new(), String::new()),
        Target::Account(other) => (other.to_string(), String::new()),
        Target::Group(group) => (String::new(), group.to_string()),
    };
    MessagePush {
        message_id: envelope.message_id,
        r#type: content.kind,
        body: content.body,
        extra: content.extra,
        sender: envelope.sender.to_string(),
        send_time: envelope.send_time,
        conversation: envelope.conversation.to_string(),
        seq: envelope.seq.0,
        peer,
        group,
    }
}

/// Returns the position of a stored message; the commit of its predecessor is unknown.
pub(crate) fn place_of(envelope: &Envelope) -> link::Place {
    link::Place {
        conversation: envelope.conversation.to_string(),
        seq: envelope.seq.0,
        message_id: envelope.message_id,
        after: COMMIT_UNKNOWN,
    }
}

/// Returns the part that an answer with this message gives.
fn given_of(envelope: &Envelope) -> link::Given {
    let link::Place { conversation, seq, message_id, .. } = place_of(envelope);
    link::Given { conversation, from: seq, to: seq, message_id }
}

/// Returns how many of the first entries fit into one answer: at least one, unless the list is empty.
fn fitting<'a, T: Message + 'a>(entries: impl IntoIterator<Item = &'a T>) -> usize {
    /// Bytes of the tag and length of an entry.
    const OVERHEAD: usize = 8;
    let mut bytes = 0;
    let fit = entries.into_iter().enumerate().take_while(|(position, entry)| {
        bytes += entry.encoded_len() + OVERHEAD;
        *position == 0 || bytes <= ANSWER_MAX
    });
    fit.count()
}

#[cfg(test)]
mod tests;
