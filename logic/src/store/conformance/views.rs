//! Sync, history and the list of conversations.

use super::{
    groups::{create, join, quit, say},
    *,
};
use crate::store::{ConversationRef, Overview, Range, Stored, UNREAD_MAX};

fn bodies(messages: &[Stored]) -> Vec<&str> {
    messages.iter().map(|stored| stored.content.body.as_str()).collect()
}

async fn sync(store: &dyn MessageStore, who: &str, cursors: &[(&ConversationId, u64)]) -> Vec<i64> {
    let cursors = cursors.iter().map(|(id, seq)| ((*id).clone(), Seq(*seq))).collect();
    let synced = store.sync(&device(who), cursors, 1000).await.unwrap();
    sorted_ids(envelopes(&synced))
}

pub(crate) async fn a_sync_begins_at_the_cursors_given_and_else_at_the_stored_ones(store: Fresh) {
    let group = create(&*store, "a", &["b"]).await;
    let direct = [send(&*store, "b", "a", "1").await, send(&*store, "a", "b", "2").await];
    let said = [say(&*store, "b", &group, "3").await, say(&*store, "a", &group, "4").await];
    let (direct_id, group_id) = (&direct[0].conversation, &said[0].conversation);
    let all: Vec<i64> = direct.iter().chain(&said).map(|sent| sent.message_id).collect();
    // One's own too: another device may have sent them.
    assert_eq!(sync(&*store, "a", &[]).await, all);
    ack_to(&*store, "a", direct_id, 1).await;
    assert_eq!(sync(&*store, "a", &[]).await, all[1..]);
    assert_eq!(sync(&*store, "a", &[(direct_id, 0)]).await, all, "given ones go before stored");
    assert_eq!(sync(&*store, "a", &[(group_id, 1)]).await, [all[1], all[3]]);
    assert_eq!(sync(&*store, "a", &[(group_id, 9), (direct_id, 2)]).await, [0i64; 0]);
    // Another's conversation, and none at all, are of no use.
    let strange = ConversationId::from("d999");
    assert_eq!(sync(&*store, "c", &[(direct_id, 0), (&strange, 0)]).await, [0i64; 0]);
    assert_eq!(sync(&*store, "a", &[(&strange, 0)]).await, all[1..]);

    let synced = store.sync(&device("b"), Vec::new(), 3).await.unwrap();
    assert_eq!(sorted_ids(envelopes(&synced)).len(), 3);
    for Stored { envelope, .. } in synced {
        let is_direct = envelope.conversation == *direct_id;
        let with_a = Target::Account(account("a"));
        assert_eq!(envelope.other, if is_direct { with_a } else { Target::Group(group.clone()) });
    }
}

/// Two servers whose clocks differ: an id of one may be far below an acknowledged one of the
/// other, in another conversation.
pub(crate) async fn an_id_below_an_acknowledged_one_is_still_missing(store: Fresh) {
    let mut sent = [send(&*store, "b", "a", "1").await, send(&*store, "c", "a", "2").await];
    sent.sort_by_key(|sent| sent.message_id);
    let [one, two] = sent;
    ack_to(&*store, "a", &two.conversation, two.seq.0).await;
    assert_eq!(sync(&*store, "a", &[]).await, [one.message_id]);
    assert_eq!(listed(&*store, "a", Page::Unacknowledged).await, [one.message_id]);
}

async fn page(
    store: &dyn MessageStore,
    who: &str,
    place: &ConversationRef,
    range: Range,
    limit: usize,
) -> Option<(Vec<String>, bool)> {
    let found = store.history(&app(), &account(who), place.clone(), range, limit).await.unwrap();
    let found = found?;
    let bodies = bodies(&found.messages).into_iter().map(str::to_owned).collect();
    Some((bodies, found.more))
}

pub(crate) async fn a_history_is_read_in_both_directions_page_by_page(store: Fresh) {
    for number in 1..=9 {
        let from = if number % 2 == 0 { ("a", "b") } else { ("b", "a") };
        send(&*store, from.0, from.1, &number.to_string()).await;
    }
    let sent = send(&*store, "a", "b", "10").await;
    ack_all(&*store, "a").await;
    let by_id = ConversationRef::Conversation(sent.conversation);
    let with = ConversationRef::With(account("b"));
    let page = async |range, limit| page(&*store, "a", &with, range, limit).await.unwrap();
    let (newest, more) = page(Range::Before(Seq(u64::MAX)), 3).await;
    assert_eq!((newest, more), (vec!["a 8".into(), "b 9".into(), "a 10".into()], true));
    assert_eq!(page(Range::Before(Seq(3)), 2).await, (vec!["b 1".into(), "a 2".into()], false));
    assert_eq!(page(Range::Before(Seq(1)), 2).await, (vec![], false));
    assert_eq!(page(Range::After(Seq(8)), 2).await, (vec!["b 9".into(), "a 10".into()], false));
    assert_eq!(page(Range::After(Seq(7)), 2).await, (vec!["a 8".into(), "b 9".into()], true));
    assert_eq!(page(Range::After(Seq(u64::MAX)), 2).await, (vec![], false));
    let same = super::views::page(&*store, "b", &by_id, Range::After(Seq(9)), 5).await;
    assert_eq!(same, Some((vec!["a 10".into()], false)));
    // One name for each conversation.
    let number = by_id_number(&by_id);
    let as_group = [
        ConversationRef::Group(GroupId::from(format!("g{number}"))),
        ConversationRef::Conversation(ConversationId::from(format!("g{number}"))),
    ];
    for place in as_group {
        let found = super::views::page(&*store, "a", &place, Range::After(Seq(0)), 5).await;
        assert_eq!(found, None);
    }
    // Strangers learn nothing, not even that there is something.
    for place in
        [by_id, ConversationRef::With(account("b")), ConversationRef::With(account("unknown"))]
    {
        let found = super::views::page(&*store, "c", &place, Range::After(Seq(0)), 5).await;
        assert_eq!(found, None);
    }
}

