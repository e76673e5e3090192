//! Tests of the core: what it decides, and when, with a clock of ours.

use imago_proto::{
    BasicPacket, Packet, Status, command,
    msg::{KickoutNotify, MessageAckReq, MessagePush, MessageReq, MessageResp, SyncResp},
};
use prost::Message as _;

use super::*;
use crate::{
    Builder,
    outbox::{Lane, Repeat},
    transport::Endpoint,
};

mod catch_up;
mod requests;

const MS: Duration = Duration::from_millis(1);

/// A core that is online, its clock, and the requests it sent.
struct World {
    core: Core,
    now: Instant,
    sent: Vec<LogicPacket>,
    pings: usize,
    states: Vec<State>,
    pushes: Vec<Push>,
    connects: usize,
    /// What the last login replaces.
    replaces: String,
    logins: usize,
}

impl World {
    /// Online, and synchronised.
    fn new() -> Self {
        let mut world = Self::online();
        world.answer_last(Status::Success, &SyncResp::default());
        world.sent.clear();
        world
    }

    /// Online; the first synchronisation is not answered yet.
    fn online() -> Self {
        let mut options = Builder::new(Vec::new()).options;
        options.gateways = vec![Endpoint::Tcp("a:1".into()), Endpoint::Tcp("b:1".into())];
        let mut world = Self {
            core: Core::new(options),
            now: Instant::now(),
            sent: Vec::new(),
            pings: 0,
            states: Vec::new(),
            pushes: Vec::new(),
            connects: 0,
            replaces: String::new(),
            logins: 0,
        };
        world.core.start();
        world.log_in();
        world
    }

    fn log_in(&mut self) {
        self.logins += 1;
        let channel_id = format!("channel {}", self.logins);
        let session = Session { account: "me".into(), channel_id, ..Session::default() };
        self.core.online(self.now, session);
        self.work();
    }

    fn work(&mut self) {
        while let Some(action) = self.core.action() {
            match action {
                Action::Send(bytes) => match Packet::decode(bytes).unwrap() {
                    Packet::Logic(packet) => self.sent.push(packet),
                    Packet::Basic(_) => self.pings += 1,
                },
                Action::State(state) => self.states.push(state),
                Action::Connect { replaces, .. } => {
                    self.connects += 1;
                    self.replaces = replaces;
                }
                Action::Push(push) => self.pushes.push(push),
                Action::Disconnect | Action::Session(_) | Action::Event(_) => {}
            }
        }
    }

    /// Lets time pass, timer by timer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.next_timer().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.core.tick(self.now);
            self.work();
        }
        self.now = end;
    }

    fn answer_last(&mut self, status: Status, body: &impl prost::Message) {
        let request = self.sent.last().unwrap().header.clone();
        let body = body.encode_to_vec().into();
        let packet = LogicPacket::response(request, "", status, body);
        self.core.packet(self.now, Packet::Logic(packet));
        self.work();
    }

    fn push(&mut self, seq: u64) {
        self.push_message(MessagePush { sender: "bob".into(), seq, ..MessagePush::default() });
    }

    fn push_message(&mut self, push: MessagePush) {
        let push = MessagePush { conversation: "c".into(), ..push };
        let body = push.encode_to_vec().into();
        let packet = LogicPacket::push(command::CHAT_USER_TALK, "me", body);
        self.core.packet(self.now, Packet::Logic(packet));
        self.work();
    }

    /// The session of this channel is told that the one of that channel took its place.
    fn kick(&mut self, loser: &str, winner: &str) {
        let notice = KickoutNotify { channel_id: loser.to_owned() }.encode_to_vec().into();
        let mut packet = LogicPacket::push(command::LOGIN_SIGNIN, "", notice);
        packet.header.channel_id = winner.to_owned();
        self.core.packet(self.now, Packet::Logic(packet));
        self.work();
    }

    fn consume(&mut self, seq: u64) {
        self.core.consumed(self.now, [(ConversationId::from("c"), Seq(seq))]);
        self.work();
    }

    fn talk(&mut self, body: &str) -> oneshot::Receiver<Result<Bytes, Error>> {
        let (answer, outcome) = oneshot::channel();
        let waited = Duration::from_secs(30);
        let id = format!("id of {body}");
        let request = MessageReq { client_message_id: id.clone(), ..MessageReq::default() };
        let talk = Call {
            lane: Lane::Account("bob".into()),
            command: command::CHAT_USER_TALK.into(),
            dest: "bob".into(),
            body: request.encode_to_vec().into(),
            text: Some(body.into()),
            repeat: Repeat::Under(id),
            deadline: self.now + waited,
            waited,
            tries: 0,
            answer,
        };
        self.core.call(self.now, talk);
        self.work();
        outcome
    }

    /// Commands sent since this was asked last.
    fn commands(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|packet| packet.header.command).collect()
    }
}

