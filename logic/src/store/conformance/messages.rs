//! Messages between two accounts: storing, listing, acknowledging and pruning them.

use futures::future::join_all;

use super::*;
use crate::store::INDEX_MAX;

pub(crate) async fn sequences_are_gapless_and_ids_rise_with_them(store: Fresh) {
    let pairs = [("a", "b"), ("b", "a"), ("a", "c"), ("d", "d")];
    let sent = join_all(pairs.map(|(from, to)| send_many(&*store, from, to, 200))).await;
    assert_gapless(sent[..2].concat());
    assert_gapless(sent[2].clone());
    assert_gapless(sent[3].clone());
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
    assert_eq!(Appended { repeat_of: None, ..repeat }, first);
    assert_eq!(listed(&*store, "b", Page::Unread).await, [first.message_id]);
    assert!(listed(&*store, "c", Page::Unread).await.is_empty());

    // Within one batch too.
    let same = join_all((0..50).map(|_| send(&*store, "a", "b", "c::2"))).await;
    assert_eq!(same.iter().filter(|sent| sent.repeat_of.is_none()).count(), 1);
    assert!(same.iter().all(|sent| sent.seq == Seq(2)));
    // Another sender's key is another request, whatever the letters.
    let names = [("a", "bc"), ("ab", "c"), ("a1", ":c"), ("a", "1:c")];
    let others =
        join_all(names.map(|(from, key)| async { send(&*store, from, "z", key).await })).await;
    assert!(others.iter().all(|sent| sent.repeat_of.is_none()));
}

pub(crate) async fn a_legacy_ack_is_cumulative_over_all_conversations(store: Fresh) {
    let mut sent = Vec::new();
    for number in 0..30 {
        let from = ["b", "c", "d"][number % 3];
        sent.push(send(&*store, from, "a", &number.to_string()).await);
    }
    let ids = ids(&sent);
    store.ack_until(&app(), &account("a"), ids[9]).await.unwrap();
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids[10..]);
    // Never back, and nothing at all for what is no id.
    for older in [ids[3], 0, -1, 1] {
        store.ack_until(&app(), &account("a"), older).await.unwrap();
    }
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids[10..]);
    // Between two ids, and past all of them.
    store.ack_until(&app(), &account("a"), ids[19] + 1).await.unwrap();
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids[20..]);
    store.ack_until(&app(), &account("a"), i64::MAX).await.unwrap();
    assert!(listed(&*store, "a", Page::Unread).await.is_empty());
    // Past all of them is not past those to come.
    let next = send(&*store, "b", "a", "later").await;
    assert_eq!(listed(&*store, "a", Page::Unread).await, [next.message_id]);
}

pub(crate) async fn cursors_move_forward_up_to_the_head_and_only_for_members(store: Fresh) {
    let sent = send_many(&*store, "b", "a", 10).await;
    let ids = ids(&sent);
    let conversation = sent[0].conversation.clone();
    let ack = |who: &'static str, seq: u64| {
        let (store, cursor) = (store.clone(), (conversation.clone(), Seq(seq)));
        async move { store.ack_cursors(&app(), &account(who), vec![cursor]).await.unwrap() }
    };
    ack("a", 4).await;
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids[4..]);
    ack("a", 2).await;
    ack("stranger", 10).await;
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids[4..]);
    // That of a group would be another one.
    let strange = ConversationId::from(conversation.as_str().replace('d', "g"));
    store.ack_cursors(&app(), &account("a"), vec![(strange, Seq(10))]).await.unwrap();
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids[4..]);
    ack("a", u64::MAX).await;
    let next = send(&*store, "b", "a", "next").await;
    assert_eq!(listed(&*store, "a", Page::Unread).await, [next.message_id]);
    for strange in ["", "d", "d-1", "dx", "d999999999999999999999", "d77", "\0"] {
        let cursor = (ConversationId::from(strange), Seq(5));
        store.ack_cursors(&app(), &account("a"), vec![cursor]).await.unwrap();
    }
    assert_eq!(listed(&*store, "a", Page::Unread).await, [next.message_id]);
}

pub(crate) async fn an_index_lists_only_what_others_sent(store: Fresh) {
    send_many(&*store, "a", "b", 5).await;
    send_many(&*store, "a", "a", 5).await;
    let sent = send_many(&*store, "b", "a", 3).await;
    let index = store.index(&app(), &account("a"), Page::Unread).await.unwrap();
    let of_index: Vec<_> = index.iter().map(|entry| entry.message_id).collect();
    assert_eq!(of_index, ids(&sent));
    for entry in index {
        let sent = sent.iter().find(|sent| sent.message_id == entry.message_id).unwrap();
        assert_eq!((&entry.conversation, entry.seq), (&sent.conversation, sent.seq));
        assert_eq!((entry.sender.as_str(), entry.send_time), ("b", sent.send_time));
    }
}