pub(crate) async fn a_groups_history_is_what_its_reader_was_there_for(store: Fresh) {
    let id = create(&*store, "a", &["b"]).await;
    let place = ConversationRef::Group(id.clone());
    say(&*store, "a", &id, "1").await;
    join(&*store, &id, "a", "c", "j1").await.unwrap();
    assert_eq!(
        page(&*store, "c", &place, Range::After(Seq(0)), 9).await,
        Some((vec![], false)),
        "nothing was said since"
    );
    say(&*store, "a", &id, "2").await;
    quit(&*store, &id, "c", "c", "q1").await.unwrap();
    say(&*store, "a", &id, "3").await;
    join(&*store, &id, "a", "c", "j2").await.unwrap();
    say(&*store, "a", &id, "4").await;
    for range in [Range::After(Seq(0)), Range::Before(Seq(u64::MAX))] {
        let seen = page(&*store, "c", &place, range, 9).await;
        assert_eq!(seen, Some((vec!["a 2".into(), "a 4".into()], false)));
    }
    let before = page(&*store, "c", &place, Range::Before(Seq(4)), 9).await;
    assert_eq!(before, Some((vec!["a 2".into()], false)));
    assert_eq!(page(&*store, "d", &place, Range::After(Seq(0)), 9).await, None);
}

fn by_id_number(place: &ConversationRef) -> String {
    let ConversationRef::Conversation(id) = place else { panic!("{place:?}") };
    id.as_str().trim_start_matches('d').to_owned()
}

async fn overviews(store: &dyn MessageStore, who: &str) -> Vec<Overview> {
    store.conversations(&app(), &account(who), None, 100).await.unwrap()
}

pub(crate) async fn conversations_are_listed_by_what_happened_last(store: Fresh) {
    send(&*store, "b", "a", "1").await;
    send(&*store, "c", "a", "2").await;
    let group = create(&*store, "d", &["a"]).await;
    let last = send(&*store, "a", "b", "3").await;
    let found = overviews(&*store, "a").await;
    let others: Vec<_> = found.iter().map(|found| found.other.clone()).collect();
    let with = |name: &str| Target::Account(account(name));
    assert_eq!(others, [with("b"), Target::Group(group.clone()), with("c")]);
    let (b, of_group) = (&found[0], &found[1]);
    assert_eq!((b.head, b.cursor, b.unread, b.name.as_str()), (Seq(2), Seq(0), 1, ""));
    assert_eq!(b.last.as_ref().unwrap().envelope.message_id, last.message_id);
    assert_eq!((of_group.head, of_group.unread, of_group.last.as_ref()), (Seq(0), 0, None));
    assert_eq!(
        (of_group.name.as_str(), of_group.conversation.as_str()),
        ("Pilots", group.as_str())
    );
    // Page by page, the same.
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = store.conversations(&app(), &account("a"), before, 1).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.active);
        paged.extend(page);
    }
    assert_eq!(paged, found);
    ack_all(&*store, "a").await;
    assert!(overviews(&*store, "a").await.iter().all(|found| found.unread == 0));
    assert!(overviews(&*store, "stranger").await.is_empty());
}

pub(crate) async fn unread_messages_are_counted_up_to_a_bound(store: Fresh) {
    send_many(&*store, "b", "a", 5).await;
    send_many(&*store, "a", "b", 2).await;
    assert_eq!(overviews(&*store, "a").await[0].unread, 5);
    assert_eq!(overviews(&*store, "b").await[0].unread, 2);
    send_many(&*store, "b", "a", UNREAD_MAX as usize).await;
    assert_eq!(overviews(&*store, "a").await[0].unread, UNREAD_MAX);
}

pub(crate) async fn who_left_a_group_keeps_it_in_the_list_as_it_was(store: Fresh) {
    let id = create(&*store, "a", &["b"]).await;
    say(&*store, "a", &id, "1").await;
    quit(&*store, &id, "b", "b", "q").await.unwrap();
    say(&*store, "a", &id, "2").await;
    let found = overviews(&*store, "b").await;
    assert_eq!((found.len(), found[0].head, found[0].unread), (1, Seq(1), 1));
    assert_eq!(found[0].last.as_ref().unwrap().content.body, "a 1");
    join(&*store, &id, "a", "b", "j").await.unwrap();
    say(&*store, "a", &id, "3").await;
    let found = overviews(&*store, "b").await;
    assert_eq!((found.len(), found[0].head, found[0].unread), (1, Seq(3), 2));
}