#[test]
fn a_gap_that_fills_by_itself_costs_no_listing() {
    let mut world = World::new();
    world.push(2);
    world.pass(40 * MS);
    world.push(1);
    world.pass(1000 * MS);
    assert_eq!(world.commands(), [""; 0]);
    world.push(4);
    world.pass(49 * MS);
    assert_eq!(world.commands(), [""; 0]);
    world.pass(MS);
    assert_eq!(world.commands(), [command::CHAT_SYNC]);
}

#[test]
fn a_server_that_cannot_list_is_asked_less_and_less() {
    let mut world = World::new();
    world.push(2);
    world.pass(50 * MS);
    let mut asked = 0;
    for _ in 0..300 {
        if world.sent.last().is_some_and(|p| p.header.command == command::CHAT_SYNC) {
            world.answer_last(Status::SystemException, &SyncResp::default());
            world.sent.clear();
            asked += 1;
        }
        world.pass(100 * MS);
    }
    assert!((4..=30).contains(&asked), "asked {asked} times in half a minute");
}

#[test]
fn a_copy_of_what_is_being_repeated_is_not_taken_for_another_devices() {
    let mut world = World::new();
    let _outcome = world.talk("hello");
    world.core.lost(world.now, None, "cut");
    world.pass(1000 * MS);
    world.log_in();
    let copy = MessagePush {
        sender: "me".into(),
        peer: "bob".into(),
        body: "hello".into(),
        seq: 1,
        ..MessagePush::default()
    };
    world.push_message(copy.clone());
    assert!(!world.core.has_message());
    world.push_message(MessagePush { body: "from the phone".into(), seq: 2, ..copy });
    assert_eq!(world.core.next_message(world.now).unwrap().seq, Seq(2));
}

#[test]
fn consumed_messages_are_acknowledged_together() {
    let mut world = World::new();
    (1..=60).for_each(|seq| world.push(seq));
    world.consume(1);
    world.pass(100 * MS);
    world.consume(3);
    world.pass(99 * MS);
    assert!(world.sent.is_empty());
    world.pass(MS);
    let ack = MessageAckReq::decode(world.sent.last().unwrap().body.clone()).unwrap();
    assert_eq!((ack.message_id, ack.cursors[0].seq), (0, 3));
    world.consume(60);
    assert_eq!(world.sent.len(), 1, "one at a time");
    world.answer_last(Status::Success, &());
    assert_eq!(world.sent.len(), 2, "a full batch does not wait");
}

#[test]
fn a_failed_acknowledgement_is_repeated() {
    let mut world = World::new();
    world.push(1);
    world.consume(1);
    world.pass(200 * MS);
    world.answer_last(Status::SystemException, &());
    world.commands();
    world.pass(5000 * MS);
    assert_eq!(world.commands(), [command::CHAT_TALK_ACK]);
}

