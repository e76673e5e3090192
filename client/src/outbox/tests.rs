//! Tests of the outbox.

use std::time::Duration;

use super::*;

fn lane(dest: &str) -> Lane {
    Lane::Account(dest.into())
}

fn talk(dest: &str, id: &str) -> (Call, oneshot::Receiver<Result<Bytes, Error>>) {
    let (answer, outcome) = oneshot::channel();
    let talk = Call {
        lane: lane(dest),
        command: "my.shout".into(),
        dest: dest.into(),
        body: Bytes::new(),
        text: Some(id.into()),
        repeat: Repeat::Under(id.into()),
        deadline: Instant::now(),
        waited: Duration::from_secs(1),
        tries: 0,
        answer,
    };
    (talk, outcome)
}

/// An outbox with these messages, receiver and id of each.
fn outbox(talks: &[(&str, &str)]) -> (Outbox, Vec<CallId>) {
    let mut outbox = Outbox::default();
    let ids = talks.iter().map(|(dest, id)| outbox.push(talk(dest, id).0)).collect();
    (outbox, ids)
}

fn sent(outbox: &mut Outbox) -> Vec<String> {
    let mut sent = Vec::new();
    while let Some((_, talk)) = outbox.next() {
        sent.extend(talk.text.clone());
    }
    sent
}

#[test]
fn one_message_of_a_receiver_is_under_way_at_a_time() {
    let (mut outbox, ids) = outbox(&[("bob", "b1"), ("bob", "b2"), ("carol", "c1")]);
    assert_eq!(sent(&mut outbox), ["b1", "c1"]);
    assert_eq!(sent(&mut outbox), [""; 0]);
    outbox.take(ids[0]).unwrap();
    assert_eq!(sent(&mut outbox), ["b2"]);
    assert_eq!(outbox.len(), 2);
}

#[test]
fn a_resting_message_holds_its_receivers_others_back() {
    let (mut outbox, ids) = outbox(&[("bob", "b1"), ("bob", "b2")]);
    sent(&mut outbox);
    assert_eq!(outbox.rest(ids[0]), Some(1));
    assert_eq!(sent(&mut outbox), [""; 0]);
    outbox.wake(ids[1]);
    assert_eq!(sent(&mut outbox), [""; 0], "it is not its turn");
    outbox.wake(ids[0]);
    outbox.wake(ids[0]);
    assert_eq!(sent(&mut outbox), ["b1"]);
}

#[test]
fn after_a_loss_each_receivers_first_is_sent_again() {
    let (mut outbox, ids) = outbox(&[("bob", "b1"), ("bob", "b2"), ("carol", "c1")]);
    sent(&mut outbox);
    assert_eq!(outbox.tries(&lane("bob"), "b1"), 1);
    outbox.rest(ids[2]);
    outbox.wake_all();
    let mut again = sent(&mut outbox);
    again.sort();
    assert_eq!(again, ["b1", "c1"]);
    assert_eq!(outbox.tries(&lane("bob"), "b1"), 2);
    assert_eq!(outbox.tries(&lane("bob"), "b2"), 0, "it is not the first");
    assert_eq!(outbox.tries(&Lane::Group("bob".into()), "b1"), 0, "a group of the same name");
}

#[test]
fn an_expired_message_makes_way() {
    let (mut outbox, ids) = outbox(&[("bob", "b1"), ("bob", "b2"), ("bob", "b3")]);
    sent(&mut outbox);
    outbox.take(ids[1]).unwrap();
    assert_eq!(sent(&mut outbox), [""; 0], "b1 is still under way");
    outbox.take(ids[0]).unwrap();
    assert_eq!(sent(&mut outbox), ["b3"]);
    outbox.take(ids[2]).unwrap();
    assert!(outbox.lanes.is_empty() && outbox.take(ids[2]).is_none());
}

#[test]
fn an_expired_message_says_whether_it_was_ever_sent() {
    let (never, mut outcome) = talk("bob", "b1");
    never.expire();
    assert_eq!(outcome.try_recv(), Ok(Err(Error::NotSent(Duration::from_secs(1)))));
    let (mut tried, mut outcome) = talk("bob", "b1");
    tried.tries = 2;
    tried.expire();
    assert!(matches!(outcome.try_recv(), Ok(Err(Error::Unconfirmed { .. }))));
}

#[test]
fn an_expired_question_may_simply_be_asked_again() {
    let (mut asked, mut outcome) = talk("bob", "b1");
    (asked.repeat, asked.tries) = (Repeat::Freely, 3);
    asked.expire();
    assert_eq!(outcome.try_recv(), Ok(Err(Error::Timeout(Duration::from_secs(1)))));
}

#[test]
fn an_expired_call_that_is_not_repeated_says_that_its_outcome_is_unknown() {
    let (mut never, mut outcome) = talk("bob", "b1");
    never.repeat = Repeat::Never;
    never.expire();
    assert_eq!(outcome.try_recv(), Ok(Err(Error::NotSent(Duration::from_secs(1)))));
    let (mut sent, mut outcome) = talk("bob", "b1");
    (sent.repeat, sent.tries) = (Repeat::Never, 1);
    sent.expire();
    let why = "none came within 1s".to_owned();
    let unknown = Error::OutcomeUnknown { command: "my.shout".into(), why };
    assert_eq!(outcome.try_recv(), Ok(Err(unknown)));
}

#[test]
fn a_closed_client_says_what_it_knows_of_each_call() {
    let closed = Error::Closed(CloseReason::Kicked);
    for (repeat, tries) in
        [(Repeat::Freely, 1), (Repeat::Under("b1".into()), 1), (Repeat::Never, 0)]
    {
        let (call, mut outcome) = talk("bob", "b1");
        Call { repeat, tries, ..call }.close(CloseReason::Kicked);
        assert_eq!(outcome.try_recv(), Ok(Err(closed.clone())));
    }
    let (call, mut outcome) = talk("bob", "b1");
    Call { repeat: Repeat::Never, tries: 1, ..call }.close(CloseReason::Kicked);
    let Ok(Err(Error::OutcomeUnknown { why, .. })) = outcome.try_recv() else { panic!() };
    assert!(why.contains("elsewhere"), "{why}");
}
