//! Devices: how far each has acknowledged, and what it is listed.

use futures::future::join_all;

use super::{
    groups::{create, join, quit, say},
    *,
};

/// Returns the messages that a device has not acknowledged, as [`sorted_ids`].
async fn missing(store: &dyn MessageStore, device: &Device) -> Vec<i64> {
    sorted_ids(&index(store, device, Page::Unacknowledged).await.messages)
}

/// Returns the messages that a device has not synced, own ones included.
async fn synced(store: &dyn MessageStore, device: &Device) -> Vec<i64> {
    let synced = store.sync(device, Vec::new(), 1000).await.unwrap();
    sorted_ids(envelopes(&synced))
}

/// Returns the unread messages in the list of an account's only conversation, and its read mark.
async fn unread(store: &dyn MessageStore, who: &str) -> (u32, u64) {
    let all = store.conversations(&app(), &account(who), None, 10).await.unwrap();
    assert_eq!(all.len(), 1);
    (all[0].unread, all[0].cursor.0)
}

pub(crate) async fn cursors_move_forward_up_to_the_head_and_only_for_members(store: Fresh) {
    let sent = assert_gapless(send_many(&*store, "b", "a", 10).await);
    let conversation = &sent[0].conversation;
    let at = |seq: u64| vec![(conversation.clone(), Seq(seq))];
    assert_eq!(ack_to(&*store, "a", conversation, 4).await, at(4));
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, ids(&sent[4..]));
    assert_eq!(ack_to(&*store, "a", conversation, 2).await, at(4), "never back");
    assert_eq!(ack_to(&*store, "stranger", conversation, 10).await, []);
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, ids(&sent[4..]));
    // That of a group would be another one.
    let strange = ConversationId::from(conversation.as_str().replace('d', "g"));
    assert_eq!(ack_to(&*store, "a", &strange, 10).await, []);
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, ids(&sent[4..]));
    // Past all of them is not past those to come.
    assert_eq!(ack_to(&*store, "a", conversation, u64::MAX).await, at(10));
    let next = send(&*store, "b", "a", "next").await;
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, [next.message_id]);
    for strange in ["", "d", "d-1", "dx", "d999999999999999999999", "d77", "\0"] {
        assert_eq!(ack_to(&*store, "a", &ConversationId::from(strange), 5).await, []);
    }
    assert_eq!(ack(&*store, &device("a"), Vec::new()).await, []);
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, [next.message_id]);
    // The sender's own cursor is another one.
    assert_eq!(ack_to(&*store, "b", conversation, 3).await, at(3));
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, [next.message_id]);
}

pub(crate) async fn an_acknowledged_part_moves_a_cursor_that_it_touches(store: Fresh) {
    let sent = assert_gapless(send_many(&*store, "b", "a", 10).await);
    let (a, conversation) = (device("a"), &sent[0].conversation);
    for ((from, to), cursor) in [
        // A hole before it.
        ((2, 3), 0),
        ((1, 2), 2),
        ((4, 9), 2),
        // It overlaps.
        ((1, 4), 4),
        ((2, 3), 4),
        ((5, 5), 5),
        // Nothing at all, and what makes no sense.
        ((6, 5), 5),
        ((u64::MAX, u64::MAX), 5),
        ((0, 0), 5),
        ((6, u64::MAX), 10),
    ] {
        let cursors = ack(&*store, &a, vec![given(conversation, from, to)]).await;
        assert_eq!(cursors, [(conversation.clone(), Seq(cursor))], "after {from}..={to}");
        assert_eq!(missing(&*store, &a).await, ids(&sent[cursor as usize..]));
    }
}

