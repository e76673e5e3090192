//! The messages of the test server, in memory.

use std::collections::{BTreeMap, HashMap};

use imago_proto::msg::{
    GroupCreateReq, MessageAckReq, MessageContent, MessageContentResp, MessageIndex,
    MessageIndexResp, MessagePush, MessageReq, MessageResp,
};

/// Conversations, cursors and repeats.
#[derive(Default)]
pub(crate) struct Store {
    pub(super) conversations: BTreeMap<String, Log>,
    pub(crate) cursors: HashMap<(String, String), u64>,
    repeats: HashMap<(String, String), (MessageResp, MessagePush)>,
    /// Groups that were made, by who made them and the client message id.
    pub(super) made: HashMap<(String, String), String>,
    by_id: HashMap<i64, MessagePush>,
    pub(crate) largest_content_request: usize,
}

/// One conversation.
#[derive(Default)]
pub(super) struct Log {
    pub(super) messages: Vec<MessagePush>,
    pub(super) members: Vec<Membership>,
    /// Set for a group.
    pub(super) group: Option<GroupCreateReq>,
}

/// What a member may see.
#[derive(Clone)]
pub(super) struct Membership {
    pub(super) account: String,
    pub(super) since: u64,
    pub(super) until: Option<u64>,
}

pub(crate) fn conversation(a: &str, b: &str) -> String {
    if a <= b { format!("{a}+{b}") } else { format!("{b}+{a}") }
}

impl Log {
    pub(super) fn member(&self, account: &str) -> Option<&Membership> {
        self.members.iter().find(|member| member.account == account)
    }

    pub(super) fn is_member(&self, account: &str) -> bool {
        self.member(account).is_some_and(|member| member.until.is_none())
    }

    /// What the account may see, past `after`.
    pub(super) fn past(&self, account: &str, after: u64) -> impl Iterator<Item = &MessagePush> {
        let Membership { since, until, .. } = self.member(account).unwrap();
        let (since, until) = (after.max(*since), until.unwrap_or(u64::MAX));
        self.messages.iter().filter(move |m| m.seq > since && m.seq <= until)
    }
}

impl Store {
    /// Stores a message in the conversation of two accounts.
    pub(crate) fn append(
        &mut self,
        from: &str,
        to: &str,
        request: MessageReq,
    ) -> (MessageResp, MessagePush) {
        let name = conversation(from, to);
        let log = self.conversations.entry(name.clone()).or_default();
        for account in [from, to] {
            if log.member(account).is_none() {
                let account = account.to_owned();
                log.members.push(Membership { account, since: 0, until: None });
            }
        }
        self.append_to(&name, from, request)
    }

    pub(super) fn append_to(
        &mut self,
        name: &str,
        from: &str,
        request: MessageReq,
    ) -> (MessageResp, MessagePush) {
        let key = (from.to_owned(), request.client_message_id.clone());
        if !request.client_message_id.is_empty()
            && let Some(first) = self.repeats.get(&key)
        {
            return first.clone();
        }
        let log = self.conversations.get_mut(name).unwrap();
        let (seq, message_id) = (log.messages.len() as u64 + 1, 10_001 + self.by_id.len() as i64);
        let push = MessagePush {
            message_id,
            r#type: request.r#type,
            body: request.body,
            extra: request.extra,
            sender: from.into(),
            send_time: message_id,
            conversation: name.to_owned(),
            seq,
            peer: String::new(),
            group: log.group.as_ref().map(|_| name.to_owned()).unwrap_or_default(),
        };
        log.messages.push(push.clone());
        self.by_id.insert(message_id, push.clone());
        let conversation = name.to_owned();
        let resp = MessageResp { message_id, send_time: message_id, conversation, seq };
        self.repeats.insert(key, (resp.clone(), push.clone()));
        (resp, push)
    }

    pub(crate) fn ack(&mut self, account: &str, request: MessageAckReq) {
        assert_eq!(request.message_id, 0, "acknowledge by cursors");
        for cursor in request.cursors {
            let mine = self.cursors.entry((account.to_owned(), cursor.conversation)).or_default();
            *mine = cursor.seq.max(*mine);
        }
    }

    pub(crate) fn cursor(&self, account: &str, other: &str) -> u64 {
        self.cursor_in(account, &conversation(account, other))
    }

    pub(crate) fn cursor_in(&self, account: &str, name: &str) -> u64 {
        let key = (account.to_owned(), name.to_owned());
        self.cursors.get(&key).copied().unwrap_or_default()
    }

    /// The conversations of an account.
    pub(super) fn of(&self, account: &str) -> impl Iterator<Item = (&String, &Log)> {
        self.conversations.iter().filter(move |(_, log)| log.member(account).is_some())
    }

    pub(crate) fn index(&self, account: &str) -> MessageIndexResp {
        let mut indexes: Vec<MessageIndex> = self
            .of(account)
            .flat_map(|(name, log)| log.past(account, self.cursor_in(account, name)))
            .filter(|m| m.sender != account)
            .map(|m| MessageIndex {
                message_id: m.message_id,
                direction: 0,
                send_time: m.send_time,
                account_b: m.sender.clone(),
                group: m.group.clone(),
                conversation: m.conversation.clone(),
                seq: m.seq,
            })
            .collect();
        indexes.sort_by_key(|index| index.message_id);
        indexes.truncate(2000);
        MessageIndexResp { indexes }
    }

    pub(crate) fn contents(&mut self, ids: &[i64]) -> MessageContentResp {
        assert!(!ids.is_empty() && ids.len() <= 200, "asked for {}", ids.len());
        self.largest_content_request = self.largest_content_request.max(ids.len());
        let contents = ids.iter().map(|id| {
            let message = self.by_id.get(id).cloned().unwrap_or_default();
            MessageContent {
                message_id: *id,
                r#type: message.r#type,
                body: message.body,
                extra: message.extra,
            }
        });
        MessageContentResp { contents: contents.collect() }
    }

    /// Bodies of everything stored between two accounts.
    pub(crate) fn bodies(&self, a: &str, b: &str) -> Vec<String> {
        self.bodies_in(&conversation(a, b))
    }

    /// Bodies of everything stored in a conversation.
    pub(crate) fn bodies_in(&self, name: &str) -> Vec<String> {
        let log = self.conversations.get(name);
        log.into_iter().flat_map(|log| &log.messages).map(|message| message.body.clone()).collect()
    }
}
