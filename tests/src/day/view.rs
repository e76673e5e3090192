//! What the store says to an account, asked for on the wire.

use std::collections::{BTreeMap, BTreeSet};

use imago_proto::{
    command,
    msg::{
        Conversation, ConversationsReq, ConversationsResp, Cursor, Flag, GroupGetReq, GroupGetResp,
        HistoryReq, HistoryResp, MessagePush, SyncReq, SyncResp,
    },
};
use prost::Message;

use super::model::Talk;
use crate::{RawClient, Server};

/// Messages in a page of a synchronisation.
pub(super) const SYNC_PAGE: usize = 5;

/// A message as somebody saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: i64,
    pub(super) seq: u64,
    pub(super) by: String,
    pub(super) body: String,
}

/// A conversation as an account is shown it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) head: u64,
    pub(super) cursor: u64,
    pub(super) unread: u32,
    pub(super) last: Option<Seen>,
    /// Read from its end.
    pub(super) history: Vec<Seen>,
    /// Read from its beginning.
    pub(super) forwards: Vec<Seen>,
}

/// Everything that an account is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) talks: BTreeMap<Talk, Shown>,
    /// What a client that has nothing is given.
    pub(super) synced: Vec<(Talk, Seen)>,
    /// Places of what an old client that was away is told of.
    pub(super) unread: BTreeSet<(Talk, u64)>,
    /// Members of the groups whose members it is shown.
    pub(super) members: BTreeMap<String, Vec<String>>,
    /// Groups whose history it is refused.
    pub(super) refused: Vec<String>,
}

/// A client that asks one thing after another.
pub(super) struct Asker {
    account: String,
    client: RawClient,
    sequence: u32,
    /// Pushes that it got.
    pushed: usize,
}

impl View {
    /// Asks for everything, and for all of these groups.
    pub(super) async fn read(
        gateway: &Server,
        token: &str,
        account: &str,
        groups: impl Iterator<Item = &String>,
    ) -> Self {
        let mut asker = Asker::login(gateway, token, account).await;
        let (mut view, mut ids) = (Self::default(), BTreeMap::new());
        for found in asker.conversations().await {
            let (id, talk) = (found.conversation.clone(), asker.talk_of(&found));
            ids.insert(id.clone(), talk.clone());
            let shown = asker.shown(found).await;
            assert!(view.talks.insert(talk, shown).is_none(), "{account}: {id} is listed twice");
        }
        view.synced = asker.synced(&ids).await;
        view.unread =
            asker.index(0).await.into_iter().map(|entry| (entry.talk, entry.seq)).collect();
        for group in groups {
            let request = GroupGetReq { group_id: group.clone(), skip: 0 };
            if let Some(found) =
                asker.ask::<GroupGetResp>(command::CHAT_GROUP_MEMBERS, &request).await
            {
                let members = found.members.into_iter().map(|member| member.account).collect();
                view.members.insert(group.clone(), members);
            }
            let request = HistoryReq { group: group.clone(), ..HistoryReq::default() };
            if asker.ask::<HistoryResp>(command::CHAT_HISTORY, &request).await.is_none() {
                view.refused.push(group.clone());
            }
        }
        view
    }
}

impl Asker {
    pub(super) async fn login(gateway: &Server, token: &str, account: &str) -> Self {
        let client = RawClient::login(gateway, token).await;
        Self { account: account.to_owned(), client, sequence: 1, pushed: 0 }
    }

    pub(super) fn was_pushed(&self) -> bool {
        self.pushed > 0
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// The answer; `None` for a refusal that will stay one.
    pub(super) async fn ask<A: Message + Default>(
        &mut self,
        command: &str,
        request: &impl Message,
    ) -> Option<A> {
        loop {
            self.sequence += 1;
            self.client.request(command, self.sequence, "", request).await;
            let answer = loop {
                let packet = self.client.packet().await;
                let header = &packet.header;
                if header.sequence == self.sequence && header.flag() == Flag::Response {
                    break packet;
                }
                self.pushed += usize::from(header.flag() == Flag::Push);
            };
            match answer.header.status {
                0 => return Some(A::decode(answer.body).expect("answers decode")),
                300..400 => tokio::task::yield_now().await,
                _ => return None,
            }
        }
    }

    fn talk_of(&self, found: &Conversation) -> Talk {
        match found.group.as_str() {
            "" => Talk::between(&self.account, &found.peer),
            group => Talk::Group(group.to_owned()),
        }
    }

    async fn conversations(&mut self) -> Vec<Conversation> {
        let (mut all, mut page) = (Vec::new(), String::new());
        loop {
            let request = ConversationsReq { page, limit: 2 };
            let found: Option<ConversationsResp> =
                self.ask(command::CHAT_CONVERSATIONS, &request).await;
            let found = found.expect("everybody has conversations");
            all.extend(found.conversations);
            page = found.next;
            if page.is_empty() {
                return all;
            }
        }
    }

    async fn shown(&mut self, found: Conversation) -> Shown {
        let id = &found.conversation;
        let (mut history, mut forwards) = (Vec::new(), Vec::new());
        loop {
            let before = history.first().map_or(0, |first: &Seen| first.seq);
            let page = self.page(HistoryReq { before, limit: 3, ..named(id) }).await;
            history.splice(0..0, page.messages.into_iter().map(seen));
            if !page.more {
                break;
            }
        }
        let mut after = 0;
        loop {
            let request = HistoryReq { after, limit: 2, ..named(id) };
            // Without a bound, it is the newest that come.
            let page = match after {
                0 => self.page(HistoryReq { before: 2, limit: 1, ..named(id) }).await,
                _ => self.page(request).await,
            };
            forwards.extend(page.messages.into_iter().map(seen));
            if after > 0 && !page.more {
                break;
            }
            after = forwards.last().map_or(1, |last: &Seen| last.seq);
        }
        let Conversation { head, cursor, unread, last, .. } = found;
        Shown { head, cursor, unread, last: last.map(seen), history, forwards }
    }

    async fn page(&mut self, request: HistoryReq) -> HistoryResp {
        let page = self.ask(command::CHAT_HISTORY, &request).await;
        page.expect("a listed conversation has a history")
    }

    async fn synced(&mut self, ids: &BTreeMap<String, Talk>) -> Vec<(Talk, Seen)> {
        let mut cursors: BTreeMap<&String, u64> = ids.keys().map(|id| (id, 0)).collect();
        let mut all = Vec::new();
        loop {
            let cursors_now =
                cursors.iter().map(|(id, seq)| Cursor { conversation: (*id).clone(), seq: *seq });
            let request = SyncReq { cursors: cursors_now.collect(), limit: SYNC_PAGE as u32 };
            let page: Option<SyncResp> = self.ask(command::CHAT_SYNC, &request).await;
            let page = page.expect("everybody may synchronise");
            for push in page.messages {
                let Some((id, talk)) = ids.get_key_value(&push.conversation) else { continue };
                cursors.insert(id, push.seq);
                all.push((talk.clone(), seen(push)));
            }
            if !page.more {
                return all;
            }
        }
    }
}

fn named(conversation: &str) -> HistoryReq {
    HistoryReq { conversation: conversation.to_owned(), ..HistoryReq::default() }
}

fn seen(push: MessagePush) -> Seen {
    Seen { id: push.message_id, seq: push.seq, by: push.sender, body: push.body }
}