pub(crate) async fn adjacent_parts_join_in_any_order(store: Fresh) {
    let sent = assert_gapless(send_many(&*store, "b", "a", 10).await);
    let said = assert_gapless(send_many(&*store, "c", "a", 10).await);
    let (b, c) = (&sent[0].conversation, &said[0].conversation);
    let parts = vec![
        given(b, 7, 7),
        given(c, 4, 6),
        given(b, 4, 6),
        given(c, 1, 2),
        given(b, 1, 3),
        given(b, 9, 10),
        given(b, 2, 3),
    ];
    let mut cursors = ack(&*store, &device("a"), parts).await;
    cursors.sort_unstable_by_key(|(_, seq)| *seq);
    assert_eq!(cursors, [(c.clone(), Seq(2)), (b.clone(), Seq(7))]);
    let expected = [&sent[7..], &said[2..]].concat();
    assert_eq!(missing(&*store, &device("a")).await, ids(&expected));
}

pub(crate) async fn a_second_device_gets_what_another_acknowledged(store: Fresh) {
    let (phone, web) = (named("a", "phone"), named("a", "web"));
    for device in [&phone, &web] {
        store.enter(device).await.unwrap();
    }
    let sent = assert_gapless(send_many(&*store, "b", "a", 6).await);
    let (conversation, all) = (&sent[0].conversation, ids(&sent));
    ack(&*store, &phone, vec![given(conversation, 1, 6)]).await;
    assert_eq!(missing(&*store, &phone).await, [0i64; 0]);
    assert_eq!((missing(&*store, &web).await, synced(&*store, &web).await), (all.clone(), all));
    // Another login changes nothing.
    store.enter(&web).await.unwrap();
    ack(&*store, &web, vec![given(conversation, 1, 2)]).await;
    assert_eq!(missing(&*store, &web).await, ids(&sent[2..]));
    assert_eq!(synced(&*store, &web).await, ids(&sent[2..]));
    assert_eq!(synced(&*store, &phone).await, [0i64; 0]);
    // Another account's device of the same name is another one.
    assert_eq!(synced(&*store, &named("b", "phone")).await, ids(&sent));
}

pub(crate) async fn a_new_device_begins_at_the_read_marks(store: Fresh) {
    let sent = assert_gapless(send_many(&*store, "b", "a", 6).await);
    let said = send_many(&*store, "c", "a", 2).await;
    let conversation = &sent[0].conversation;
    let (phone, web) = (named("a", "phone"), named("a", "web"));
    store.enter(&phone).await.unwrap();
    ack(&*store, &phone, vec![given(conversation, 1, 4)]).await;
    let rest = ids(&[&sent[4..], &said[..]].concat());
    // Before it is known, and from then on.
    assert_eq!(missing(&*store, &web).await, rest);
    store.enter(&web).await.unwrap();
    assert_eq!(missing(&*store, &web).await, rest);
    ack(&*store, &phone, vec![given(conversation, 5, 6)]).await;
    assert_eq!(missing(&*store, &web).await, rest, "it is known, and has its own cursors");
    // One that acknowledges without having entered becomes known, too.
    let desk = named("a", "desk");
    let cursors = ack(&*store, &desk, vec![given(&said[0].conversation, 1, 1)]).await;
    assert_eq!(cursors, [(said[0].conversation.clone(), Seq(1))]);
    assert_eq!(missing(&*store, &desk).await.len(), 1);
    let last = send(&*store, "b", "a", "last").await;
    ack(&*store, &phone, vec![given(conversation, 7, 7)]).await;
    assert!(missing(&*store, &desk).await.contains(&last.message_id));
}

pub(crate) async fn a_known_device_begins_a_later_conversation_at_its_start(store: Fresh) {
    let (phone, web) = (named("a", "phone"), named("a", "web"));
    for device in [&phone, &web] {
        store.enter(device).await.unwrap();
    }
    let group = create(&*store, "b", &[]).await;
    say(&*store, "b", &group, "before").await;
    join(&*store, &group, "b", "a", "join").await.unwrap();
    let said = say(&*store, "b", &group, "after").await;
    let direct = send(&*store, "b", "a", "1").await;
    for conversation in [&said.conversation, &direct.conversation] {
        ack(&*store, &phone, vec![given(conversation, 0, 9)]).await;
    }
    assert_eq!(missing(&*store, &phone).await, [0i64; 0]);
    assert_eq!(missing(&*store, &web).await, ids(&[said.clone(), direct]));
    // The first that its member may see touches the start.
    let cursors = ack(&*store, &web, vec![given(&said.conversation, 2, 2)]).await;
    assert_eq!(cursors, [(said.conversation, Seq(2))]);
}

