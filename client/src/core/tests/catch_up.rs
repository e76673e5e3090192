//! Tests of the core: how it gets what it has missed.

use imago_proto::msg::{
    GroupQuitNotify, MessageContent, MessageContentReq, MessageContentResp, MessageIndex,
    MessageIndexResp, SyncReq,
};

use super::*;
use crate::sync::{BATCH, PAGE};

impl World {
    /// Answers the request for a page, which was sent last.
    fn page(&mut self, messages: impl IntoIterator<Item = MessagePush>, more: bool) {
        let messages = messages.into_iter().collect();
        self.answer_last(Status::Success, &SyncResp { messages, more });
    }

    /// What the request for a page, which was sent last, names.
    fn asked(&self) -> Vec<(String, u64)> {
        let last = self.sent.last().unwrap();
        assert_eq!(last.header.command, command::CHAT_SYNC);
        let request = SyncReq::decode(last.body.clone()).unwrap();
        assert!((1..=200).contains(&request.limit));
        request.cursors.into_iter().map(|cursor| (cursor.conversation, cursor.seq)).collect()
    }

    /// An account has left a group of ours.
    fn left(&mut self, account: &str) {
        let notify = GroupQuitNotify { group_id: "g1".into(), account: account.into() };
        let body = notify.encode_to_vec().into();
        let packet = LogicPacket::push(command::CHAT_GROUP_QUIT, "g1", body);
        self.core.packet(self.now, Packet::Logic(packet));
        self.work();
    }

    /// We leave a group, and are told that we did.
    fn leave(&mut self) {
        let (answer, _) = oneshot::channel();
        let waited = Duration::from_secs(30);
        let leave = Call {
            lane: Lane::Group("g1".into()),
            command: command::CHAT_GROUP_QUIT.into(),
            dest: String::new(),
            body: Bytes::new(),
            text: None,
            repeat: Repeat::Under("leave".into()),
            deadline: self.now + waited,
            waited,
            tries: 0,
            answer,
        };
        self.core.call(self.now, leave);
        self.work();
        self.answer_last(Status::Success, &());
    }

    fn delivered(&mut self) -> Vec<u64> {
        let next = || self.core.next_message(self.now).map(|message| message.seq.0);
        let delivered = std::iter::from_fn(next).collect();
        self.work();
        delivered
    }
}

fn from_bob(seq: u64) -> MessagePush {
    MessagePush { sender: "bob".into(), conversation: "c".into(), seq, ..MessagePush::default() }
}

fn own(seq: u64, body: &str) -> MessagePush {
    let (sender, peer, body) = ("me".into(), "bob".into(), body.into());
    MessagePush { sender, peer, body, ..from_bob(seq) }
}

#[test]
fn pages_are_asked_for_until_there_are_no_more() {
    let mut world = World::online();
    let (waiter, mut synchronised) = oneshot::channel();
    assert_eq!(world.asked(), []);
    world.core.synchronise(world.now, waiter);
    world.page((3..=102).map(from_bob), true);
    assert_eq!(world.asked(), [("c".to_owned(), 102)]);
    world.page((103..=200).map(from_bob), true);
    assert_eq!(world.asked(), [("c".to_owned(), 200)]);
    assert!(synchronised.try_recv().is_err());
    world.page((201..=210).map(from_bob), false);
    assert_eq!(synchronised.try_recv(), Ok(Ok(())));
    assert_eq!(world.delivered(), Vec::from_iter(3..=210));
    world.pass(5000 * MS);
    assert_eq!(world.commands().len(), 3);
}

#[test]
fn a_hole_is_filled_from_where_it_begins_and_not_from_what_was_acknowledged() {
    let mut world = World::new();
    (1..=5).for_each(|seq| world.push(seq));
    world.push(8);
    world.pass(50 * MS);
    assert_eq!(world.asked(), [("c".to_owned(), 5)]);
    world.push(10);
    world.page([from_bob(7), from_bob(8)], false);
    assert_eq!(world.delivered(), [1, 2, 3, 4, 5, 7, 8], "6 is nothing to deliver, 9 may come");
    world.push(9);
    assert_eq!(world.delivered(), [9, 10]);
}

#[test]
fn who_joined_late_begins_late() {
    let mut world = World::new();
    world.push(57);
    assert_eq!(world.delivered(), [0; 0]);
    world.pass(50 * MS);
    assert_eq!(world.asked(), [], "nothing is known of it");
    world.page([from_bob(57)], false);
    assert_eq!(world.delivered(), [57]);
}

#[test]
fn who_leaves_a_group_asks_for_what_was_said_right_before() {
    let mut world = World::new();
    world.push(1);
    world.left("bob");
    world.pass(5000 * MS);
    assert_eq!(world.commands(), [""; 0], "that is no concern of ours");
    world.left("me");
    world.pass(50 * MS);
    assert_eq!(world.asked(), [("c".to_owned(), 1)]);
    // This page may have been read before.
    world.left("me");
    world.page([], false);
    world.pass(50 * MS);
    world.page([from_bob(2)], false);
    assert_eq!(world.delivered(), [1, 2]);
    world.pass(5000 * MS);
    assert_eq!(world.commands().len(), 2);
    world.leave();
    world.pass(50 * MS);
    assert_eq!(world.asked(), [("c".to_owned(), 2)]);
}

