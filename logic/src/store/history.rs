//! Histories and lists of conversations.

use imago_proto::{Account, ConversationId, GroupId, Seq};

use super::{Stored, Target};

/// Names a conversation of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationRef {
    /// The conversation with this id.
    Conversation(ConversationId),
    /// The direct conversation with this account.
    With(Account),
    /// The conversation of this group.
    Group(GroupId),
}

/// A range of messages in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The newest before this sequence.
    Before(Seq),
    /// The oldest after it.
    After(Seq),
}

/// Part of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Ascending by sequence.
    pub messages: Vec<Stored>,
    /// More messages follow in the direction of the range.
    pub more: bool,
}

/// A conversation as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// Its id.
    pub conversation: ConversationId,
    /// The other side.
    pub other: Target,
    /// Name of the group; empty for a direct conversation.
    pub name: String,
    /// Newest sequence that the member may see.
    pub head: Seq,
    /// Last sequence that the member has read.
    pub cursor: Seq,
    /// Messages from others past the cursor, at most [`UNREAD_MAX`].
    pub unread: u32,
    /// The newest message, unless it was removed.
    pub last: Option<Stored>,
    /// The key of the list, the latest first, and of its pages.
    pub active: Activity,
}

/// Largest number of unread messages that is counted.
pub const UNREAD_MAX: u32 = 1000;

/// The last event in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activity {
    /// Unix nanoseconds: id of the newest message, or the time of joining.
    pub at: i64,
    /// Breaks ties of events at the same time.
    pub tie: i64,
}