#[test]
fn a_message_is_repeated_with_its_id_and_a_new_sequence() {
    let mut world = World::new();
    let mut outcome = world.talk("hello");
    let first = world.sent.pop().unwrap();
    world.pass(5000 * MS);
    let second = world.sent.pop().unwrap();
    assert_ne!(first.header.sequence, second.header.sequence);
    assert_eq!(first.body, second.body);
    let id = MessageReq::decode(second.body.clone()).unwrap().client_message_id;
    assert_eq!(id, "id of hello");
    assert_eq!(world.pings, 1, "the gateway is probed");
    world.sent.push(second);
    let resp = MessageResp { conversation: "c".into(), seq: 1, ..MessageResp::default() };
    world.answer_last(Status::Success, &resp);
    let answered = MessageResp::decode(outcome.try_recv().unwrap().unwrap()).unwrap();
    assert_eq!(answered.seq, 1);
}

#[test]
fn an_idle_client_pings_and_leaves_a_silent_gateway() {
    let mut world = World::new();
    world.pass(Duration::from_secs(20));
    assert_eq!(world.pings, 1);
    world.core.packet(world.now, Packet::Basic(BasicPacket::PONG));
    world.pass(Duration::from_secs(29));
    assert_eq!((world.pings, world.states.len()), (2, 1));
    world.pass(Duration::from_secs(1));
    assert!(matches!(world.states.last(), Some(State::Reconnecting { attempt: 1, .. })));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.connects, 2);
}

#[test]
fn a_new_connection_repeats_what_was_under_way_and_synchronises() {
    let mut world = World::new();
    world.push(1);
    world.consume(1);
    world.pass(200 * MS);
    let _outcome = world.talk("hello");
    assert_eq!(world.commands(), [command::CHAT_TALK_ACK, command::CHAT_USER_TALK]);
    world.core.lost(world.now, None, "cut");
    world.pass(1000 * MS);
    world.log_in();
    assert_eq!(world.commands(), [command::CHAT_USER_TALK, command::CHAT_SYNC]);
    world.pass(200 * MS);
    assert_eq!(world.commands(), [command::CHAT_TALK_ACK]);
}

#[test]
fn a_login_names_the_session_that_it_replaces() {
    let mut world = World::new();
    assert_eq!((world.connects, &*world.replaces), (1, ""));
    for lost in 1..4 {
        world.core.lost(world.now, None, "cut");
        world.pass(10_000 * MS);
        assert_eq!((world.connects, &*world.replaces), (lost + 1, &*format!("channel {lost}")));
        // A try that fails in between changes nothing.
        world.log_in();
    }
}

#[test]
fn a_client_that_its_own_earlier_session_replaced_connects_again() {
    let mut world = World::new();
    world.core.lost(world.now, None, "cut");
    world.pass(1000 * MS);
    world.log_in();
    world.kick("channel 1", "channel 2");
    assert_eq!(world.states.last(), Some(&State::Online), "that notice was for another");
    world.kick("channel 2", "channel 1");
    assert!(matches!(world.states.last(), Some(State::Reconnecting { .. })));
    world.pass(1000 * MS);
    assert_eq!((world.connects, &*world.replaces), (3, "channel 1"));
    world.log_in();
    world.kick("channel 3", "channel 9");
    assert_eq!(world.core.closed(), Some(&CloseReason::Kicked));
}

#[test]
fn a_closed_core_answers_everybody_and_stands_still() {
    let mut world = World::new();
    let mut talk = world.talk("hello");
    let (waiter, mut sync) = oneshot::channel();
    world.core.synchronise(world.now, waiter);
    world.core.close(CloseReason::Kicked);
    let closed = Error::Closed(CloseReason::Kicked);
    assert_eq!(talk.try_recv().unwrap(), Err(closed.clone()));
    assert_eq!(sync.try_recv().unwrap(), Err(closed.clone()));
    assert_eq!(world.talk("more").try_recv().unwrap(), Err(closed));
    assert_eq!(world.core.next_timer(), None);
}