pub(crate) async fn pages_advance_until_everything_was_listed(store: Fresh) {
    let senders = ["b", "c", "d", "e", "f"];
    let sent = join_all(senders.map(|from| send_many(&*store, from, "a", 901))).await.concat();
    let all = ids(&sent);
    let mut seen = listed(&*store, "a", Page::Unread).await;
    assert_eq!(seen, all[..INDEX_MAX]);
    loop {
        let last = *seen.last().unwrap();
        store.ack_until(&app(), &account("a"), last).await.unwrap();
        let page = listed(&*store, "a", Page::After(last)).await;
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, all);
    // Acknowledged or not: everything from the start, and everything after an id.
    assert_eq!(listed(&*store, "a", Page::Everything).await, all[..INDEX_MAX]);
    let after = listed(&*store, "a", Page::After(all[1999])).await;
    assert_eq!(after, all[2000..4000]);
    assert!(listed(&*store, "a", Page::Unread).await.is_empty());
}

pub(crate) async fn contents_come_in_the_order_asked_and_not_to_strangers(store: Fresh) {
    let (one, two) = (send(&*store, "b", "a", "1").await, send(&*store, "b", "a", "2").await);
    let (one, two) = (one.message_id, two.message_id);
    let asked = vec![two, 77, one, two, -1, i64::MAX];
    for member in ["a", "b"] {
        let found = store.contents(&app(), &account(member), asked.clone()).await.unwrap();
        let bodies = found.iter().map(|found| found.as_ref().map(|content| content.body.as_str()));
        let expected = [Some("b 2"), None, Some("b 1"), Some("b 2"), None, None];
        assert_eq!(bodies.collect::<Vec<_>>(), expected);
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
    store.ack_cursors(&app(), &a, vec![(theirs.conversation, Seq(1))]).await.unwrap();
    store.ack_until(&app(), &a, i64::MAX).await.unwrap();
    let index = store.index(&other, &a, Page::Unread).await.unwrap();
    assert_eq!(index.iter().map(|entry| entry.message_id).collect::<Vec<_>>(), [id]);
}

pub(crate) async fn unread_messages_come_with_contents_and_in_pages(store: Fresh) {
    let before = send_many(&*store, "b", "a", 5).await;
    store.ack_until(&app(), &account("a"), ids(&before)[4]).await.unwrap();
    let sent = [send_many(&*store, "b", "a", 30).await, send_many(&*store, "c", "a", 30).await];
    send_many(&*store, "a", "c", 5).await;
    let all = ids(&sent.concat());
    let (mut past, mut seen) = (0, Vec::new());
    loop {
        let unread = store.unread(&app(), &account("a"), past, 7).await.unwrap();
        let Some(last) = unread.last() else { break };
        assert!(unread.len() <= 7);
        past = last.envelope.message_id;
        assert!(unread.iter().all(|message| !message.content.body.is_empty()));
        seen.extend(unread.iter().map(|message| message.envelope.message_id));
    }
    assert_eq!(seen, all);
    // A time in place of an id.
    let since = all[40] - 1;
    let unread = store.unread(&app(), &account("a"), since, 100).await.unwrap();
    assert_eq!(unread.len(), 20);
}

pub(crate) async fn pruning_takes_the_old_and_leaves_the_rest_in_order(store: Fresh) {
    let old = send_many(&*store, "b", "a", 1200).await;
    let kept = send_many(&*store, "b", "a", 10).await;
    let below = ids(&kept)[0];
    store.ack_until(&app(), &account("a"), ids(&old)[99]).await.unwrap();
    let mut pruned = 0;
    loop {
        match store.prune(below).await.unwrap() {
            0 => break,
            some => pruned += some,
        }
    }
    assert_eq!(pruned, old.len());
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids(&kept));
    // Cursors go on from what is left: an id among the pruned, then one among the kept.
    store.ack_until(&app(), &account("a"), ids(&old)[500]).await.unwrap();
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids(&kept));
    store.ack_until(&app(), &account("a"), ids(&kept)[4]).await.unwrap();
    assert_eq!(listed(&*store, "a", Page::Unread).await, ids(&kept)[5..]);

    // Even with nothing left, ids and sequences go on where they were.
    while store.prune(i64::MAX).await.unwrap() > 0 {}
    let next = send(&*store, "b", "a", "next").await;
    assert!(next.message_id > ids(&kept)[9]);
    assert_eq!(next.seq, Seq(1211));
}

pub(crate) async fn names_and_texts_are_kept_whatever_they_are(store: Fresh) {
    let strange = ["é", "e\u{301}", "\u{1F40C}", "a\0b", "\\x00", "'; --", " ", "A"];
    for (number, name) in strange.iter().enumerate() {
        let mut sent = message(name, "z", &format!("{name}{number}"));
        sent.content.body = format!("{name}\0");
        sent.content.extra = (*name).to_owned();
        store.append(sent).await.unwrap();
    }
    let index = store.unread(&app(), &account("z"), 0, 100).await.unwrap();
    let senders: Vec<_> = index.iter().map(|stored| stored.envelope.sender.as_str()).collect();
    assert_eq!(senders, strange);
    assert!(
        index
            .iter()
            .all(|stored| stored.content.body == format!("{}\0", stored.envelope.sender.as_str()))
    );
    let conversations: std::collections::HashSet<_> =
        index.iter().map(|stored| &stored.envelope.conversation).collect();
    assert_eq!(conversations.len(), strange.len(), "names that look alike are not the same");
}
