//! Groups: making them, changing who is in them, talking to them.

use bytes::Bytes;
use imago_proto::{
    Account, GroupId, command,
    msg::{GroupCreateResp, GroupGetReq, GroupGetResp, GroupJoinReq, GroupQuitReq},
};

use super::{Ask, Client, new_id};
use crate::{
    Error, Group, Member, NewGroup, Outgoing, Receipt,
    outbox::{Lane, Repeat},
};

/// All of these are repeated over lost connections and busy servers as [`Client::talk`] is, and
/// carried out once.
impl Client {
    /// Creates a group that the client's account owns, and returns its id.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// use imago_client::NewGroup;
    ///
    /// let group = NewGroup::new("climbing", ["bob", "carol"]).introduction("Sundays").open();
    /// let id = client.group_create(group).await?;
    /// client.group_talk(id, "who comes along?").await?;
    /// # Ok(())
    /// # }
    /// ```
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

    /// Joins a group, which has to be open. To join twice is a success.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// client.group_join("a group's id").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_join(&self, group: impl Into<GroupId>) -> Result<(), Error> {
        self.group_add(group, self.session().account).await
    }

    /// Adds an account to a group of which the client's account is a member.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// client.group_add("a group's id", "dave").await?;
    /// # Ok(())
    /// # }
    /// ```
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

    /// Leaves a group. To leave a group without being a member is a success.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// client.group_quit("a group's id").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`talk`](Self::talk).
    pub async fn group_quit(&self, group: impl Into<GroupId>) -> Result<(), Error> {
        self.group_remove(group, self.session().account).await
    }

    /// Removes an account from a group that the client's account owns.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// client.group_remove("a group's id", "dave").await?;
    /// # Ok(())
    /// # }
    /// ```
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

    /// Sends a message to all members of a group, and waits until it is stored, as [`talk`](Self::talk) does for
    /// an account. Messages to one group are stored in the order of the calls.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// let receipt = client.group_talk("a group's id", "hello, all").await?;
    /// println!("message {} of the group", receipt.seq);
    /// # Ok(())
    /// # }
    /// ```
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

    /// Returns what is known about a group that is open, or of which the client's account is a member.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// let group = client.group("a group's id").await?;
    /// println!("{} was created by {}", group.name, group.owner);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Rejected`] for any other; [`Error::Timeout`] when the talk deadline passes;
    /// [`Error::Closed`].
    pub async fn group(&self, group: impl Into<GroupId>) -> Result<Group, Error> {
        Ok(self.whole_group(command::CHAT_GROUP_DETAIL, group.into()).await?.into())
    }

    /// Returns the members of such a group, in the order of joining.
    ///
    /// ```no_run
    /// # async fn run(client: imago_client::Client) -> Result<(), imago_client::Error> {
    /// for member in client.group_members("a group's id").await? {
    ///     println!("{} since {}", member.account, member.joined_at);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`group`](Self::group).
    pub async fn group_members(&self, group: impl Into<GroupId>) -> Result<Vec<Member>, Error> {
        let answer = self.whole_group(command::CHAT_GROUP_MEMBERS, group.into()).await?;
        Ok(answer.members.into_iter().map(Member::from).collect())
    }

    /// Asks for further pages until the list of members is whole.
    async fn whole_group(
        &self,
        command: &'static str,
        group: GroupId,
    ) -> Result<GroupGetResp, Error> {
        let group_id = group.to_string();
        let mut whole = GroupGetResp { more: true, ..GroupGetResp::default() };
        while whole.more {
            let skip = u32::try_from(whole.members.len()).unwrap_or(u32::MAX);
            let request = GroupGetReq { group_id: group_id.clone(), skip };
            let mut page: GroupGetResp = self.read(command, &request).await?;
            // A server that gives nothing more has nothing more, whatever it says.
            page.more &= !page.members.is_empty();
            page.members.splice(0..0, whole.members);
            whole = page;
        }
        Ok(whole)
    }
}

fn change(command: &'static str, request: &impl prost::Message, id: String) -> Ask {
    let body = Bytes::from(request.encode_to_vec());
    let (dest, repeat) = (String::new(), Repeat::Under(id));
    Ask { command: command.into(), dest, body, text: None, repeat }
}
