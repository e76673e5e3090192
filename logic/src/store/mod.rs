//! Where accepted messages are: the trait, and what goes through it.

mod chain;
mod device;
mod group;
mod history;
mod ids;
pub mod null;
mod options;
pub mod postgres;
mod pulse;
pub mod sqlite;
mod watch;

use std::time::Instant;

use async_trait::async_trait;
use imago_proto::{Account, App, ConversationId, GroupId, Seq, link::Mark};

pub(crate) use self::chain::Chains;
#[cfg(test)]
pub(crate) use self::watch::Health;
pub(crate) use self::watch::{Need, StoreState, StoreWatch};
pub use self::{
    chain::Chain,
    device::{Device, Given, Listing, Owed},
    group::{Created, Denied, Group, Member, MemberChange, Members, NewGroup},
    history::{Activity, History, Overview, Place, Range, UNREAD_MAX},
    options::StoreOptions,
};

/// Most entries that one index answer holds (docs/wire.md, "Acknowledgement and sync").
pub const INDEX_MAX: usize = 2000;

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One account.
    Account(Account),
    /// The members of a group.
    Group(GroupId),
}

/// A message that a sender wants stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Tenant of all who are concerned.
    pub app: App,
    /// Who sends it.
    pub sender: Account,
    /// On which of its devices, as [`Device::name`] says it.
    pub device: Box<str>,
    /// Whom it is for.
    pub target: Target,
    /// Whoever is not a member of the group may send too.
    pub open_talk: bool,
    /// Key under which a repeat of the same request of this sender is known.
    pub request: String,
    /// What it says.
    pub content: Content,
    /// Those of the same sender to the same receiver that may be on their way at the same time, in
    /// the order of the calls of [`append`](MessageStore::append).
    pub chain: Chain,
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// 1 text, 2 image, 3 voice, 4 video.
    pub kind: i32,
    /// Its body.
    pub body: String,
    /// Free text beside the body.
    pub extra: String,
}

/// The result of storing a message; a repeat gets the first one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Unique and positive, and not below its send time. Where several servers write, ids need not
    /// rise with sequences.
    pub message_id: i64,
    /// Unix nanoseconds.
    pub send_time: i64,
    /// The conversation of sender and receiver, or of the group.
    pub conversation: ConversationId,
    /// Position in it.
    pub seq: Seq,
    /// Commit of the message before it in its conversation, as [`Mark`] counts: 0 where there is
    /// none, [`COMMIT_UNKNOWN`](imago_proto::COMMIT_UNKNOWN) for a repeat.
    pub after: u64,
    /// Version of the group's [`Members`]; 0 for a message to an account.
    pub members: u64,
    /// The request had been stored before, as this.
    pub repeat_of: Option<First>,
}

/// What the first of several equal requests stored, whatever the later ones say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// Whom it is for.
    pub target: Target,
    /// What it says.
    pub content: Content,
}

/// A message without what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// See [`Appended::message_id`].
    pub message_id: i64,
    /// Unix nanoseconds.
    pub send_time: i64,
    /// Its conversation.
    pub conversation: ConversationId,
    /// Position in it.
    pub seq: Seq,
    /// Who sent it.
    pub sender: Account,
    /// The other side of the conversation as the reader sees it: an account, or the group.
    pub other: Target,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Who sent it when, and where it belongs.
    pub envelope: Envelope,
    /// What it says.
    pub content: Content,
}

/// Which messages from others an index lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Those that the device has not acknowledged.
    Unacknowledged,
    /// Everything that is kept.
    Everything,
}

