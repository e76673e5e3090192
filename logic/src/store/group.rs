//! Groups, as a store knows them.

use std::sync::Arc;

use imago_proto::{Account, App, GroupId, Seq};

/// A group to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Tenant of all members.
    pub app: App,
    /// Its creator and first member.
    pub owner: Account,
    /// Its name.
    pub name: String,
    /// URL of a picture.
    pub avatar: String,
    /// Its description.
    pub introduction: String,
    /// The other members. Repeated names, and the owner's, count once.
    pub members: Vec<Account>,
    /// Any account may join.
    pub open: bool,
    /// Idempotency key: requests of this owner with an equal key are repeats.
    pub request: String,
}

/// The result of creating a group; a repeat gets the first one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub group: GroupId,
    /// Its members now, in the order of joining.
    pub members: Vec<Account>,
}

/// A request to add an account to a group, or to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// Tenant.
    pub app: App,
    /// The account that asks for it.
    pub caller: Account,
    /// The account that joins or leaves.
    pub account: Account,
    /// The group.
    pub group: GroupId,
    /// Idempotency key: requests of this caller with an equal key are repeats.
    pub request: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// URL of a picture.
    pub avatar: String,
    /// Its description.
    pub introduction: String,
    /// The account that created it.
    pub owner: Account,
    /// Any account may join.
    pub open: bool,
    /// When it was created, in Unix seconds.
    pub created_at: i64,
    /// Its members, in the order of joining.
    pub members: Vec<Member>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its account.
    pub account: Account,
    /// When it joined, in Unix seconds.
    pub joined_at: i64,
}

/// The members that get the messages of a group.
///
/// The version rises in the transaction of each change, and each message is stored with the version at that
/// time. A server that caches a list compares the two at each message, so that no stale list is used and
/// servers need not tell each other of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The number of changes so far.
    pub version: u64,
    /// Each member, with the sequence past which it sees messages.
    pub since: Arc<[(Account, Seq)]>,
}

/// Why a request for a group is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The caller's app has no such group.
    #[error("no such group")]
    UnknownGroup,
    /// The caller is no member.
    #[error("not a member of the group")]
    NotMember,
    /// The caller is neither the owner nor the account itself.
    #[error("not the owner of the group")]
    NotOwner,
    /// The group has as many members as it may have.
    #[error("the group is full")]
    Full,
}
