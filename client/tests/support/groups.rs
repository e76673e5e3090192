//! The groups of the test server, and its answers about conversations.

use imago_proto::{
    Status,
    msg::{
        Conversation, ConversationsReq, ConversationsResp, GroupCreateReq, GroupGetResp,
        HistoryReq, HistoryResp, Member, MessagePush, SyncReq, SyncResp,
    },
};

use super::store::{Log, Membership, Store, conversation};

impl Store {
    /// The group's id, the same for a repeat.
    pub(super) fn create(&mut self, owner: &str, request: GroupCreateReq) -> String {
        let key = (owner.to_owned(), request.client_message_id.clone());
        if let Some(first) = self.made.get(&key) {
            return first.clone();
        }
        let name = format!("g{}", self.made.len() + 1);
        self.made.insert(key, name.clone());
        let owner = owner.to_owned();
        let mut members = vec![owner.clone()];
        members.extend(request.members.iter().filter(|member| **member != owner).cloned());
        let member = |account| Membership { account, since: 0, until: None };
        let members = members.into_iter().map(member).collect();
        let group = Some(GroupCreateReq { owner, ..request });
        self.conversations.insert(name.clone(), Log { messages: Vec::new(), members, group });
        name
    }

    pub(super) fn join(&mut self, caller: &str, account: &str, group: &str) -> Status {
        let Some(log) = self.conversations.get_mut(group) else {
            return Status::InvalidPacketBody;
        };
        let open = log.group.as_ref().is_some_and(|group| group.open);
        let may = log.is_member(caller) || (open && caller == account);
        if !may {
            return Status::Unauthorized;
        }
        if !log.is_member(account) {
            let (account, since) = (account.to_owned(), log.messages.len() as u64);
            log.members.retain(|member| member.account != account);
            log.members.push(Membership { account, since, until: None });
        }
        Status::Success
    }

    pub(super) fn quit(&mut self, account: &str, group: &str) -> Status {
        let Some(log) = self.conversations.get_mut(group) else {
            return Status::InvalidPacketBody;
        };
        let head = log.messages.len() as u64;
        let mut members = log.members.iter_mut();
        if let Some(member) = members.find(|m| m.account == account && m.until.is_none()) {
            member.until = Some(head);
        }
        Status::Success
    }

    /// Who is in a group, in the order of joining.
    pub(crate) fn members(&self, group: &str) -> Vec<String> {
        let members = self.conversations.get(group).into_iter().flat_map(|log| &log.members);
        members.filter(|m| m.until.is_none()).map(|m| m.account.clone()).collect()
    }

    /// Of the members two at a time, as a server does with a list that fits into no frame.
    pub(super) fn detail(&self, account: &str, group: &str, skip: u32) -> Option<GroupGetResp> {
        let log = self.conversations.get(group)?;
        let info = log.group.clone()?;
        let rest = self.members(group).into_iter().skip(skip as usize);
        let rest = Vec::from_iter(rest);
        let member = |account| Member { account, join_time: 1, ..Member::default() };
        (info.open || log.is_member(account)).then(|| GroupGetResp {
            id: group.to_owned(),
            name: info.name,
            avatar: info.avatar,
            introduction: info.introduction,
            owner: info.owner,
            more: rest.len() > 2,
            members: rest.into_iter().take(2).map(member).collect(),
            created_at: 1,
        })
    }

    pub(super) fn sync(&self, account: &str, request: &SyncReq) -> SyncResp {
        assert!(request.cursors.len() <= 1000, "{} cursors", request.cursors.len());
        assert!(request.limit <= 500, "limit {}", request.limit);
        let mut messages = Vec::new();
        for (name, log) in self.of(account) {
            let named = request.cursors.iter().find(|cursor| cursor.conversation == *name);
            let cursor = named.map_or_else(|| self.cursor_in(account, name), |named| named.seq);
            messages.extend(log.past(account, cursor).map(|message| seen(account, log, message)));
        }
        messages.sort_by_key(|message| message.message_id);
        let limit = if request.limit == 0 { 100 } else { request.limit as usize };
        let more = messages.len() > limit;
        messages.truncate(limit);
        SyncResp { messages, more }
    }

    pub(super) fn history(&self, account: &str, request: &HistoryReq) -> Option<HistoryResp> {
        let name = match (request.peer.as_str(), request.group.as_str()) {
            ("", "") => request.conversation.clone(),
            ("", group) => group.to_owned(),
            (peer, _) => conversation(account, peer),
        };
        let log = self.conversations.get(&name)?;
        log.member(account)?;
        let before = if request.before == 0 { u64::MAX } else { request.before };
        let all = log.past(account, request.after).filter(|message| message.seq < before);
        let mut messages: Vec<_> = all.map(|message| seen(account, log, message)).collect();
        let limit = if request.limit == 0 { 50 } else { request.limit as usize };
        let surplus = messages.len().saturating_sub(limit);
        match request.after {
            0 => messages.drain(..surplus).for_each(drop),
            _ => messages.truncate(limit),
        }
        Some(HistoryResp { messages, more: surplus > 0 })
    }

    /// Pages of two.
    pub(super) fn list(&self, account: &str, request: &ConversationsReq) -> ConversationsResp {
        let mut all: Vec<Conversation> = self
            .of(account)
            .map(|(name, log)| {
                let cursor = self.cursor_in(account, name);
                let last = log.past(account, 0).last().map(|message| seen(account, log, message));
                let unread = log.past(account, cursor).filter(|m| m.sender != account).count();
                let other = log.members.iter().find(|member| member.account != account);
                let is_group = log.group.is_some();
                Conversation {
                    conversation: name.clone(),
                    peer: other
                        .filter(|_| !is_group)
                        .map(|m| m.account.clone())
                        .unwrap_or_default(),
                    group: if is_group { name.clone() } else { String::new() },
                    name: log.group.as_ref().map(|group| group.name.clone()).unwrap_or_default(),
                    head: last.as_ref().map(|last| last.seq).unwrap_or_default(),
                    cursor,
                    unread: unread as u32,
                    last,
                }
            })
            .collect();
        all.sort_by_key(|one| one.last.as_ref().map(|last| -last.message_id));
        let from: usize = request.page.parse().unwrap_or_default();
        let next = if all.len() > from + 2 { (from + 2).to_string() } else { String::new() };
        ConversationsResp { conversations: all.into_iter().skip(from).take(2).collect(), next }
    }
}

/// A stored message as a member gets it.
fn seen(account: &str, log: &Log, message: &MessagePush) -> MessagePush {
    let is_own_direct = log.group.is_none() && message.sender == account;
    let other = log.members.iter().find(|member| member.account != account);
    let peer = other.filter(|_| is_own_direct).map(|m| m.account.clone()).unwrap_or_default();
    MessagePush { peer, ..message.clone() }
}
