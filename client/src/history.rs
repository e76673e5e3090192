//! Conversations for people to look at.

use imago_proto::{
    Account, ConversationId, GroupId, Seq,
    msg::{self, ConversationsResp, HistoryReq, HistoryResp},
};

use crate::Message;

/// What names a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Its id.
    Conversation(ConversationId),
    /// The other side of a direct one.
    With(Account),
    /// The group.
    Group(GroupId),
}

impl Place {
    /// The conversation with an account.
    pub fn with(account: impl Into<Account>) -> Self {
        Self::With(account.into())
    }

    /// The conversation of a group.
    pub fn group(group: impl Into<GroupId>) -> Self {
        Self::Group(group.into())
    }
}

/// Which messages of a conversation. Positions begin with 1: one of 0 is no bound, that is
/// [`Latest`](Self::Latest).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// The newest.
    #[default]
    Latest,
    /// The newest before this one.
    Before(Seq),
    /// The oldest after this one.
    After(Seq),
}

/// A part of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// In their order, what the account itself sent included.
    pub messages: Vec<Message>,
    /// There are more in the direction asked for.
    pub more: bool,
}

/// One of the account's conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The other side, or the group.
    pub place: Place,
    /// The group's name.
    pub name: Option<String>,
    /// Position of the newest message that the account may see.
    pub head: Seq,
    /// How far the account has acknowledged.
    pub cursor: Seq,
    /// Messages from others past that; 1000 means that or more.
    pub unread: u32,
    /// The newest message, if there is one.
    pub last: Option<Message>,
}

/// A page of the account's conversations, the latest active first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversations {
    /// The conversations.
    pub conversations: Vec<Conversation>,
    /// The page behind this one, if there is one.
    pub next: Option<String>,
}

pub(crate) fn request(place: Place, range: Range, limit: u32) -> HistoryReq {
    let mut request = HistoryReq { limit, ..HistoryReq::default() };
    match place {
        Place::Conversation(id) => request.conversation = id.to_string(),
        Place::With(account) => request.peer = account.to_string(),
        Place::Group(group) => request.group = group.to_string(),
    }
    match range {
        Range::Latest => {}
        Range::Before(seq) => request.before = seq.0,
        Range::After(seq) => request.after = seq.0,
    }
    request
}

impl History {
    pub(crate) fn of(resp: HistoryResp, account: &str) -> Self {
        let messages = resp.messages.into_iter();
        Self {
            messages: messages.filter_map(|push| Message::of(push, account)).collect(),
            more: resp.more,
        }
    }
}

impl Conversations {
    pub(crate) fn of(resp: ConversationsResp, account: &str) -> Self {
        let conversations = resp.conversations.into_iter();
        Self {
            conversations: conversations.map(|one| Conversation::of(one, account)).collect(),
            next: (!resp.next.is_empty()).then_some(resp.next),
        }
    }
}

impl Conversation {
    fn of(conversation: msg::Conversation, account: &str) -> Self {
        let is_group = !conversation.group.is_empty();
        Self {
            id: conversation.conversation.into(),
            place: match is_group {
                true => Place::group(conversation.group),
                false => Place::with(conversation.peer),
            },
            name: is_group.then_some(conversation.name),
            head: Seq(conversation.head),
            cursor: Seq(conversation.cursor),
            unread: conversation.unread,
            last: conversation.last.and_then(|push| Message::of(push, account)),
        }
    }
}
