//! What a store tells of conversations to people who look at them.

use imago_proto::{Account, ConversationId, GroupId, Seq};

use super::{Stored, Target};

/// Names a conversation of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationRef {
    /// By its id.
    Conversation(ConversationId),
    /// The one with this account.
    With(Account),
    /// That of a group.
    Group(GroupId),
}

/// Which messages of a conversation.
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
    /// There are more in that direction.
    pub more: bool,
}

/// A conversation as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// Its id.
    pub conversation: ConversationId,
    /// With whom.
    pub other: Target,
    /// Name of the group; empty where it is none.
    pub name: String,
    /// Newest sequence that the member may see.
    pub head: Seq,
    /// How far the member has acknowledged.
    pub cursor: Seq,
    /// Messages from others past the cursor, at most [`UNREAD_MAX`].
    pub unread: u32,
    /// The newest message, unless it was removed or there is none.
    pub last: Option<Stored>,
    /// What the list is sorted by, and pages begin behind: the latest first.
    pub active: Activity,
}

/// Most unread messages that are counted.
pub const UNREAD_MAX: u32 = 1000;

/// When something last happened in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activity {
    /// Unix nanoseconds: id of the newest message, or the time of joining.
    pub at: i64,
    /// Tells apart what happened at the same time.
    pub tie: i64,
}