pub(crate) async fn the_read_mark_follows_the_furthest_device(store: Fresh) {
    let (phone, web) = (named("a", "phone"), named("a", "web"));
    for device in [&phone, &web] {
        store.enter(device).await.unwrap();
    }
    let sent = send_many(&*store, "b", "a", 6).await;
    let conversation = &sent[0].conversation;
    ack(&*store, &phone, vec![given(conversation, 1, 4)]).await;
    assert_eq!(unread(&*store, "a").await, (2, 4));
    ack(&*store, &web, vec![given(conversation, 1, 3)]).await;
    assert_eq!(unread(&*store, "a").await, (2, 4), "never back");
    ack(&*store, &web, vec![given(conversation, 4, 5)]).await;
    assert_eq!(unread(&*store, "a").await, (1, 5));
    assert_eq!(unread(&*store, "b").await, (0, 0));
}

pub(crate) async fn memberships_of_one_group_are_acknowledged_each_for_itself(store: Fresh) {
    let group = create(&*store, "a", &["b"]).await;
    let one = say(&*store, "a", &group, "1").await;
    let two = say(&*store, "a", &group, "2").await;
    quit(&*store, &group, "b", "b", "quit").await.unwrap();
    say(&*store, "a", &group, "3").await;
    say(&*store, "a", &group, "4").await;
    join(&*store, &group, "a", "b", "join").await.unwrap();
    let five = say(&*store, "a", &group, "5").await;
    let six = say(&*store, "a", &group, "6").await;
    let all = [one, two, five, six];
    let (conversation, phone) = (&all[0].conversation, named("b", "phone"));
    store.enter(&phone).await.unwrap();
    assert_eq!(missing(&*store, &phone).await, ids(&all));
    let acked = async |from, to| {
        let cursors = ack(&*store, &phone, vec![given(conversation, from, to)]).await;
        assert_eq!(cursors[0].0, *conversation);
        (cursors.len(), cursors[0].1.0)
    };
    // The second membership begins past the fourth message, even if some of the first one is missing.
    assert_eq!(acked(5, 5).await, (1, 5));
    assert_eq!(missing(&*store, &phone).await, ids(&[&all[..2], &all[3..]].concat()));
    assert_eq!(acked(2, 4).await, (1, 5));
    assert_eq!(missing(&*store, &phone).await, ids(&[&all[..2], &all[3..]].concat()));
    // One part of both times.
    assert_eq!(acked(1, 5).await, (1, 5));
    assert_eq!(missing(&*store, &phone).await, ids(&all[3..]));
    assert_eq!(acked(0, 9).await, (1, 6));
    assert_eq!(missing(&*store, &phone).await, [0i64; 0]);
    assert_eq!(unread(&*store, "b").await, (0, 6));
}

pub(crate) async fn an_index_tells_which_parts_it_gives(store: Fresh) {
    let phone = named("a", "phone");
    store.enter(&phone).await.unwrap();
    let spans = async |page| {
        let mut spans = index(&*store, &phone, page).await.given;
        spans.sort_unstable_by_key(|given| (given.conversation.to_string(), given.from));
        spans
    };
    assert_eq!(spans(Page::Unacknowledged).await, []);
    // From others, own, from others, own: what is between counts, what comes behind does not.
    let one = send(&*store, "b", "a", "1").await;
    for (number, (from, to)) in
        [("a", "b"), ("a", "b"), ("b", "a"), ("a", "b")].into_iter().enumerate()
    {
        send(&*store, from, to, &format!("more {number}")).await;
    }
    let direct = &one.conversation;
    // Own messages alone are not listed, nor given.
    send(&*store, "a", "c", "1").await;
    // Sequences that its member does not see are not given.
    let group = create(&*store, "b", &[]).await;
    say(&*store, "b", &group, "before").await;
    join(&*store, &group, "b", "a", "join").await.unwrap();
    let said = say(&*store, "b", &group, "after").await;
    let group = &said.conversation;
    let expected = [given(direct, 1, 4), given(group, 2, 2)];
    assert_eq!(spans(Page::Unacknowledged).await, expected);
    ack(&*store, &phone, vec![given(direct, 1, 2)]).await;
    let expected = [given(direct, 3, 4), given(group, 2, 2)];
    assert_eq!(spans(Page::Unacknowledged).await, expected);
    let expected = [given(direct, 1, 4), given(group, 2, 2)];
    assert_eq!(spans(Page::Everything).await, expected);
    // What is given is what has to be acknowledged.
    let listing = index(&*store, &phone, Page::Unacknowledged).await;
    ack(&*store, &phone, listing.given).await;
    assert_eq!(index(&*store, &phone, Page::Unacknowledged).await, Listing::default());
}

