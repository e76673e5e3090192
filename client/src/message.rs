//! Messages as an application sees them.

use imago_proto::{Account, ConversationId, GroupId, Seq, msg::MessagePush};

/// Types of a message's body.
pub mod content_type {
    /// Plain text.
    pub const TEXT: i32 = 1;
    /// An image.
    pub const IMAGE: i32 = 2;
    /// Speech.
    pub const VOICE: i32 = 3;
    /// A film.
    pub const VIDEO: i32 = 4;
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message is sent by `Client::talk` or `Client::group_talk`"]
pub struct Outgoing {
    pub(crate) kind: i32,
    pub(crate) body: String,
    pub(crate) extra: String,
    pub(crate) id: Option<String>,
}

impl Outgoing {
    /// A text of at most 5000 characters.
    pub fn text(body: impl Into<String>) -> Self {
        Self::new(content_type::TEXT, body)
    }

    /// A message of any [`content_type`].
    pub fn new(kind: i32, body: impl Into<String>) -> Self {
        Self { kind, body: body.into(), extra: String::new(), id: None }
    }

    /// Adds at most 500 characters that go with the body.
    pub fn extra(mut self, extra: impl Into<String>) -> Self {
        self.extra = extra.into();
        self
    }

    /// Sets the client message id, at most 64 characters: repeats under one id, by one account and
    /// device, are stored once. Without this, each message gets an id of its own.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

impl From<&str> for Outgoing {
    fn from(body: &str) -> Self {
        Self::text(body)
    }
}

impl From<String> for Outgoing {
    fn from(body: String) -> Self {
        Self::text(body)
    }
}

/// Proof that a message is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Unique number of the message.
    pub message_id: i64,
    /// The conversation it belongs to.
    pub conversation: ConversationId,
    /// Its position in the conversation.
    pub seq: Seq,
    /// Time at which it was stored, in Unix nanoseconds.
    pub send_time: i64,
}

/// A message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique number of the message.
    pub message_id: i64,
    /// The conversation it belongs to.
    pub conversation: ConversationId,
    /// Its position in the conversation. Positions rise, but not always by one: what this client
    /// itself sent has a position, too.
    pub seq: Seq,
    /// The sender. The account itself, for a copy of what it sent from another device, or from
    /// this one before this client was made.
    pub sender: Account,
    /// Set on such a copy, where it was not sent to a group: the receiver.
    pub sent_to: Option<Account>,
    /// The group it was sent to, if it was sent to one.
    pub group: Option<GroupId>,
    /// Time at which it was stored, in Unix nanoseconds.
    pub send_time: i64,
    /// One of [`content_type`].
    pub kind: i32,
    /// Its content.
    pub body: String,
    /// Data that goes with the body.
    pub extra: String,
}

impl Message {
    /// A message as `account` sees it; `None` for one that is not numbered.
    pub(crate) fn of(push: MessagePush, account: &str) -> Option<Self> {
        if push.conversation.is_empty() || push.seq == 0 {
            return None;
        }
        let group = (!push.group.is_empty()).then(|| GroupId::from(push.group));
        // A message to oneself names no other side.
        let other = if push.peer.is_empty() { account.into() } else { Account::from(push.peer) };
        let sent_to = (push.sender == account && group.is_none()).then_some(other);
        Some(Self {
            message_id: push.message_id,
            conversation: push.conversation.into(),
            seq: Seq(push.seq),
            sender: push.sender.into(),
            sent_to,
            group,
            send_time: push.send_time,
            kind: push.r#type,
            body: push.body,
            extra: push.extra,
        })
    }

    pub(crate) fn is_own_of(&self, account: &str) -> bool {
        self.sender.as_str() == account
    }
}
