//! What every message store has to do, as functions over the trait.

pub(crate) mod devices;
pub(crate) mod groups;
pub(crate) mod messages;
pub(crate) mod owed;
pub(crate) mod views;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::join_all;
use imago_proto::{Account, App, ConversationId, GroupId, Seq};

use super::{
    Appended, Chain, Content, Device, Envelope, Given, Listing, MessageStore, NewMessage, Page,
    Stored, Target,
};

/// Makes a test of each of the suite, on what `$fresh().await` gives: something that keeps the store
/// alive, and a [`Fresh`] one.
macro_rules! suite {
    ($fresh:path) => {
        crate::store::conformance::suite!($fresh, messages,
            racing_appends_get_gapless_sequences_and_unique_ids,
            a_repeat_is_answered_with_the_first_result_and_stored_once,
            messages_of_a_chain_keep_their_order_and_end_with_a_failed_one,
            an_index_lists_only_what_others_sent,
            pages_advance_until_everything_was_listed,
            contents_come_in_the_order_asked_and_not_to_strangers,
            accounts_of_two_apps_never_meet,
            pruning_takes_the_old_and_leaves_the_rest_in_order,
            any_names_and_texts_are_kept,
            a_probe_changes_nothing_and_a_stored_message_counts_as_one,
        );
        crate::store::conformance::suite!($fresh, devices,
            cursors_move_forward_up_to_the_head_and_only_for_members,
            an_acknowledged_part_moves_a_cursor_that_it_touches,
            adjacent_parts_join_in_any_order,
            a_second_device_gets_what_another_acknowledged,
            a_new_device_begins_at_the_read_marks,
            a_known_device_begins_a_later_conversation_at_its_start,
            the_read_mark_follows_the_furthest_device,
            memberships_of_one_group_are_acknowledged_each_for_itself,
            an_index_tells_which_parts_it_gives,
            a_forgotten_device_is_new_again,
            many_acknowledgements_at_once_each_count,
        );
        crate::store::conformance::suite!($fresh, owed,
            what_a_mark_does_not_cover_is_owed_own_messages_too,
            what_a_session_has_is_not_owed,
            what_is_owed_comes_in_pages,
            what_a_device_acknowledged_is_not_owed,
            of_a_group_only_what_its_member_may_see_is_owed,
            a_mark_covers_a_commit_and_not_the_next,
            a_message_is_covered_by_a_mark_or_owed_while_others_append,
        );
        crate::store::conformance::suite!($fresh, groups,
            a_group_is_created_once_with_its_owner_first_and_each_member_once,
            members_invite_strangers_only_enter_open_groups,
            a_full_group_takes_no_member_until_one_leaves,
            members_leave_by_themselves_or_by_the_owner,
            a_late_repeat_of_a_join_or_quit_changes_nothing,
            members_see_what_was_said_while_they_were_in_it,
            each_message_names_the_members_that_it_met,
            talk_and_changes_at_once_keep_order_and_versions,
            groups_of_another_app_are_unknown,
            a_group_of_ten_thousand_is_like_any_other,
        );
        crate::store::conformance::suite!($fresh, views,
            a_sync_begins_at_the_cursors_given_and_else_at_the_stored_ones,
            an_id_below_an_acknowledged_one_is_still_missing,
            a_history_is_read_in_both_directions_page_by_page,
            a_groups_history_is_what_its_reader_was_there_for,
            conversations_are_listed_by_what_happened_last,
            unread_messages_are_counted_up_to_a_bound,
            who_left_a_group_keeps_it_in_the_list_as_it_was,
        );
    };
    ($fresh:path, $part:ident, $($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (_kept, store) = $fresh().await;
                crate::store::conformance::$part::$name(store).await;
            }
        )*
    };
}
pub(crate) use suite;

/// A store with nothing in it.
pub(crate) type Fresh = Arc<dyn MessageStore>;

pub(crate) fn app() -> App {
    App::from("kim")
}

pub(crate) fn account(name: &str) -> Account {
    Account::from(name)
}

pub(crate) fn message(from: &str, to: &str, request: &str) -> NewMessage {
    NewMessage {
        app: app(),
        sender: account(from),
        device: "elsewhere".into(),
        target: Target::Account(account(to)),
        open_talk: false,
        request: request.to_owned(),
        content: Content { kind: 1, body: format!("{from} {request}"), extra: String::new() },
        chain: Chain::default(),
    }
}

