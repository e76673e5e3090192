//! The message store: its trait, and the types of its methods.

mod atomic_instant;
mod chain;
mod device;
mod group;
mod history;
mod ids;
pub mod null;
mod options;
pub mod postgres;
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
    history::{Activity, ConversationRef, History, Overview, Range, UNREAD_MAX},
    options::StoreOptions,
};

/// Largest number of entries in a [`Listing`] (docs/wire.md, "Acknowledgement and sync").
pub const INDEX_MAX: usize = 2000;

/// The receiver of a message.
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
    /// Tenant of sender and receivers.
    pub app: App,
    /// The sender.
    pub sender: Account,
    /// The [name](Device::name) of the sender's device.
    pub device: Box<str>,
    /// The receiver.
    pub target: Target,
    /// Accounts that are not members of the group may send, too.
    pub open_talk: bool,
    /// Idempotency key: requests of this sender with an equal key are repeats.
    pub request: String,
    /// The content.
    pub content: Content,
    /// Links it to other messages of its sender to the same receiver that may be stored at the same time, in
    /// the order of the calls of [`append`](MessageStore::append).
    pub chain: Chain,
}

/// The content of a message.
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
    /// Unique, positive, and not below the send time. With several servers, ids need not rise with
    /// sequences.
    pub message_id: i64,
    /// Unix nanoseconds.
    pub send_time: i64,
    /// The conversation of sender and receiver, or of the group.
    pub conversation: ConversationId,
    /// Position in it.
    pub seq: Seq,
    /// Commit of the message before it in its conversation, as [`Mark`] counts: 0 for a first message,
    /// [`COMMIT_UNKNOWN`](imago_proto::COMMIT_UNKNOWN) for a repeat.
    pub after: u64,
    /// Version of the group's [`Members`]; 0 for a message to an account.
    pub members: u64,
    /// For a repeat, what the first request has stored.
    pub repeat_of: Option<First>,
}

/// What the first of several requests with one key has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// The receiver.
    pub target: Target,
    /// The content.
    pub content: Content,
}

/// A message without its content.
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
    /// The sender.
    pub sender: Account,
    /// The other side of the conversation as the reader sees it: an account, or the group.
    pub other: Target,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Sender, time, and position.
    pub envelope: Envelope,
    /// The content.
    pub content: Content,
}

/// Which messages from others a [`Listing`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Those that the device has not acknowledged.
    Unacknowledged,
    /// All that the store keeps.
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
    /// The store's queue is full. The caller may try again.
    #[error("store is busy")]
    Busy,
    /// An earlier message of the same [`Chain`] has failed. The caller may try again, in order.
    #[error("an earlier message of the conversation failed")]
    Overtaking,
    /// The database failed.
    #[error("store failed: {0}")]
    Failed(String),
    /// The caller may not do this. The store is unchanged.
    #[error(transparent)]
    Denied(#[from] Denied),
}

impl StoreError {
    /// Returns the reason, without the URL of the store.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Open { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// The result of a store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Keeps messages, groups and cursors. Apps are isolated from each other.
#[async_trait]
pub trait MessageStore: Send + Sync + 'static {
    /// Stores a message once. The message is durable when this returns. Messages of one [`Chain`] are stored
    /// in the order in which the futures of their calls are first polled.
    ///
    /// # Errors
    /// [`Denied`] for an unknown group, or one in which the sender is no member;
    /// [`StoreError::Overtaking`] where the message's chain is broken.
    async fn append(&self, message: NewMessage) -> Result<Appended>;

    /// Begins a session of a device, and makes the device known. The cursors of a new device, as of an
    /// unknown one, are the read marks of its account. Returns the mark of everything committed before, which
    /// covers all that a new device has acknowledged.
    async fn enter(&self, device: &Device) -> Result<Mark>;

