//! Messages between two accounts: storing, listing, acknowledging and pruning them.

use std::collections::HashSet;

use futures::future::join_all;
use imago_proto::{COMMIT_UNKNOWN, link::Mark};

use super::*;
use crate::store::{INDEX_MAX, StoreError};

pub(crate) async fn racing_appends_get_gapless_sequences_and_unique_ids(store: Fresh) {
    let pairs = [("a", "b"), ("b", "a"), ("a", "c"), ("d", "d")];
    let sent = join_all(pairs.map(|(from, to)| send_many(&*store, from, to, 200))).await;
    for of in [sent[..2].concat(), sent[2].clone(), sent[3].clone()] {
        let of = assert_gapless(of);
        assert_eq!(of[0].after, 0, "nothing is before the first");
        assert!(of[1..].iter().all(|sent| (1..COMMIT_UNKNOWN).contains(&sent.after)));
    }
    let all = sent.concat();
    assert!(all.iter().all(|sent| sent.message_id > 10_000 && sent.message_id >= sent.send_time));
    let mut ids = ids(&all);
    ids.dedup();
    assert_eq!(ids.len(), all.len(), "an id was given twice");
}

pub(crate) async fn a_repeat_is_answered_with_the_first_result_and_stored_once(store: Fresh) {
    let first = send(&*store, "a", "b", "c::1").await;
    assert_eq!(first.repeat_of, None);
    let mut again = message("a", "c", "c::1");
    again.content.body = "something else".to_owned();
    let repeat = store.append(again).await.unwrap();
    let stored = repeat.repeat_of.clone().unwrap();
    assert_eq!(stored.target, Target::Account(account("b")));
    assert_eq!(stored.content.body, "a c::1");
    assert_eq!(repeat.after, COMMIT_UNKNOWN);
    assert_eq!(Appended { after: first.after, repeat_of: None, ..repeat }, first);
    assert_eq!(listed(&*store, "b", Page::Unacknowledged).await, [first.message_id]);
    assert!(listed(&*store, "c", Page::Unacknowledged).await.is_empty());

    // Within one batch too.
    let same = join_all((0..50).map(|_| send(&*store, "a", "b", "c::2"))).await;
    assert_eq!(same.iter().filter(|sent| sent.repeat_of.is_none()).count(), 1);
    assert!(same.iter().all(|sent| sent.seq == Seq(2)));
    // Keys of different senders are different requests, even with equal letters.
    let names = [("a", "bc"), ("ab", "c"), ("a1", ":c"), ("a", "1:c")];
    let others =
        join_all(names.map(|(from, key)| async { send(&*store, from, "z", key).await })).await;
    assert!(others.iter().all(|sent| sent.repeat_of.is_none()));
}

pub(crate) async fn messages_of_a_chain_keep_their_order_and_end_with_a_failed_one(store: Fresh) {
    let chain = Chain::default();
    let of = |chain: &Chain, request: &str| {
        store.append(NewMessage { chain: chain.clone(), ..message("a", "b", request) })
    };
    let requests: Vec<String> = (1..=50).map(|number| number.to_string()).collect();
    let sent = join_all(requests.iter().map(|request| of(&chain, request))).await;
    let seqs: Vec<u64> = sent.iter().map(|sent| sent.as_ref().unwrap().seq.0).collect();
    assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
    chain.break_off();
    let behind = of(&chain, "51").await;
    assert!(matches!(behind, Err(StoreError::Overtaking)), "{behind:?}");
    // Others go on, and so does the same request in another chain.
    assert_eq!(of(&Chain::default(), "52").await.unwrap().seq, Seq(51));
    assert_eq!(of(&Chain::default(), "51").await.unwrap().seq, Seq(52));
}

pub(crate) async fn an_index_lists_only_what_others_sent(store: Fresh) {
    send_many(&*store, "a", "b", 5).await;
    send_many(&*store, "a", "a", 5).await;
    let sent = send_many(&*store, "b", "a", 3).await;
    let index = index(&*store, &device("a"), Page::Unacknowledged).await.messages;
    assert_eq!(sorted_ids(&index), ids(&sent));
    for entry in index {
        let sent = sent.iter().find(|sent| sent.message_id == entry.message_id).unwrap();
        assert_eq!((&entry.conversation, entry.seq), (&sent.conversation, sent.seq));
        assert_eq!((entry.sender.as_str(), entry.send_time), ("b", sent.send_time));
    }
}

