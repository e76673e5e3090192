//! Groups: making them, changing who is in them, talking to them.

use bytes::Bytes;
use imago_proto::{
    Account, GroupId, command,
    msg::{GroupCreateResp, GroupGetReq, GroupGetResp, GroupJoinReq, GroupQuitReq},
};

use super::{Ask, Client, new_id};
use crate::{Error, Group, Member, NewGroup, Outgoing, Receipt, outbox::Lane};

/// All of these are repeated over lost connections and busy servers as [`Client::talk`] is, and
/// carried out once.
impl Client {
    /// Makes a group, ourselves its owner.
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_create(&self, group: NewGroup) -> Result<GroupId, Error> {
        let mut request = group.request;
        if request.client_message_id.is_empty() {
            request.client_message_id = new_id();
        }
        let id = request.client_message_id.clone();
        let ask = change(command::CHAT_GROUP_CREATE, &request, id.clone());
        let answer: GroupCreateResp = self.call(Lane::Alone(id), ask).await?;
        Ok(answer.group_id.into())
    }

    /// Enters a group, which has to be open. Where we are in it already, it is a success.
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_join(&self, group: impl Into<GroupId>) -> Result<(), Error> {
        self.group_add(group, self.session().account).await
    }

    /// Brings somebody into a group that we are in.
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_add(
        &self,
        group: impl Into<GroupId>,
        account: impl Into<Account>,
    ) -> Result<(), Error> {
        let (group_id, id) = (group.into().to_string(), new_id());
        let lane = Lane::Group(group_id.clone());
        let account = account.into().to_string();
        let request = GroupJoinReq { account, group_id, client_message_id: id.clone() };
        self.call(lane, change(command::CHAT_GROUP_JOIN, &request, id)).await
    }

    /// Leaves a group. Where we are not in it, it is a success.
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_quit(&self, group: impl Into<GroupId>) -> Result<(), Error> {
        self.group_remove(group, self.session().account).await
    }

    /// Takes somebody out of a group that we own.
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_remove(
        &self,
        group: impl Into<GroupId>,
        account: impl Into<Account>,
    ) -> Result<(), Error> {
        let (group_id, id) = (group.into().to_string(), new_id());
        let lane = Lane::Group(group_id.clone());
        let account = account.into().to_string();
        let request = GroupQuitReq { account, group_id, client_message_id: id.clone() };
        self.call(lane, change(command::CHAT_GROUP_QUIT, &request, id)).await
    }

    /// Sends a message to everybody in a group, and waits until it is stored: as
    /// [`talk`](Self::talk) does for an account. What we send to one group is kept in order.
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_talk(
        &self,
        group: impl Into<GroupId>,
        message: impl Into<Outgoing>,
    ) -> Result<Receipt, Error> {
        let group = group.into().to_string();
        let call = self.message(command::CHAT_GROUP_TALK, group.clone(), message.into());
        self.send(Lane::Group(group), call).await
    }

    /// What is known about a group that we are in, or that is open.
    ///
    /// # Errors
    /// [`Error::Rejected`] for any other; [`Error::Timeout`] when the talk deadline passes;
    /// [`Error::Closed`].
    pub async fn group(&self, group: impl Into<GroupId>) -> Result<Group, Error> {
        let request = GroupGetReq { group_id: group.into().to_string() };
        let answer: GroupGetResp = self.read(command::CHAT_GROUP_DETAIL, &request).await?;
        Ok(answer.into())
    }

    /// Who is in a group that we are in, or that is open, in the order of joining.
    ///
    /// # Errors
    /// As [`group`](Self::group).
    pub async fn group_members(&self, group: impl Into<GroupId>) -> Result<Vec<Member>, Error> {
        let request = GroupGetReq { group_id: group.into().to_string() };
        let answer: GroupGetResp = self.read(command::CHAT_GROUP_MEMBERS, &request).await?;
        Ok(answer.members.into_iter().map(Member::from).collect())
    }
}

fn change(command: &'static str, request: &impl prost::Message, id: String) -> Ask {
    let body = Bytes::from(request.encode_to_vec());
    Ask { command, dest: String::new(), body, text: None, id: Some(id) }
}
