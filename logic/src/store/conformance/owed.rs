//! What a session misses where pushes were lost.

use futures::future::join_all;
use imago_proto::link::Mark;

use super::{
    groups::{create, join, quit, say},
    *,
};
use crate::store::Owed;

async fn owed(store: &dyn MessageStore, device: &Device, mark: &Mark, have: Vec<Given>) -> Owed {
    store.owed(device, mark, have, 1000).await.unwrap()
}

/// Returns the messages that are owed, as [`sorted_ids`].
async fn owed_ids(
    store: &dyn MessageStore,
    device: &Device,
    mark: &Mark,
    have: Vec<Given>,
) -> Vec<i64> {
    sorted_ids(envelopes(&owed(store, device, mark, have).await.messages))
}

pub(crate) async fn what_a_mark_does_not_cover_is_owed_own_messages_too(store: Fresh) {
    let phone = named("a", "phone");
    let empty = store.enter(&phone).await.unwrap();
    let before = [send(&*store, "b", "a", "1").await, send(&*store, "a", "c", "2").await];
    let mark = store.enter(&phone).await.unwrap();
    assert_eq!(owed_ids(&*store, &phone, &mark, Vec::new()).await, [0i64; 0]);
    let group = create(&*store, "b", &["a"]).await;
    let after = [
        send(&*store, "b", "a", "3").await,
        send(&*store, "a", "b", "4").await,
        send(&*store, "d", "a", "5").await,
        say(&*store, "b", &group, "6").await,
        say(&*store, "a", &group, "7").await,
    ];
    send(&*store, "b", "c", "not for a").await;
    let missing = owed(&*store, &phone, &mark, Vec::new()).await;
    assert_eq!(sorted_ids(envelopes(&missing.messages)), ids(&after));
    for Stored { envelope, content } in &missing.messages {
        let is_it = |sent: &Appended| sent.message_id == envelope.message_id;
        let position = after.iter().position(is_it).unwrap();
        let sent = &after[position];
        assert_eq!((&envelope.conversation, envelope.seq), (&sent.conversation, sent.seq));
        assert_eq!(content.body, format!("{} {}", envelope.sender.as_str(), position + 3));
    }
    assert_eq!(owed_ids(&*store, &phone, &missing.mark, Vec::new()).await, [0i64; 0]);
    // A mark of an empty store, and none at all, cover nothing of this.
    let all = ids(&[&before[..], &after[..]].concat());
    for mark in [empty, Mark::default()] {
        assert_eq!(owed_ids(&*store, &phone, &mark, Vec::new()).await, all);
    }
}

pub(crate) async fn what_a_session_has_is_not_owed(store: Fresh) {
    let phone = named("a", "phone");
    let mark = store.enter(&phone).await.unwrap();
    let sent = assert_gapless(send_many(&*store, "b", "a", 10).await);
    let said = assert_gapless(send_many(&*store, "c", "a", 3).await);
    let (b, c) = (&sent[0].conversation, &said[0].conversation);
    let rest = |have: &[Given]| {
        let all = sent.iter().chain(&said).filter(|sent| {
            let has = |have: &Given| {
                have.conversation == sent.conversation && (have.from..=have.to).contains(&sent.seq)
            };
            !have.iter().any(has)
        });
        ids(&all.cloned().collect::<Vec<_>>())
    };
    for have in [
        vec![given(b, 3, 4)],
        // Several parts, in any order, that overlap, and past the end.
        vec![given(b, 9, 99), given(b, 2, 3), given(c, 0, 2), given(b, 3, 5), given(b, 7, 7)],
        vec![given(b, 0, 10)],
        vec![given(b, 1, u64::MAX), given(c, 1, 3)],
        // Nothing, and what is of no use.
        vec![given(b, 5, 4), given(&ConversationId::from("x"), 0, 9)],
        vec![given(&ConversationId::from("d999"), 0, 9), given(b, 50, 60)],
        (1..=10).step_by(2).map(|seq| given(b, seq, seq)).collect(),
    ] {
        assert_eq!(owed_ids(&*store, &phone, &mark, have.clone()).await, rest(&have), "{have:?}");
    }
}

pub(crate) async fn what_is_owed_comes_in_pages(store: Fresh) {
    let phone = named("a", "phone");
    let mark = store.enter(&phone).await.unwrap();
    let senders = ["b", "c", "d"];
    let mut sent = join_all(senders.map(|from| send_many(&*store, from, "a", 20))).await.concat();
    sent.extend(send_many(&*store, "a", "b", 20).await);
    let first = sent.iter().find(|sent| sent.seq == Seq(5)).unwrap().clone();
    let had = given(&first.conversation, 4, 6);
    let (mut have, mut seen) = (vec![had], Vec::new());
    loop {
        let page = store.owed(&phone, &mark, have.clone(), 7).await.unwrap();
        assert!(page.messages.len() <= 7);
        sorted_ids(envelopes(&page.messages));
        for Stored { envelope, .. } in &page.messages {
            seen.push(envelope.message_id);
            let Envelope { conversation, seq, .. } = envelope;
            have.push(Given { conversation: conversation.clone(), from: Seq(0), to: *seq });
        }
        if page.messages.len() < 7 {
            break;
        }
    }
    let is_owed = |sent: &&Appended| {
        sent.conversation != first.conversation || !(4..=6).contains(&sent.seq.0)
    };
    let expected: Vec<_> = sent.iter().filter(is_owed).cloned().collect();
    seen.sort_unstable();
    assert_eq!(seen, ids(&expected));
}