pub(crate) async fn pages_advance_until_everything_was_listed(store: Fresh) {
    let senders = ["b", "c", "d", "e", "f"];
    let sent = join_all(senders.map(|from| send_many(&*store, from, "a", 901))).await.concat();
    let a = device("a");
    let mut seen = Vec::new();
    loop {
        let page = index(&*store, &a, Page::Unacknowledged).await;
        if page.messages.is_empty() {
            break;
        }
        assert_eq!(page.messages.len(), INDEX_MAX.min(sent.len() - seen.len()));
        seen.extend(sorted_ids(&page.messages));
        ack(&*store, &a, page.given).await;
    }
    seen.sort_unstable();
    assert_eq!(seen, ids(&sent));
    // Acknowledged or not: everything from the start.
    let everything = index(&*store, &a, Page::Everything).await;
    assert_eq!(sorted_ids(&everything.messages).len(), INDEX_MAX);
    let mut listed = 0;
    for given in everything.given {
        assert_eq!(given.from, Seq(1));
        listed += given.to.0 as usize;
    }
    assert_eq!(listed, INDEX_MAX, "a conversation is listed with a hole");
}

pub(crate) async fn contents_come_in_the_order_asked_and_not_to_strangers(store: Fresh) {
    let sent = [send(&*store, "b", "a", "1").await, send(&*store, "b", "a", "2").await];
    let [one, two] = sent.each_ref().map(|sent| sent.message_id);
    let asked = vec![two, 77, one, two, -1, i64::MAX];
    for (member, other) in [("a", "b"), ("b", "a")] {
        let found = store.contents(&app(), &account(member), asked.clone()).await.unwrap();
        let bodies = found.iter().map(|found| found.as_ref().map(|found| &*found.content.body));
        let expected = [Some("b 2"), None, Some("b 1"), Some("b 2"), None, None];
        assert_eq!(bodies.collect::<Vec<_>>(), expected);
        let envelope = &found[2].as_ref().unwrap().envelope;
        let expected = Envelope {
            message_id: one,
            send_time: sent[0].send_time,
            conversation: sent[0].conversation.clone(),
            seq: Seq(1),
            sender: account("b"),
            other: Target::Account(account(other)),
        };
        assert_eq!(*envelope, expected);
    }
    let found = store.contents(&app(), &account("c"), asked).await.unwrap();
    assert_eq!(found, vec![None; 6]);
}

pub(crate) async fn accounts_of_two_apps_never_meet(store: Fresh) {
    let other = App::from("other");
    let ours = send(&*store, "b", "a", "1").await;
    let theirs =
        store.append(NewMessage { app: other.clone(), ..message("b", "a", "1") }).await.unwrap();
    assert_eq!(theirs.repeat_of, None);
    assert_ne!(theirs.conversation, ours.conversation);
    assert_eq!(theirs.seq, Seq(1));
    assert_eq!(listed(&*store, "a", Page::Everything).await, [ours.message_id]);

    let (a, id) = (account("a"), theirs.message_id);
    assert_eq!(store.contents(&app(), &a, vec![id]).await.unwrap(), [None]);
    assert!(ack_to(&*store, "a", &theirs.conversation, 1).await.is_empty());
    ack_all(&*store, "a").await;
    let elsewhere = Device { app: other, ..device("a") };
    let index = index(&*store, &elsewhere, Page::Unacknowledged).await;
    assert_eq!(sorted_ids(&index.messages), [id]);
    let synced = store.sync(&elsewhere, Vec::new(), 10).await.unwrap();
    assert_eq!(sorted_ids(envelopes(&synced)), [id]);
    let mark = Mark::default();
    let owed = store.owed(&device("a"), &mark, Vec::new(), 10).await.unwrap();
    assert_eq!(owed.messages, [], "ours is acknowledged, theirs is not for us");
}