    /// Acknowledges what a device was given, and makes the device known.
    ///
    /// The cursor of a conversation moves to the end of a part that begins at most one past the cursor. It
    /// never moves back, nor past the newest message that the account may see. Parts of one conversation may
    /// come in any order. The account's read mark follows. Conversations of other accounts are ignored.
    ///
    /// Returns the cursor of each conversation that was named: of several memberships in a group, that of the
    /// last one.
    async fn ack(&self, device: &Device, given: Vec<Given>) -> Result<Vec<(ConversationId, Seq)>>;

    /// Lists messages from others to a device's account, at most [`INDEX_MAX`].
    async fn index(&self, device: &Device, page: Page) -> Result<Listing>;

    /// Returns messages by their ids, in the order of `ids`; `None` for a message that is missing or that
    /// `account` may not see.
    async fn contents(
        &self,
        app: &App,
        account: &Account,
        ids: Vec<i64>,
    ) -> Result<Vec<Option<Stored>>>;

    /// Returns at most `limit` messages past `cursors`, the account's own included. Conversations that are not
    /// named begin at the device's cursors. The messages of each conversation have no gaps, and are in the
    /// order of their sequences; across conversations the order is by message id as far as that allows.
    async fn sync(
        &self,
        device: &Device,
        cursors: Vec<(ConversationId, Seq)>,
        limit: usize,
    ) -> Result<Vec<Stored>>;

    /// Returns at most `limit` messages that a device misses: it has not acknowledged them, `mark` does not
    /// cover them, and they are not in `have`. Messages of the account's other devices are included, those of
    /// the device itself are not. The order is that of [`sync`](Self::sync).
    async fn owed(
        &self,
        device: &Device,
        mark: &Mark,
        have: Vec<Given>,
        limit: usize,
    ) -> Result<Owed>;

    /// Returns at most `limit` messages of one conversation; `None` where the account has no such
    /// conversation.
    async fn history(
        &self,
        app: &App,
        account: &Account,
        conversation: ConversationRef,
        range: Range,
        limit: usize,
    ) -> Result<Option<History>>;

    /// Returns the conversations of an account that were last active before `before`, the latest first.
    async fn conversations(
        &self,
        app: &App,
        account: &Account,
        before: Option<Activity>,
        limit: usize,
    ) -> Result<Vec<Overview>>;

    /// Creates a group once.
    ///
    /// # Errors
    /// [`Denied::Full`] with more than `members_max` members.
    async fn create_group(&self, group: NewGroup, members_max: usize) -> Result<Created>;

    /// Adds an account to a group, and succeeds if it is a member already. The account sees what is sent from
    /// now on, and what it saw in earlier memberships. Members may add any account, others may add themselves
    /// to an open group.
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    async fn join_group(&self, change: MemberChange, members_max: usize) -> Result<()>;

    /// Removes an account from a group, and succeeds if it is no member. The account keeps seeing what was sent
    /// while it was a member. The owner may remove any account, others may remove themselves.
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    async fn quit_group(&self, change: MemberChange) -> Result<()>;

    /// Returns a group with its members; `None` where the app has no such group.
    async fn group(&self, app: &App, group: &GroupId) -> Result<Option<Group>>;

    /// Returns the members of a group; `None` where the app has no such group.
    async fn members(&self, app: &App, group: &GroupId) -> Result<Option<Members>>;

    /// Probes the store: writes a small value durably and reads it, without a retry. Messages, groups and
    /// cursors are not changed.
    async fn probe(&self) -> Result<()>;

    /// Probes reading alone: reads a small value, without a retry and without a write.
    async fn probe_reading(&self) -> Result<()>;

    /// Returns when a message was last stored; `None` where that is unknown.
    fn last_write(&self) -> Option<Instant> {
        None
    }

    /// Removes some of the messages with ids below `below`, and some of the devices that have not entered since
    /// that time (Unix nanoseconds), with their cursors. Returns the number of both, and 0 once none are left.
    /// A device may stay for a day longer, because stores may record its time by the day.
    async fn prune(&self, below: i64) -> Result<usize>;
}

#[cfg(test)]
mod conformance;
