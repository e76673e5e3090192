//! An application's own commands.

use imago_proto::msg::{ErrorResp, GroupJoinNotify};

use super::*;

type Outcome = oneshot::Receiver<Result<Bytes, Error>>;

impl World {
    /// Requests `my.shout`, whose caller waits ten seconds.
    fn shout(&mut self, repeat: Repeat) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let waited = Duration::from_secs(10);
        let call = Call {
            lane: Lane::Alone(uuid::Uuid::now_v7().to_string()),
            command: "my.shout".into(),
            dest: "bob".into(),
            body: Bytes::from_static(b"wake up"),
            text: None,
            repeat,
            deadline: self.now + waited,
            waited,
            tries: 0,
            answer,
        };
        self.core.call(self.now, call);
        self.work();
        outcome
    }

    fn push_of(&mut self, command: &str, body: &impl prost::Message) {
        let packet = LogicPacket::push(command, "me", body.encode_to_vec().into());
        self.core.packet(self.now, Packet::Logic(packet));
        self.work();
    }

    /// Loses the connection, and gets another one.
    fn reconnect(&mut self) {
        self.core.lost(self.now, None, "cut");
        self.pass(1000 * MS);
        self.log_in();
    }
}

fn why_unknown(outcome: &mut Outcome) -> String {
    match outcome.try_recv() {
        Ok(Err(Error::OutcomeUnknown { command, why })) if command == "my.shout" => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answered_request_returns_the_body() {
    let mut world = World::new();
    let mut outcome = world.shout(Repeat::Never);
    let sent = world.sent.last().unwrap();
    assert_eq!((&*sent.header.command, &*sent.header.dest), ("my.shout", "bob"));
    assert_eq!(sent.body, "wake up");
    world.answer_last(Status::Success, &MessageResp { seq: 7, ..MessageResp::default() });
    let body = outcome.try_recv().unwrap().unwrap();
    assert_eq!(MessageResp::decode(body).unwrap().seq, 7);
    assert_eq!(world.core.outbox.len(), 0);
}

#[test]
fn requests_of_one_destination_do_not_wait_for_each_other() {
    let mut world = World::new();
    let _outcomes = [world.shout(Repeat::Never), world.shout(Repeat::Never)];
    assert_eq!(world.commands(), ["my.shout"; 2]);
}

#[test]
fn a_refusal_comes_with_its_status_and_text() {
    let refusal = ErrorResp { message: "body: expected something".into() };
    let message = refusal.message.clone();
    let mut world = World::new();
    let mut outcome = world.shout(Repeat::Never);
    world.answer_last(Status::InvalidPacketBody, &refusal);
    let rejected = Error::Rejected { status: 101, message: message.clone() };
    assert!(!rejected.is_retryable());
    assert_eq!(outcome.try_recv().unwrap(), Err(rejected));
    let mut outcome = world.shout(Repeat::Never);
    world.answer_last(Status::SystemException, &refusal);
    let unavailable = Error::Unavailable { status: 300, message };
    assert!(unavailable.is_retryable());
    assert_eq!(outcome.try_recv().unwrap(), Err(unavailable));
    world.pass(5000 * MS);
    assert_eq!(world.commands(), ["my.shout"; 2], "no repeats");
}

#[test]
fn a_lost_connection_leaves_the_outcome_unknown_and_nothing_is_repeated() {
    let mut world = World::new();
    let mut outcome = world.shout(Repeat::Never);
    world.reconnect();
    assert_eq!(why_unknown(&mut outcome), "the connection was lost: cut");
    assert_eq!(world.commands(), ["my.shout", command::CHAT_SYNC]);
    world.pass(20_000 * MS);
    assert!(!world.commands().contains(&"my.shout".to_owned()));
    assert_eq!(world.core.outbox.len(), 0);
}

#[test]
fn a_missing_answer_is_waited_for_as_long_as_the_caller_waits_and_then_unknown() {
    let mut world = World::new();
    let mut outcome = world.shout(Repeat::Never);
    world.pass(9999 * MS);
    assert!(outcome.try_recv().is_err() && world.pings == 0);
    world.pass(MS);
    assert_eq!(why_unknown(&mut outcome), "none came within 10s");
    assert_eq!(world.commands(), ["my.shout"]);
    assert_eq!(world.pings, 1, "the gateway is probed");
    // An answer that comes late is nothing to anyone.
    world.shout(Repeat::Never).close();
    assert_eq!(world.core.outbox.len(), 1);
}

#[test]
fn what_was_not_sent_before_the_connection_is_back_is_sent_once() {
    let mut world = World::new();
    world.core.lost(world.now, None, "cut");
    let mut outcome = world.shout(Repeat::Never);
    let given_up = world.shout(Repeat::Never);
    drop(given_up);
    assert_eq!(world.commands(), [""; 0]);
    world.pass(1000 * MS);
    world.log_in();
    assert_eq!(world.commands(), ["my.shout", command::CHAT_SYNC], "the other one is taken back");
    world.core.lost(world.now, None, "cut again");
    assert!(why_unknown(&mut outcome).contains("cut again"));
    assert_eq!(world.core.outbox.len(), 0);
}

#[test]
fn what_is_never_sent_was_not_carried_out() {
    let mut world = World::new();
    world.core.lost(world.now, None, "cut");
    let mut outcome = world.shout(Repeat::Never);
    world.pass(10_000 * MS);
    assert_eq!(outcome.try_recv().unwrap(), Err(Error::NotSent(Duration::from_secs(10))));
}

#[test]
fn an_idempotent_request_is_repeated_until_it_is_answered() {
    let mut world = World::new();
    let mut outcome = world.shout(Repeat::Freely);
    world.reconnect();
    assert_eq!(world.commands(), ["my.shout", "my.shout", command::CHAT_SYNC]);
    world.pass(5000 * MS);
    assert!(world.commands().contains(&"my.shout".to_owned()), "a missing answer");
    let mut again = world.shout(Repeat::Freely);
    world.answer_last(Status::ServiceNotFound, &());
    assert!(again.try_recv().is_err());
    world.pass(2000 * MS);
    assert!(world.commands().iter().filter(|command| *command == "my.shout").count() >= 2);
    world.pass(10_000 * MS);
    let late = Err(Error::Timeout(Duration::from_secs(10)));
    assert_eq!((outcome.try_recv().unwrap(), again.try_recv().unwrap()), (late.clone(), late));
}

#[test]
fn a_client_that_closes_says_what_it_knows_of_each_request() {
    let mut world = World::new();
    let mut sent = world.shout(Repeat::Never);
    world.core.close(CloseReason::Kicked);
    assert!(why_unknown(&mut sent).contains("client is closed"));
    let closed = Err(Error::Closed(CloseReason::Kicked));
    assert_eq!(world.shout(Repeat::Never).try_recv().unwrap(), closed);
}

#[test]
fn pushes_of_other_commands_than_its_own_are_published() {
    let mut world = World::new();
    let shout = MessagePush { body: "WAKE UP".into(), ..MessagePush::default() };
    world.push_of("my.shout", &shout);
    world.push_of(command::CHAT_GROUP_JOIN, &GroupJoinNotify::default());
    world.push_of(command::CHAT_SYNC, &shout);
    world.push(1);
    let [push] = &*world.pushes else { panic!("{:?}", world.pushes) };
    assert_eq!((&*push.command, &*push.dest), ("my.shout", "me"));
    assert_eq!(push.decode::<MessagePush>(), Ok(shout));
    let cut = Push { body: push.body.slice(..3), ..push.clone() };
    let unreadable = Error::Answer { command: "my.shout".into() };
    assert_eq!(cut.decode::<MessagePush>(), Err(unreadable));
}