pub(crate) async fn pruning_takes_the_old_and_leaves_the_rest_in_order(store: Fresh) {
    let old = send_many(&*store, "b", "a", 1200).await;
    let kept = send_many(&*store, "b", "a", 10).await;
    let (below, conversation) = (ids(&kept)[0], &kept[0].conversation);
    let mut pruned = 0;
    loop {
        match store.prune(below).await.unwrap() {
            0 => break,
            some => pruned += some,
        }
    }
    assert_eq!(pruned, old.len());
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, ids(&kept));
    let span = index(&*store, &device("a"), Page::Everything).await.given;
    assert_eq!(span, [given(conversation, 1, 1210)], "what is gone is given, too");
    // Cursors go on from what is left: a sequence among the pruned, then one among the kept.
    ack_to(&*store, "a", conversation, 501).await;
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, ids(&kept));
    ack_to(&*store, "a", conversation, 1205).await;
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await.len(), 5);
    let owed = store.owed(&device("b"), &Mark::default(), Vec::new(), 100).await.unwrap();
    assert_eq!(sorted_ids(envelopes(&owed.messages)), ids(&kept));

    // Even with nothing left, ids and sequences go on where they were.
    while store.prune(i64::MAX).await.unwrap() > 0 {}
    let next = send(&*store, "b", "a", "next").await;
    assert!(next.message_id > ids(&kept)[9]);
    assert_eq!(next.seq, Seq(1211));
}

pub(crate) async fn any_names_and_texts_are_kept(store: Fresh) {
    let strange = ["é", "e\u{301}", "\u{1F40C}", "a\0b", "\\x00", "'; --", " ", "A"];
    for (number, name) in strange.iter().enumerate() {
        let mut sent = message(name, "z", &format!("{name}{number}"));
        sent.content.body = format!("{name}\0");
        sent.content.extra = (*name).to_owned();
        store.append(sent).await.unwrap();
    }
    let synced = store.sync(&device("z"), Vec::new(), 100).await.unwrap();
    let mut senders: Vec<_> = synced.iter().map(|stored| stored.envelope.sender.as_str()).collect();
    senders.sort_unstable();
    let mut expected = strange;
    expected.sort_unstable();
    assert_eq!(senders, expected);
    for Stored { envelope, content } in &synced {
        assert_eq!(content.body, format!("{}\0", envelope.sender.as_str()));
        assert_eq!(content.extra, envelope.sender.as_str());
    }
    let conversations: HashSet<_> =
        synced.iter().map(|stored| &stored.envelope.conversation).collect();
    assert_eq!(conversations.len(), strange.len(), "names that look alike are not the same");
    // Each name of a device is another device.
    for (number, name) in strange.iter().enumerate() {
        store.enter(&named("z", name)).await.unwrap();
        let conversation = &synced[number].envelope.conversation;
        ack(&*store, &named("z", name), vec![given(conversation, 1, 1)]).await;
    }
    for (number, name) in strange.iter().enumerate() {
        let listed = index(&*store, &named("z", name), Page::Unacknowledged).await.messages;
        let conversation = &synced[number].envelope.conversation;
        assert!(listed.iter().all(|entry| entry.conversation != *conversation), "{name:?}");
    }
}

pub(crate) async fn a_probe_changes_nothing_and_a_stored_message_counts_as_one(store: Fresh) {
    let sent = send(&*store, "a", "b", "1").await;
    let written = store.last_write().expect("a message was stored");
    for _ in 0..3 {
        store.probe().await.unwrap();
    }
    // Several servers, and several at once.
    join_all((0..20).map(|_| async { store.probe().await.unwrap() })).await;
    assert_eq!(send(&*store, "a", "b", "1").await.seq, Seq(1));
    assert_eq!(store.last_write(), Some(written), "neither a probe nor a repeat stores a message");
    assert_eq!(listed(&*store, "b", Page::Everything).await, [sent.message_id]);
    send(&*store, "a", "b", "2").await;
    assert!(store.last_write() > Some(written));
}