/// Error of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be opened as configured.
    #[error("store {url}: {reason}")]
    Open {
        /// The configured URL.
        url: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// More is waiting than the store takes: try again.
    #[error("store is busy")]
    Busy,
    /// An earlier message of the same [`Chain`] has failed: try again, in order.
    #[error("an earlier message of the conversation failed")]
    Overtaking,
    /// The database failed.
    #[error("store failed: {0}")]
    Failed(String),
    /// The caller may not do this. The store is as it was.
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl StoreError {
    /// What is wrong, without the URL of the store.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Open { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// Result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Keeps messages and cursors. Accounts of different apps never meet in it.
#[async_trait]
pub trait MessageStore: Send + Sync + 'static {
    /// Stores a message once. When this returns, the message is durable. Messages of one [`Chain`]
    /// are stored in the order in which the futures of their calls are first polled.
    ///
    /// # Errors
    /// [`Denied`] for a group that is not there, or that the sender is not in;
    /// [`StoreError::Overtaking`] where the message's chain is broken.
    async fn append(&self, message: NewMessage) -> Result<Appended>;

    /// A session of a device begins: from now on the device is known. A new one has acknowledged what
    /// its account has read, as has one that is not known. Gives what was committed before: it covers
    /// all that a new device has acknowledged.
    async fn enter(&self, device: &Device) -> Result<Mark>;

    /// A device acknowledges what it was given; one that is not known becomes known. Its cursor in a
    /// conversation moves over a part that begins at most one past it, never back nor past the newest
    /// message, and over what the account may see of it. Parts of one conversation may come in any order.
    /// The account's read mark follows. Conversations of others are ignored. Gives the device's cursor,
    /// as it is then, of each conversation named that it has: the last one where the account was in a
    /// group several times.
    async fn ack(&self, device: &Device, given: Vec<Given>) -> Result<Vec<(ConversationId, Seq)>>;

    /// Messages from others to a device's account, at most [`INDEX_MAX`].
    async fn index(&self, device: &Device, page: Page) -> Result<Listing>;

    /// Messages by their ids, in the order asked; `None` for one that is missing or not for
    /// `account` to see.
    async fn contents(
        &self,
        app: &App,
        account: &Account,
        ids: Vec<i64>,
    ) -> Result<Vec<Option<Stored>>>;

    /// Messages, own ones too, past these sequences and, of conversations that are not named, past
    /// the device's cursors, at most `limit`. In each conversation without a hole from there on, by
    /// sequence; across conversations by message id as far as that allows.
    async fn sync(
        &self,
        device: &Device,
        cursors: Vec<(ConversationId, Seq)>,
        limit: usize,
    ) -> Result<Vec<Stored>>;

    /// Messages, those of its account's other devices too, that the device has not acknowledged, that
    /// `mark` does not cover, and that are not among those which it has, at most `limit`. Those that
    /// the device itself sent are left out. Ordered as in [`sync`](Self::sync).
    async fn owed(
        &self,
        device: &Device,
        mark: &Mark,
        have: Vec<Given>,
        limit: usize,
    ) -> Result<Owed>;

    /// Messages of one conversation, at most `limit`; `None` where the account has no such one.
    async fn history(
        &self,
        app: &App,
        account: &Account,
        place: Place,
        range: Range,
        limit: usize,
    ) -> Result<Option<History>>;

    /// Conversations of an account, the latest active first, those before `before`.
    async fn conversations(
        &self,
        app: &App,
        account: &Account,
        before: Option<Activity>,
        limit: usize,
    ) -> Result<Vec<Overview>>;

    /// Makes a group once.
    ///
    /// # Errors
    /// [`Denied::Full`] with more than `members_max` members.
    async fn create_group(&self, group: NewGroup, members_max: usize) -> Result<Created>;

    /// Adds an account to a group; one that is in it already is a success. It sees what is sent
    /// from now on, and what it saw when it was a member before. Members may add anybody, others
    /// themselves to an open group.
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    async fn join_group(&self, change: MemberChange, members_max: usize) -> Result<()>;

    /// Removes an account from a group; one that is not in it is a success. It keeps seeing what
    /// was sent while it was a member. Owners may remove anybody, others themselves.
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    async fn quit_group(&self, change: MemberChange) -> Result<()>;

    /// A group with its members; `None` where there is none in this app.
    async fn group(&self, app: &App, group: &GroupId) -> Result<Option<Group>>;

    /// Who gets the messages of a group now; `None` where there is none in this app.
    async fn members(&self, app: &App, group: &GroupId) -> Result<Option<Members>>;

    /// Writes something small, durable when this returns, and reads it again, without trying twice.
    /// Messages, groups and cursors stay as they are.
    async fn probe(&self) -> Result<()>;

    /// Reads something small, without trying twice. Needs nothing to be written.
    async fn probe_reading(&self) -> Result<()>;

    /// When a message was last stored; `None` where that is not known.
    fn last_write(&self) -> Option<Instant> {
        None
    }

    /// Removes some of the messages with ids below this one, and of the devices that have not been
    /// there since then (Unix nanoseconds), with their cursors; says how many. 0: none are left. When a
    /// device was there may be known to the day: it may stay for one more.
    async fn prune(&self, below: i64) -> Result<usize>;
}

#[cfg(test)]
mod conformance;
