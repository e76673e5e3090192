//! Clients of old: they list what their device has not acknowledged, and acknowledge it by id.

use std::collections::BTreeMap;

use imago_proto::{
    command,
    msg::{
        MessageAckReq, MessageContentReq, MessageContentResp, MessageIndex, MessageIndexReq,
        MessageIndexResp,
    },
};

use super::{
    cast::{Cast, Day},
    model::{Cursor, Fate, Talk},
    op::{DEVICES, Fetch},
    view::Asker,
};

/// Operations after which a message that its client did not wait for has come, or will not.
const CALM: u64 = 3;
/// Contents in one request.
const CONTENTS_MAX: usize = 200;

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) talk: Talk,
    pub(super) seq: u64,
}

impl Asker {
    /// What others said that the device has not acknowledged.
    pub(super) async fn index(&mut self, message_id: i64) -> Vec<Entry> {
        let request = MessageIndexReq { message_id };
        let listed: Option<MessageIndexResp> =
            self.ask(command::CHAT_OFFLINE_INDEX, &request).await;
        let account = self.account().to_owned();
        let entry = |of: MessageIndex| Entry {
            id: of.message_id,
            talk: match of.group.as_str() {
                "" => Talk::between(&account, &of.account_b),
                group => Talk::Group(group.to_owned()),
            },
            seq: of.seq,
        };
        listed.expect("an index is not refused").indexes.into_iter().map(entry).collect()
    }

    async fn reads(&mut self, entries: impl Iterator<Item = &Entry>) {
        let message_ids: Vec<i64> = entries.map(|entry| entry.id).collect();
        for some in message_ids.chunks(CONTENTS_MAX) {
            let request = MessageContentReq { message_ids: some.to_vec() };
            let read: Option<MessageContentResp> =
                self.ask(command::CHAT_OFFLINE_CONTENT, &request).await;
            let bodies = read.expect("what is listed may be read").contents;
            assert!(bodies.iter().all(|content| !content.body.is_empty()), "{bodies:?}");
        }
    }
}

impl Day {
    /// An old client comes on a device that is offline, acknowledges one of the messages that it is
    /// listed, and goes.
    pub(super) async fn fetches(&mut self, cast: &Cast, fetch: &Fetch) {
        // Messages that come meanwhile would be listed the second time alone.
        let since = self.model.now.saturating_sub(CALM);
        let is_calm = self.model.kills.range(since..).next().is_none()
            && !self.model.said.iter().any(|said| said.fate == Fate::Unknown && said.at >= since);
        let Some(device) = self.offline(fetch.device).filter(|_| is_calm) else { return };
        let account = self.names[DEVICES[device].0].clone();
        self.model.device(&account, device);
        let mut asker = cast.asker(&account, device, fetch.gateway).await;
        let listed = asker.index(0).await;
        self.is_listed(device, &listed);
        let Some(at) = fetch.entry.checked_rem(listed.len()) else { return };
        if fetch.reads {
            asker.reads(listed.iter()).await;
        }
        let message_id = listed[at].id;
        let left = match fetch.by_index {
            true => asker.index(message_id).await,
            false => {
                let ack = MessageAckReq { message_id, ..MessageAckReq::default() };
                let acked: Option<()> = asker.ask(command::CHAT_TALK_ACK, &ack).await;
                acked.expect("an acknowledgement is a success");
                asker.index(0).await
            }
        };
        // An id that was pushed as well acknowledges what came up to the push.
        let is_left = |entry: &Entry| left.contains(entry);
        let is_right = match asker.was_pushed() {
            true => left.iter().all(|entry| listed.contains(entry)),
            false => left == listed[at + 1..],
        };
        if !is_right {
            let what = format!("{account} is listed {listed:?}, and {left:?} past {message_id}");
            self.faults.push(what);
        }
        for entry in listed.iter().filter(|entry| !is_left(entry)) {
            self.model.fetched(&account, device, entry);
        }
    }

    /// Finds fault with what a device is listed, as far as is known before the day is over.
    fn is_listed(&mut self, device: usize, listed: &[Entry]) {
        let cursors = &self.model.devices[&device].cursors;
        let (mut last, mut turns) = (0, BTreeMap::new());
        for Entry { id, talk, seq } in listed {
            let before = turns.entry(talk).or_insert((0, 0));
            let turn = before.1.max(*id);
            let cursor: Cursor = cursors.get(talk).copied().unwrap_or_default();
            if *seq <= before.0 || turn < last || *seq <= cursor.stored {
                let what = format!("device {device} with {cursor:?} is listed {talk:?} {seq} in");
                self.faults.push(format!("{what} {listed:?}"));
            }
            (*before, last) = ((*seq, turn), turn);
        }
    }
}