pub(crate) async fn send(
    store: &dyn MessageStore,
    from: &str,
    to: &str,
    request: &str,
) -> Appended {
    store.append(message(from, to, request)).await.unwrap()
}

/// Sends many at once, so that they share commits.
pub(crate) async fn send_many(
    store: &dyn MessageStore,
    from: &str,
    to: &str,
    count: usize,
) -> Vec<Appended> {
    static BATCHES: AtomicUsize = AtomicUsize::new(0);
    let batch = BATCHES.fetch_add(1, Ordering::Relaxed);
    let requests: Vec<String> = (0..count).map(|number| format!("{batch}.{number}")).collect();
    join_all(requests.iter().map(|request| send(store, from, to, request))).await
}

/// Returns the unnamed device of an account.
pub(crate) fn device(account: &str) -> Device {
    named(account, "")
}

/// Returns a device of an account.
pub(crate) fn named(account: &str, name: &str) -> Device {
    Device { app: app(), account: self::account(account), name: name.into() }
}

/// Returns the part `from..=to` of a conversation.
pub(crate) fn given(conversation: &ConversationId, from: u64, to: u64) -> Given {
    Given { conversation: conversation.clone(), from: Seq(from), to: Seq(to) }
}

/// Acknowledges these parts; returns the device's cursors.
pub(crate) async fn ack(
    store: &dyn MessageStore,
    device: &Device,
    given: Vec<Given>,
) -> Vec<(ConversationId, Seq)> {
    store.ack(device, given).await.unwrap()
}

/// Acknowledges everything up to a sequence on the unnamed device.
pub(crate) async fn ack_to(
    store: &dyn MessageStore,
    who: &str,
    conversation: &ConversationId,
    to: u64,
) -> Vec<(ConversationId, Seq)> {
    ack(store, &device(who), vec![given(conversation, 0, to)]).await
}

/// Acknowledges everything that an account sees on the unnamed device.
pub(crate) async fn ack_all(store: &dyn MessageStore, who: &str) {
    let all = store.conversations(&app(), &account(who), None, 1000).await.unwrap();
    let heads = all.iter().map(|found| given(&found.conversation, 0, found.head.0));
    ack(store, &device(who), heads.collect()).await;
}

/// Returns the listing of the unnamed device of an account, as [`sorted_ids`].
pub(crate) async fn listed(store: &dyn MessageStore, to: &str, page: Page) -> Vec<i64> {
    sorted_ids(&index(store, &device(to), page).await.messages)
}

pub(crate) async fn index(store: &dyn MessageStore, device: &Device, page: Page) -> Listing {
    store.index(device, page).await.unwrap()
}

/// Ids in ascending order. The messages are in the order of sequences in each conversation: their
/// ids need not be.
pub(crate) fn sorted_ids<'a>(messages: impl IntoIterator<Item = &'a Envelope>) -> Vec<i64> {
    let (mut ids, mut last) = (Vec::new(), HashMap::new());
    for message in messages {
        let before = last.insert(&message.conversation, message.seq);
        assert!(before < Some(message.seq), "{message:?} is behind {before:?}");
        ids.push(message.message_id);
    }
    ids.sort_unstable();
    ids
}

pub(crate) fn envelopes(messages: &[Stored]) -> impl Iterator<Item = &Envelope> {
    messages.iter().map(|stored| &stored.envelope)
}

/// Ids in ascending order.
pub(crate) fn ids(sent: &[Appended]) -> Vec<i64> {
    let mut ids: Vec<i64> = sent.iter().map(|sent| sent.message_id).collect();
    ids.sort_unstable();
    ids
}

/// Sorts the messages of one conversation, whose sequences must be 1, 2, 3, …
pub(crate) fn assert_gapless(mut sent: Vec<Appended>) -> Vec<Appended> {
    sent.sort_by_key(|sent| sent.seq);
    let seqs: Vec<u64> = sent.iter().map(|sent| sent.seq.0).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert!(sent.windows(2).all(|pair| pair[0].conversation == pair[1].conversation));
    sent
}
