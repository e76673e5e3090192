//! What sessions miss is pushed when their gateway asks, and what could not be pushed is owed.

use imago_proto::{
    Seq,
    link::{Given, Mark, Missing, Place},
    msg::MessagePush,
};

use super::*;
use crate::{
    handlers,
    store::{self, Content, Device, Members, NewMessage, Target},
    support::Broken,
};

async fn say(world: &World, from: &str, to: &str, count: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    for number in 0..count {
        let stored = world.store.append(NewMessage {
            app: "kim".into(),
            sender: from.into(),
            device: "elsewhere".into(),
            target: Target::Account(to.into()),
            open_talk: false,
            request: format!("{}-{number}", rand::random::<u64>()),
            content: Content { kind: 1, body: format!("{number}"), extra: String::new() },
            chain: store::Chain::default(),
        });
        seqs.push(stored.await.unwrap().seq.0);
    }
    seqs
}

fn device(account: &str, name: &str) -> Device {
    Device { app: "kim".into(), account: account.into(), name: name.into() }
}

fn places(sent: &[Sent], session: u64) -> Vec<Place> {
    let pushed = |sent: &Sent| match sent {
        Sent::Push { push, .. } if push.sessions == [session] => {
            assert!(push.again);
            push.place.clone()
        }
        _ => None,
    };
    sent.iter().filter_map(pushed).collect()
}

fn seqs(sent: &[Sent], session: u64) -> Vec<u64> {
    places(sent, session).into_iter().map(|place| place.seq).collect()
}

/// What is sent for a session until its redelivery is done, and the mark that it is told then.
async fn redelivered(world: &World, missing: Missing) -> (Vec<Sent>, Option<Mark>) {
    let session = missing.session;
    let before = world.outlet.sent().len();
    world.service.redeliver(&gateway("a"), vec![missing]);
    let done = |sent: &Sent| match sent {
        Sent::Redelivered { done, .. } if done.session == session => Some(done.mark.clone()),
        _ => None,
    };
    world
        .outlet
        .find(|sent| {
            let sent = &sent[before..];
            let (end, mark) =
                sent.iter().enumerate().find_map(|(at, sent)| Some((at, done(sent)?)))?;
            Some((sent[..end].to_vec(), mark))
        })
        .await
}

fn of(session: u64) -> Missing {
    Missing { session, ..Missing::default() }
}

#[tokio::test]
async fn a_session_gets_in_order_what_its_device_has_not_acknowledged() {
    let (world, a) = (World::new(), gateway("a"));
    world.link(&a, &[session(1, "ann", ""), session(2, "ann", "phone"), session(3, "bob", "")]);
    let (ann, phone) = (device("ann", ""), device("ann", "phone"));
    for device in [&ann, &phone] {
        world.store.enter(device).await.unwrap();
    }
    let all = say(&world, "bob", "ann", 250).await;
    let (sent, mark) = redelivered(&world, of(1)).await;
    assert_eq!(seqs(&sent, 1), all);
    assert!(mark.is_some());
    let conversation = places(&sent, 1)[0].conversation.clone();
    let Sent::Push { packet, .. } = &sent[0] else { panic!("{sent:?}") };
    assert_eq!(packet.header.dest, "ann");
    let push = MessagePush::decode(packet.body.clone()).unwrap();
    assert_eq!((push.sender.as_str(), push.seq, push.body.as_str()), ("bob", 1, "0"));

    let given = store::Given { conversation: conversation.into(), from: Seq(1), to: Seq(10) };
    world.store.ack(&ann, vec![given]).await.unwrap();
    assert_eq!(seqs(&redelivered(&world, of(1)).await.0, 1), all[10..]);
    assert_eq!(
        seqs(&redelivered(&world, of(2)).await.0, 2),
        all,
        "another device has it all to get"
    );
    // The sender's own messages too: another device of it may miss them.
    assert_eq!(seqs(&redelivered(&world, of(3)).await.0, 3), all);
}

#[tokio::test]
async fn what_the_mark_covers_or_the_session_has_is_not_missing() {
    let (world, a) = (World::new(), gateway("a"));
    world.link(&a, &[session(1, "ann", "")]);
    say(&world, "bob", "ann", 3).await;
    let mark = world.store.enter(&device("ann", "")).await.unwrap();
    let fresh = say(&world, "bob", "ann", 5).await;
    let since = Missing { mark: Some(mark), ..of(1) };
    let (sent, next) = redelivered(&world, since.clone()).await;
    assert_eq!(seqs(&sent, 1), fresh);
    let conversation = places(&sent, 1)[0].conversation.clone();
    let have = vec![Given { conversation, from: 5, to: 6, message_id: 0 }];
    assert_eq!(seqs(&redelivered(&world, Missing { have, ..since }).await.0, 1), [4, 7, 8]);
    let (sent, _) = redelivered(&world, Missing { mark: next, ..of(1) }).await;
    assert!(sent.is_empty(), "all of that was before the mark: {sent:?}");
}

#[tokio::test]
async fn a_session_that_is_not_known_is_to_be_asked_for_again() {
    let (world, a) = (World::new(), gateway("a"));
    world.link(&a, &[session(1, "ann", "")]);
    assert_eq!(redelivered(&world, of(7)).await, (Vec::new(), None));
}

#[tokio::test]
async fn where_the_store_fails_the_gateway_is_told_to_ask_again() {
    let folder = tempfile::tempdir().unwrap();
    let world =
        World::on(Arc::<Broken>::default(), folder, handlers::router(), WorkLimits::default());
    world.link(&gateway("a"), &[session(1, "ann", "")]);
    assert_eq!(redelivered(&world, of(1)).await, (Vec::new(), None));
}

/// A group whose members cannot be read while a message is sent to it.
#[tokio::test]
async fn a_message_that_could_not_be_pushed_to_its_group_is_owed_to_the_members() {
    async fn say(ctx: Context, (): ()) -> Result<(), Reject> {
        let to = crate::context::Receivers::Members { group: "g1".into(), version: 1, seq: Seq(1) };
        ctx.push_message(to, Arc::default(), "g1", &());
        Ok(())
    }
    let (folder, broken) = (tempfile::tempdir().unwrap(), Arc::<Broken>::default());
    let router = Router::new().handle("say", say);
    let world = World::on(broken.clone(), folder, router, WorkLimits::default());
    let (a, b) = (gateway("a"), gateway("b"));
    world.link(&a, &[session(1, "ann", ""), session(2, "dan", "")]);
    world.link(&b, &[session(5, "bob", ""), session(6, "ann", "phone")]);
    world.call((&a, 2), "say", "", &()).await;
    assert!(world.pushes().await.is_empty());
    let since = [("ann", Seq(0)), ("bob", Seq(0))].map(|(name, seq)| (name.into(), seq));
    let members = Members { version: 1, since: since.into() };
    *broken.members.lock() = Some(members);
    let mut owed = world
        .outlet
        .find(|sent| {
            let owed = sent.iter().filter_map(|sent| match sent {
                Sent::Owed { gateway, sessions } => {
                    let mut sessions = sessions.clone();
                    sessions.sort_unstable();
                    Some((gateway.service_id.to_string(), sessions))
                }
                _ => None,
            });
            Some(owed.collect::<Vec<_>>()).filter(|owed| owed.len() == 2)
        })
        .await;
    owed.sort();
    assert_eq!(owed, [("a".to_owned(), vec![1]), ("b".to_owned(), vec![5, 6])]);
}
