//! Groups as an application sees them.

use imago_proto::{
    Account, GroupId,
    msg::{self, GroupCreateReq, GroupGetResp},
};

/// A group to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a group is made by `Client::group_create`"]
pub struct NewGroup {
    pub(crate) request: GroupCreateReq,
}

impl NewGroup {
    /// A group with a name of at most 50 characters, and with these members besides its owner.
    pub fn new<M: Into<String>>(
        name: impl Into<String>,
        members: impl IntoIterator<Item = M>,
    ) -> Self {
        let members = members.into_iter().map(Into::into).collect();
        Self { request: GroupCreateReq { name: name.into(), members, ..GroupCreateReq::default() } }
    }

    /// Sets an introduction of at most 300 characters.
    pub fn introduction(mut self, introduction: impl Into<String>) -> Self {
        self.request.introduction = introduction.into();
        self
    }

    /// Sets a picture: an address or a name, of at most 200 characters.
    pub fn avatar(mut self, avatar: impl Into<String>) -> Self {
        self.request.avatar = avatar.into();
        self
    }

    /// Lets every account join, and see the members. Without this, members add others.
    pub fn open(mut self) -> Self {
        self.request.open = true;
        self
    }

    /// Sets the client message id, at most 64 characters: repeats under one id, by one account and
    /// device, make one group. Without this, each group gets an id of its own.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.request.client_message_id = id.into();
        self
    }
}

/// What is known about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name, which others may have, too.
    pub name: String,
    /// Its picture.
    pub avatar: String,
    /// Its introduction.
    pub introduction: String,
    /// The account that owns it.
    pub owner: Account,
    /// Its members, in the order of joining.
    pub members: Vec<Member>,
    /// Time of its creation, in Unix seconds.
    pub created_at: i64,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub account: Account,
    /// A name that is used in this group, or nothing.
    pub alias: String,
    /// A picture, or nothing.
    pub avatar: String,
    /// Time of joining, in Unix seconds.
    pub joined_at: i64,
}

impl From<GroupGetResp> for Group {
    fn from(resp: GroupGetResp) -> Self {
        Self {
            id: resp.id.into(),
            name: resp.name,
            avatar: resp.avatar,
            introduction: resp.introduction,
            owner: resp.owner.into(),
            members: resp.members.into_iter().map(Member::from).collect(),
            created_at: resp.created_at,
        }
    }
}

impl From<msg::Member> for Member {
    fn from(member: msg::Member) -> Self {
        Self {
            account: member.account.into(),
            alias: member.alias,
            avatar: member.avatar,
            joined_at: member.join_time,
        }
    }
}