pub(crate) async fn a_forgotten_device_is_new_again(store: Fresh) {
    let (phone, web) = (named("a", "phone"), named("a", "web"));
    for device in [&phone, &web] {
        store.enter(device).await.unwrap();
    }
    let sent = assert_gapless(send_many(&*store, "b", "a", 4).await);
    let conversation = &sent[0].conversation;
    ack(&*store, &phone, vec![given(conversation, 1, 3)]).await;
    assert_eq!(missing(&*store, &web).await, ids(&sent));
    // They were there just now.
    const DAYS: i64 = 30 * 24 * 3_600_000_000_000;
    assert_eq!(store.prune(sent[0].send_time - DAYS).await.unwrap(), 0);
    assert_eq!(missing(&*store, &web).await, ids(&sent));
    let keep = sent[0].send_time;
    let mut forgotten = 0;
    loop {
        match store.prune(keep + DAYS).await.unwrap() {
            0 => break,
            some => forgotten += some,
        }
    }
    assert!(forgotten >= 2, "{forgotten}");
    // Messages went, too; later ones tell.
    let later = assert_gapless_from(5, send_many(&*store, "b", "a", 4).await);
    ack(&*store, &phone, vec![given(conversation, 4, 6)]).await;
    assert_eq!(missing(&*store, &web).await, ids(&later[2..]), "the read mark is at 6");
    store.enter(&web).await.unwrap();
    ack(&*store, &phone, vec![given(conversation, 7, 7)]).await;
    assert_eq!(missing(&*store, &web).await, ids(&later[2..]), "known again");
}

fn assert_gapless_from(first: u64, mut sent: Vec<Appended>) -> Vec<Appended> {
    sent.sort_by_key(|sent| sent.seq);
    assert!(sent.iter().zip(first..).all(|(sent, seq)| sent.seq.0 == seq), "{sent:?}");
    sent
}

/// Devices and conversations of one account that share a commit.
pub(crate) async fn many_acknowledgements_at_once_each_count(store: Fresh) {
    let senders = ["b", "c", "d"];
    let sent = join_all(senders.map(|from| send_many(&*store, from, "a", 20))).await;
    let conversations: Vec<_> = sent.iter().map(|sent| &sent[0].conversation).collect();
    let devices: Vec<Device> = (0..10).map(|number| named("a", &number.to_string())).collect();
    join_all(devices.iter().map(|device| store.enter(device))).await;
    let acks = devices.iter().enumerate().flat_map(|(number, device)| {
        let upto = number as u64 + 1;
        let store = &store;
        conversations.iter().flat_map(move |conversation| {
            [0, 1].map(|_| ack(&**store, device, vec![given(conversation, 1, upto)]))
        })
    });
    join_all(acks).await;
    for (number, device) in devices.iter().enumerate() {
        assert_eq!(missing(&*store, device).await.len(), 3 * (19 - number));
    }
    let all = store.conversations(&app(), &account("a"), None, 10).await.unwrap();
    assert!(all.iter().all(|found| found.cursor == Seq(10)), "{all:?}");
}
