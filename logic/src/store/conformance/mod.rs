//! What every message store has to do, as functions over the trait.

pub(crate) mod groups;
pub(crate) mod messages;
pub(crate) mod views;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::future::join_all;
use imago_proto::{Account, App, ConversationId, GroupId, Seq};

use super::{Appended, Content, MessageStore, NewMessage, Page, Target};

/// Makes a test of each of the suite, on what `$fresh().await` gives: something that keeps the store
/// alive, and a [`Fresh`] one.
macro_rules! suite {
    ($fresh:path) => {
        crate::store::conformance::suite!($fresh, messages,
            sequences_are_gapless_and_ids_rise_with_them,
            a_repeat_is_answered_with_the_first_result_and_stored_once,
            a_legacy_ack_is_cumulative_over_all_conversations,
            cursors_move_forward_up_to_the_head_and_only_for_members,
            an_index_lists_only_what_others_sent,
            pages_advance_until_everything_was_listed,
            contents_come_in_the_order_asked_and_not_to_strangers,
            accounts_of_two_apps_never_meet,
            unread_messages_come_with_contents_and_in_pages,
            pruning_takes_the_old_and_leaves_the_rest_in_order,
            names_and_texts_are_kept_whatever_they_are,
        );
        crate::store::conformance::suite!($fresh, groups,
            a_group_is_made_once_with_its_owner_first_and_everybody_once,
            members_invite_strangers_only_enter_open_groups,
            a_full_group_takes_nobody_until_somebody_leaves,
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
        target: Target::Account(account(to)),
        open_talk: false,
        request: request.to_owned(),
        content: Content { kind: 1, body: format!("{from} {request}"), extra: String::new() },
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

/// Ids that an account is listed.
pub(crate) async fn listed(store: &dyn MessageStore, to: &str, page: Page) -> Vec<i64> {
    let index = store.index(&app(), &account(to), page).await.unwrap();
    index.into_iter().map(|message| message.message_id).collect()
}

pub(crate) fn ids(sent: &[Appended]) -> Vec<i64> {
    let mut ids: Vec<i64> = sent.iter().map(|sent| sent.message_id).collect();
    ids.sort_unstable();
    ids
}

/// Sequences 1, 2, 3, … of one conversation, with ids that rise.
pub(crate) fn assert_gapless(mut sent: Vec<Appended>) {
    sent.sort_by_key(|sent| sent.seq);
    let seqs: Vec<u64> = sent.iter().map(|sent| sent.seq.0).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    for pair in sent.windows(2) {
        assert!(pair[0].message_id < pair[1].message_id, "{pair:?}");
        assert_eq!(pair[0].conversation, pair[1].conversation);
    }
}
