//! The messages of the test server, in memory.

use std::collections::{BTreeMap, HashMap};

use imago_proto::msg::{
    MessageAckReq, MessageContent, MessageContentResp, MessageIndex, MessageIndexResp, MessagePush,
    MessageReq, MessageResp,
};

/// Conversations, cursors and repeats.
#[derive(Default)]
pub(crate) struct Store {
    conversations: BTreeMap<String, Vec<MessagePush>>,
    pub(crate) cursors: HashMap<(String, String), u64>,
    repeats: HashMap<(String, String), (MessageResp, MessagePush)>,
    by_id: HashMap<i64, MessagePush>,
    pub(crate) largest_content_request: usize,
}

pub(crate) fn conversation(a: &str, b: &str) -> String {
    if a <= b { format!("{a}+{b}") } else { format!("{b}+{a}") }
}

impl Store {
    pub(crate) fn append(
        &mut self,
        from: &str,
        to: &str,
        request: MessageReq,
    ) -> (MessageResp, MessagePush) {
        let key = (from.to_owned(), request.client_message_id.clone());
        if !request.client_message_id.is_empty()
            && let Some(first) = self.repeats.get(&key)
        {
            return first.clone();
        }
        let name = conversation(from, to);
        let log = self.conversations.entry(name.clone()).or_default();
        let (seq, message_id) = (log.len() as u64 + 1, 10_001 + self.by_id.len() as i64);
        let push = MessagePush {
            message_id,
            r#type: request.r#type,
            body: request.body,
            extra: request.extra,
            sender: from.into(),
            send_time: message_id,
            conversation: name.clone(),
            seq,
            peer: String::new(),
            group: String::new(),
        };
        log.push(push.clone());
        self.by_id.insert(message_id, push.clone());
        let resp = MessageResp { message_id, send_time: message_id, conversation: name, seq };
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
        let key = (account.to_owned(), conversation(account, other));
        self.cursors.get(&key).copied().unwrap_or_default()
    }

    pub(crate) fn index(&self, account: &str) -> MessageIndexResp {
        let mut indexes: Vec<MessageIndex> = self
            .conversations
            .iter()
            .filter(|(name, _)| name.split('+').any(|member| member == account))
            .flat_map(|(name, log)| {
                let key = (account.to_owned(), name.clone());
                let cursor = self.cursors.get(&key).copied().unwrap_or_default();
                log.iter().filter(move |m| m.seq > cursor && m.sender != account)
            })
            .map(|m| MessageIndex {
                message_id: m.message_id,
                direction: 0,
                send_time: m.send_time,
                account_b: m.sender.clone(),
                group: String::new(),
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
        let log = self.conversations.get(&conversation(a, b));
        log.into_iter().flatten().map(|message| message.body.clone()).collect()
    }
}
