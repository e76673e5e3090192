//! What a store knows of groups.

use std::sync::Arc;

use imago_proto::{Account, App, GroupId, Seq};

/// A group that somebody wants made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Tenant of all members.
    pub app: App,
    /// Who makes it, its first member.
    pub owner: Account,
    /// What it is called.
    pub name: String,
    /// URL of a picture.
    pub avatar: String,
    /// What it is about.
    pub introduction: String,
    /// The other members. The owner, and whoever is named twice, counts once.
    pub members: Vec<Account>,
    /// Anybody may join.
    pub open: bool,
    /// Key under which a repeat of the same request of this owner is known.
    pub request: String,
}

/// A group as it was made; a repeat gets the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub group: GroupId,
    /// Who is in it now, in the order of joining.
    pub members: Vec<Account>,
}

/// Somebody is to join a group, or to leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// Tenant.
    pub app: App,
    /// Who asks for it.
    pub caller: Account,
    /// Who joins or leaves.
    pub account: Account,
    /// Which group.
    pub group: GroupId,
    /// Key under which a repeat of the same request of this caller is known.
    pub request: String,
}

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// What it is called.
    pub name: String,
    /// URL of a picture.
    pub avatar: String,
    /// What it is about.
    pub introduction: String,
    /// Who made it.
    pub owner: Account,
    /// Anybody may join.
    pub open: bool,
    /// Unix seconds.
    pub created_at: i64,
    /// In the order of joining.
    pub members: Vec<Member>,
}

/// Somebody in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub account: Account,
    /// Unix seconds.
    pub joined_at: i64,
}

/// Who gets the messages of a group.
///
/// The version rises with every change, in the same transaction, and every message is stored with
/// the version that it met. So whoever keeps a list knows at each message whether it is good: no
/// stale one is ever used, and no server has to tell the others of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Number of changes so far.
    pub version: u64,
    /// Each member with the sequence after which it is one.
    pub since: Arc<[(Account, Seq)]>,
}

/// Why a group's request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no such group in the caller's app.
    #[error("no such group")]
    UnknownGroup,
    /// Only members may.
    #[error("not a member of the group")]
    NotMember,
    /// Only the owner, or the account itself, may.
    #[error("not the owner of the group")]
    NotOwner,
    /// It has as many members as it may have.
    #[error("the group is full")]
    Full,
}