pub(crate) async fn what_a_device_acknowledged_is_not_owed(store: Fresh) {
    let (phone, web) = (named("a", "phone"), named("a", "web"));
    for device in [&phone, &web] {
        store.enter(device).await.unwrap();
    }
    let sent = assert_gapless(send_many(&*store, "b", "a", 6).await);
    ack(&*store, &phone, vec![given(&sent[0].conversation, 1, 4)]).await;
    let none = Mark::default();
    assert_eq!(owed_ids(&*store, &phone, &none, Vec::new()).await, ids(&sent[4..]));
    assert_eq!(owed_ids(&*store, &web, &none, Vec::new()).await, ids(&sent));
    // One that is not known has what its account has read.
    assert_eq!(owed_ids(&*store, &named("a", "new"), &none, Vec::new()).await, ids(&sent[4..]));
    let have = vec![given(&sent[0].conversation, 5, 5)];
    assert_eq!(owed_ids(&*store, &phone, &none, have).await, ids(&sent[5..]));
}

pub(crate) async fn of_a_group_only_what_its_member_may_see_is_owed(store: Fresh) {
    let phone = named("c", "phone");
    let mark = store.enter(&phone).await.unwrap();
    let group = create(&*store, "a", &["b"]).await;
    say(&*store, "a", &group, "before").await;
    join(&*store, &group, "a", "c", "j1").await.unwrap();
    let one = say(&*store, "b", &group, "1").await;
    quit(&*store, &group, "c", "c", "q1").await.unwrap();
    say(&*store, "a", &group, "between").await;
    join(&*store, &group, "a", "c", "j2").await.unwrap();
    let own = say(&*store, "c", &group, "2").await;
    let last = say(&*store, "a", &group, "3").await;
    let seen = [one.clone(), own, last];
    let owed = owed(&*store, &phone, &mark, Vec::new()).await;
    assert_eq!(sorted_ids(envelopes(&owed.messages)), ids(&seen));
    assert!(owed.messages.iter().all(|stored| {
        stored.envelope.other == Target::Group(group.clone())
            && stored.envelope.conversation == one.conversation
    }));
    // What one has may be part of both times.
    let have = vec![given(&one.conversation, 2, 4)];
    assert_eq!(owed_ids(&*store, &phone, &mark, have).await, ids(&seen[2..]));
}

pub(crate) async fn a_mark_covers_a_commit_and_not_the_next(store: Fresh) {
    let phone = named("a", "phone");
    let group = create(&*store, "a", &["b"]).await;
    let (mut direct, mut said, mut marks) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..4 {
        let request = number.to_string();
        direct.push(send(&*store, "b", "a", &request).await);
        said.push(say(&*store, "b", &group, &format!("said {request}")).await);
        // Either of the two tells it.
        let mark = match number % 2 {
            0 => store.enter(&phone).await.unwrap(),
            _ => owed(&*store, &phone, &Mark::default(), Vec::new()).await.mark,
        };
        marks.push(mark);
    }
    for sent in [direct, said] {
        assert_eq!(sent[0].after, 0);
        for (number, mark) in marks.iter().enumerate() {
            for (other, sent) in sent.iter().enumerate() {
                // `after` is the commit of the one before it.
                let is_covered = other <= number + 1;
                assert_eq!(mark.covers(sent.after), is_covered, "{mark:?}, {sent:?}");
            }
        }
    }
}

/// Whenever a mark is taken, each message counts as one that the device syncs, or as one that it is
/// owed, and none as neither.
pub(crate) async fn a_message_is_covered_by_a_mark_or_owed_while_others_append(store: Fresh) {
    let phone = named("a", "phone");
    store.enter(&phone).await.unwrap();
    let senders = ["b", "c", "a"];
    let sending = join_all(senders.map(|from| {
        let store = store.clone();
        async move {
            let to = if from == "a" { "b" } else { "a" };
            let mut sent = Vec::new();
            for _ in 0..10 {
                sent.extend(send_many(&*store, from, to, 5).await);
            }
            sent
        }
    }));
    let watching = async {
        let mut seen = Vec::new();
        for _ in 0..10 {
            let mark = store.enter(&phone).await.unwrap();
            let synced = store.sync(&phone, Vec::new(), 1000).await.unwrap();
            seen.push((mark, sorted_ids(envelopes(&synced))));
        }
        seen
    };
    let (sent, seen) = futures::join!(sending, watching);
    let all = ids(&sent.concat());
    for (mark, synced) in seen {
        let owed = owed_ids(&*store, &phone, &mark, Vec::new()).await;
        let neither = all.iter().filter(|id| !synced.contains(id) && !owed.contains(id));
        assert_eq!(neither.count(), 0, "with {mark:?}");
    }
    // Page by page, each mark taken before its read.
    let (mut mark, mut have, mut got) = (Mark::default(), Vec::new(), Vec::new());
    loop {
        let page = owed(&*store, &phone, &mark, have.clone()).await;
        if page.messages.is_empty() {
            break;
        }
        for Stored { envelope, .. } in &page.messages {
            got.push(envelope.message_id);
            let Envelope { conversation, seq, .. } = envelope;
            have.push(Given { conversation: conversation.clone(), from: *seq, to: *seq });
        }
        mark = page.mark;
    }
    got.sort_unstable();
    assert_eq!(got, all);
}