#[test]
fn what_is_not_answered_yet_is_no_copy_of_another_device() {
    let mut world = World::new();
    let _outcome = world.talk("hello");
    world.core.lost(world.now, None, "cut");
    world.pass(1000 * MS);
    world.log_in();
    world.page([own(1, "hello"), own(2, "from the phone"), from_bob(3)], false);
    assert_eq!(world.delivered(), [2, 3]);
}

#[test]
fn a_page_that_brings_nothing_new_is_not_asked_for_at_once() {
    let mut world = World::online();
    world.page([from_bob(1)], true);
    world.page([from_bob(1)], true);
    world.commands();
    world.pass(999 * MS);
    assert_eq!(world.commands(), [""; 0]);
    world.pass(MS);
    assert_eq!(world.commands(), [command::CHAT_SYNC]);
}

#[test]
fn pages_wait_for_an_application_that_takes_nothing() {
    let mut world = World::online();
    let (waiter, mut synchronised) = oneshot::channel();
    world.core.synchronise(world.now, waiter);
    let is_asked = |world: &World| world.core.requests.values().any(|r| matches!(r, Request::Page));
    let mut seq = 0;
    while is_asked(&world) {
        world.page((seq + 1..=seq + 200).map(from_bob), true);
        seq += 200;
    }
    assert_eq!(seq, 400, "512 may wait");
    world.commands();
    // Less than it takes to miss an answer to a ping.
    world.pass(5_000 * MS);
    assert_eq!(world.commands(), [""; 0]);
    assert_eq!(world.delivered(), Vec::from_iter(1..=seq));
    assert_eq!(world.asked(), [("c".to_owned(), seq)]);
    world.page([], false);
    assert_eq!(synchronised.try_recv(), Ok(Ok(())));
}

#[test]
fn positions_that_no_request_can_name_are_acknowledged_before() {
    let mut world = World::new();
    for number in 0..1500 {
        world.core.inbox.own(&ConversationId::from(format!("d{number}")), Seq(1));
    }
    world.push(2);
    world.pass(50 * MS);
    assert_eq!(world.asked().len(), 1000);
    let commands = world.commands();
    assert_eq!(commands, [command::CHAT_TALK_ACK, command::CHAT_TALK_ACK, command::CHAT_SYNC]);
}

/// A world whose server does not know `chat.sync`, and was asked for a listing.
fn old() -> World {
    let mut world = World::online();
    world.answer_last(Status::NotImplemented, &());
    assert_eq!(world.commands(), [command::CHAT_SYNC, command::CHAT_OFFLINE_INDEX]);
    world.sent.push(LogicPacket::request("", world.core.sequence, "", Bytes::new()));
    world
}

/// Answers the listing and the contents that were asked for last.
fn answer_listing(world: &mut World, seqs: impl IntoIterator<Item = u64>) {
    let index = |seq: u64| MessageIndex {
        message_id: i64::try_from(seq).unwrap(),
        conversation: "c".into(),
        seq,
        ..MessageIndex::default()
    };
    let indexes = seqs.into_iter().map(index).collect();
    world.answer_last(Status::Success, &MessageIndexResp { indexes });
    while world.sent.last().is_some_and(|p| p.header.command == command::CHAT_OFFLINE_CONTENT) {
        let asked = MessageContentReq::decode(world.sent.pop().unwrap().body).unwrap();
        let content = |id: &i64| MessageContent { message_id: *id, ..MessageContent::default() };
        let contents = asked.message_ids.iter().map(content).collect();
        world.sent.push(LogicPacket::request("", world.core.sequence, "", Bytes::new()));
        world.answer_last(Status::Success, &MessageContentResp { contents });
    }
}

#[test]
fn an_old_server_is_asked_in_the_old_way_and_a_new_connection_in_the_new() {
    let mut world = old();
    answer_listing(&mut world, [2, 3]);
    assert_eq!(world.delivered(), [2, 3]);
    world.commands();
    world.push(5);
    world.pass(50 * MS);
    assert_eq!(world.commands(), [command::CHAT_OFFLINE_INDEX]);
    world.core.lost(world.now, None, "cut");
    world.pass(1000 * MS);
    world.log_in();
    assert_eq!(world.asked(), [("c".to_owned(), 3)]);
    world.page([from_bob(4), from_bob(5)], false);
    assert_eq!(world.delivered(), [4, 5]);
}

#[test]
fn the_next_listing_is_asked_for_once_this_one_is_consumed_and_acknowledged() {
    let mut world = old();
    world.core.inbox = Inbox::new(InboxLimits { ready: PAGE + BATCH, held: 1 });
    answer_listing(&mut world, 1..=PAGE as u64);
    world.commands();
    world.delivered();
    world.pass(10_000 * MS);
    assert_eq!(world.commands(), [""; 0], "nothing is consumed");
    world.consume(PAGE as u64);
    assert_eq!(world.sent.last().unwrap().header.command, command::CHAT_TALK_ACK);
    world.answer_last(Status::Success, &());
    assert_eq!(world.commands(), [command::CHAT_TALK_ACK, command::CHAT_OFFLINE_INDEX]);
}
