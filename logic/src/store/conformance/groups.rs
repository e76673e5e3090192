//! Groups: who is in them, who may change that, and who sees which messages.

use futures::future::join_all;

use super::*;
use crate::store::{Created, Denied, MemberChange, NewGroup, StoreError};

pub(super) const MEMBERS_MAX: usize = 20;

pub(super) fn group(owner: &str, members: &[&str], request: &str) -> NewGroup {
    NewGroup {
        app: app(),
        owner: account(owner),
        name: "Pilots".to_owned(),
        avatar: "https://example.org/a.png".to_owned(),
        introduction: "We fly \u{1F6EB}\0".to_owned(),
        members: members.iter().map(|name| account(name)).collect(),
        open: false,
        request: request.to_owned(),
    }
}

pub(crate) async fn create(store: &dyn MessageStore, owner: &str, members: &[&str]) -> GroupId {
    let request = format!("create {owner} {members:?}");
    store.create_group(group(owner, members, &request), MEMBERS_MAX).await.unwrap().group
}

fn change(group: &GroupId, caller: &str, who: &str, request: &str) -> MemberChange {
    MemberChange {
        app: app(),
        caller: account(caller),
        account: account(who),
        group: group.clone(),
        request: request.to_owned(),
    }
}

pub(crate) async fn join(
    store: &dyn MessageStore,
    group: &GroupId,
    caller: &str,
    who: &str,
    request: &str,
) -> crate::store::Result<()> {
    store.join_group(change(group, caller, who, request), MEMBERS_MAX).await
}

pub(crate) async fn quit(
    store: &dyn MessageStore,
    group: &GroupId,
    caller: &str,
    who: &str,
    request: &str,
) -> crate::store::Result<()> {
    store.quit_group(change(group, caller, who, request)).await
}

pub(super) fn to_group(from: &str, group: &GroupId, request: &str) -> NewMessage {
    NewMessage { target: Target::Group(group.clone()), ..message(from, "", request) }
}

pub(crate) async fn say(
    store: &dyn MessageStore,
    from: &str,
    group: &GroupId,
    request: &str,
) -> Appended {
    store.append(to_group(from, group, request)).await.unwrap()
}

fn denied<T>(result: crate::store::Result<T>) -> Option<Denied> {
    match result {
        Err(StoreError::Denied(denied)) => Some(denied),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

async fn in_group(store: &dyn MessageStore, group: &GroupId) -> Vec<String> {
    let group = store.group(&app(), group).await.unwrap().unwrap();
    group.members.iter().map(|member| member.account.to_string()).collect()
}

async fn version(store: &dyn MessageStore, group: &GroupId) -> u64 {
    store.members(&app(), group).await.unwrap().unwrap().version
}

/// Returns the bodies of all messages that an account sees.
async fn seen(store: &dyn MessageStore, who: &str) -> Vec<String> {
    let synced = store.sync(&device(who), Vec::new(), 1000).await.unwrap();
    synced.into_iter().map(|stored| stored.content.body).collect()
}

pub(crate) async fn a_group_is_created_once_with_its_owner_first_and_each_member_once(
    store: Fresh,
) {
    let wanted = group("b", &["c", "b", "a", "c"], "1");
    let Created { group: id, members } = store.create_group(wanted.clone(), 3).await.unwrap();
    assert_eq!(members, ["b", "c", "a"].map(account));
    assert!(id.as_str().len() <= 30);
    let found = store.group(&app(), &id).await.unwrap().unwrap();
    assert_eq!((found.id, found.owner, found.open), (id.clone(), account("b"), false));
    assert_eq!(
        (found.name, found.introduction),
        (wanted.name.clone(), wanted.introduction.clone())
    );
    assert_eq!(found.avatar, wanted.avatar);
    assert!(found.created_at > 1_600_000_000 && found.created_at < 100_000_000_000);
    assert!(found.members.iter().all(|member| member.joined_at == found.created_at));

    // A repeat gets the first group, with any contents. Of many at once, one creates it.
    let repeat = NewGroup { name: "Others".to_owned(), members: Vec::new(), ..wanted.clone() };
    assert_eq!(
        store.create_group(repeat, 3).await.unwrap(),
        Created { group: id.clone(), members }
    );
    let same = join_all((0..20).map(|_| store.create_group(group("b", &["x"], "2"), 3))).await;
    let ids: Vec<_> = same.into_iter().map(|created| created.unwrap().group).collect();
    assert!(ids.iter().all(|other| *other == ids[0] && *other != id), "{ids:?}");
    // A request of another owner is another one.
    assert_ne!(store.create_group(group("c", &[], "2"), 3).await.unwrap().group, ids[0]);
    // One too many, and nothing is left of it.
    let many = group("b", &["c", "d", "e"], "3");
    assert_eq!(denied(store.create_group(many.clone(), 3).await), Some(Denied::Full));
    assert_eq!(store.create_group(many, 4).await.unwrap().members.len(), 4);
}

pub(crate) async fn members_invite_strangers_only_enter_open_groups(store: Fresh) {
    let closed = create(&*store, "a", &["b"]).await;
    assert_eq!(denied(join(&*store, &closed, "x", "x", "1").await), Some(Denied::NotMember));
    assert_eq!(denied(join(&*store, &closed, "x", "y", "2").await), Some(Denied::NotMember));
    let before = version(&*store, &closed).await;
    join(&*store, &closed, "b", "c", "3").await.unwrap();
    assert_eq!(in_group(&*store, &closed).await, ["a", "b", "c"]);
    assert!(version(&*store, &closed).await > before);
    // Who is in already changes nothing.
    let now = version(&*store, &closed).await;
    join(&*store, &closed, "c", "a", "4").await.unwrap();
    assert_eq!(version(&*store, &closed).await, now);

    let open = NewGroup { open: true, ..group("a", &[], "open") };
    let open = store.create_group(open, MEMBERS_MAX).await.unwrap().group;
    assert!(store.group(&app(), &open).await.unwrap().unwrap().open);
    assert_eq!(denied(join(&*store, &open, "x", "y", "5").await), Some(Denied::NotMember));
    join(&*store, &open, "x", "x", "6").await.unwrap();
    assert_eq!(in_group(&*store, &open).await, ["a", "x"]);
    for strange in ["", "g", "g0", "g99", "d1", "g-1", "\0", "x"] {
        let strange = GroupId::from(strange);
        assert_eq!(
            denied(join(&*store, &strange, "a", "a", "7").await),
            Some(Denied::UnknownGroup)
        );
        assert_eq!(
            denied(quit(&*store, &strange, "a", "a", "8").await),
            Some(Denied::UnknownGroup)
        );
        assert_eq!(store.group(&app(), &strange).await.unwrap(), None);
        assert_eq!(store.members(&app(), &strange).await.unwrap(), None);
        let talk = store.append(to_group("a", &strange, "9")).await;
        assert_eq!(denied(talk), Some(Denied::UnknownGroup));
    }
}

pub(crate) async fn a_full_group_takes_no_member_until_one_leaves(store: Fresh) {
    let names: Vec<String> = (1..MEMBERS_MAX).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let full = create(&*store, "a", &names).await;
    assert_eq!(denied(join(&*store, &full, "a", "late", "1").await), Some(Denied::Full));
    // Members are no news, even there.
    join(&*store, &full, "a", "m1", "2").await.unwrap();
    quit(&*store, &full, "m1", "m1", "3").await.unwrap();
    // The same request as the refused one.
    join(&*store, &full, "a", "late", "1").await.unwrap();
    assert_eq!(in_group(&*store, &full).await.last().unwrap(), "late");
    assert_eq!(denied(join(&*store, &full, "a", "m1", "4").await), Some(Denied::Full));
}

pub(crate) async fn members_leave_by_themselves_or_by_the_owner(store: Fresh) {
    let id = create(&*store, "a", &["b", "c", "d"]).await;
    assert_eq!(denied(quit(&*store, &id, "b", "c", "1").await), Some(Denied::NotOwner));
    quit(&*store, &id, "b", "b", "2").await.unwrap();
    quit(&*store, &id, "a", "c", "3").await.unwrap();
    assert_eq!(in_group(&*store, &id).await, ["a", "d"]);
    let now = version(&*store, &id).await;
    // Who is not in it leaves nothing.
    quit(&*store, &id, "b", "b", "4").await.unwrap();
    quit(&*store, &id, "a", "stranger", "5").await.unwrap();
    assert_eq!(version(&*store, &id).await, now);
    // A member that has left may neither send nor invite.
    assert_eq!(denied(store.append(to_group("b", &id, "6")).await), Some(Denied::NotMember));
    assert_eq!(denied(join(&*store, &id, "b", "x", "7").await), Some(Denied::NotMember));
    let open = NewMessage { open_talk: true, ..to_group("b", &id, "8") };
    store.append(open).await.unwrap();
    // The owner may leave too; the last one as well.
    quit(&*store, &id, "a", "a", "9").await.unwrap();
    quit(&*store, &id, "d", "d", "10").await.unwrap();
    assert!(in_group(&*store, &id).await.is_empty());
}

pub(crate) async fn a_late_repeat_of_a_join_or_quit_changes_nothing(store: Fresh) {
    let id = create(&*store, "a", &[]).await;
    join(&*store, &id, "a", "b", "join").await.unwrap();
    quit(&*store, &id, "b", "b", "quit").await.unwrap();
    join(&*store, &id, "a", "b", "join").await.unwrap();
    assert_eq!(in_group(&*store, &id).await, ["a"]);
    join(&*store, &id, "a", "b", "again").await.unwrap();
    quit(&*store, &id, "b", "b", "quit").await.unwrap();
    assert_eq!(in_group(&*store, &id).await, ["a", "b"]);
    // Another caller's request with the same key is another one.
    quit(&*store, &id, "a", "b", "quit").await.unwrap();
    assert_eq!(in_group(&*store, &id).await, ["a"]);
    // Requests that changed nothing are remembered too.
    quit(&*store, &id, "b", "b", "early").await.unwrap();
    join(&*store, &id, "a", "a", "known").await.unwrap();
    join(&*store, &id, "a", "b", "once more").await.unwrap();
    quit(&*store, &id, "b", "b", "early").await.unwrap();
    assert_eq!(in_group(&*store, &id).await, ["a", "b"]);
    quit(&*store, &id, "a", "b", "out").await.unwrap();
    // A repeat succeeds even if its caller has lost the right.
    join(&*store, &id, "a", "c", "invite").await.unwrap();
    quit(&*store, &id, "a", "a", "leave").await.unwrap();
    join(&*store, &id, "a", "c", "invite").await.unwrap();
    assert_eq!(denied(join(&*store, &id, "a", "d", "other").await), Some(Denied::NotMember));
}

pub(crate) async fn members_see_what_was_said_while_they_were_in_it(store: Fresh) {
    let id = create(&*store, "a", &["b"]).await;
    let first = say(&*store, "a", &id, "1").await;
    assert_eq!((first.seq, first.conversation.as_str()), (Seq(1), id.as_str()));
    join(&*store, &id, "a", "c", "j1").await.unwrap();
    say(&*store, "b", &id, "2").await;
    quit(&*store, &id, "c", "c", "q1").await.unwrap();
    say(&*store, "a", &id, "3").await;
    assert_eq!(seen(&*store, "c").await, ["b 2"]);
    join(&*store, &id, "a", "c", "j2").await.unwrap();
    let last = say(&*store, "c", &id, "4").await;
    // What it saw then it still sees, and what was said meanwhile it does not.
    assert_eq!(seen(&*store, "c").await, ["b 2", "c 4"]);
    assert_eq!(seen(&*store, "a").await, ["a 1", "b 2", "a 3", "c 4"]);
    let c = account("c");
    let all = [first.message_id, last.message_id];
    let contents = store.contents(&app(), &c, all.to_vec()).await.unwrap();
    assert_eq!(contents.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    let unread = index(&*store, &device("c"), Page::Unacknowledged).await;
    assert_eq!(unread.messages.len(), 1, "its own is no news");
    ack(&*store, &device("c"), unread.given).await;
    assert!(listed(&*store, "c", Page::Unacknowledged).await.is_empty());
    // Left again at once: nothing was said in between.
    quit(&*store, &id, "a", "c", "q2").await.unwrap();
    join(&*store, &id, "a", "c", "j3").await.unwrap();
    say(&*store, "a", &id, "5").await;
    assert_eq!(seen(&*store, "c").await, ["c 4", "a 5"]);
    ack_to(&*store, "c", &last.conversation, 5).await;
    assert!(seen(&*store, "c").await.is_empty());
}

pub(crate) async fn each_message_names_the_members_that_it_met(store: Fresh) {
    let id = create(&*store, "a", &["b"]).await;
    let one = say(&*store, "a", &id, "1").await;
    let two = say(&*store, "b", &id, "2").await;
    assert_eq!(one.members, two.members);
    assert_eq!(one.members, version(&*store, &id).await);
    join(&*store, &id, "a", "c", "3").await.unwrap();
    let three = say(&*store, "a", &id, "4").await;
    assert!(three.members > two.members);
    let members = store.members(&app(), &id).await.unwrap().unwrap();
    assert_eq!(members.version, three.members);
    let mut since = members.since.to_vec();
    since.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let expected = [("a", 0), ("b", 0), ("c", 2)].map(|(who, seq)| (account(who), Seq(seq)));
    assert_eq!(since, expected);
    // A repeat may meet other ones by now.
    quit(&*store, &id, "b", "b", "5").await.unwrap();
    let repeat = say(&*store, "b", &id, "2").await;
    let stored = repeat.repeat_of.unwrap();
    assert_eq!(stored.target, Target::Group(id.clone()));
    assert_eq!((repeat.message_id, repeat.seq), (two.message_id, two.seq));
    assert_eq!(repeat.members, version(&*store, &id).await);
}

/// Members who change while others talk: each message names a version that the list then had.
pub(crate) async fn talk_and_changes_at_once_keep_order_and_versions(store: Fresh) {
    let id = create(&*store, "a", &["b", "c"]).await;
    let talk = |from: &'static str| {
        let (store, id) = (store.clone(), id.clone());
        async move {
            let said = (0..60).map(|number| {
                let (store, id) = (store.clone(), id.clone());
                async move { say(&*store, from, &id, &format!("{number}")).await }
            });
            join_all(said).await
        }
    };
    let changes = async {
        for number in 0..30 {
            join(&*store, &id, "a", "x", &format!("j{number}")).await.unwrap();
            quit(&*store, &id, "x", "x", &format!("q{number}")).await.unwrap();
        }
    };
    let (a, b, ()) = futures::join!(talk("a"), talk("b"), changes);
    let mut said = [a, b].concat();
    assert_gapless(said.clone());
    said.sort_by_key(|said| said.seq);
    assert!(said.windows(2).all(|pair| pair[0].members <= pair[1].members), "versions go back");
    assert_eq!(listed(&*store, "c", Page::Unacknowledged).await, ids(&said));
}

pub(crate) async fn groups_of_another_app_are_unknown(store: Fresh) {
    let ours = create(&*store, "a", &["b"]).await;
    let other = App::from("other");
    let wanted = NewGroup { app: other.clone(), ..group("a", &["b"], "same") };
    let theirs = store.create_group(wanted, MEMBERS_MAX).await.unwrap().group;
    assert_ne!(ours, theirs);
    assert_eq!(store.group(&app(), &theirs).await.unwrap(), None);
    assert_eq!(store.members(&app(), &theirs).await.unwrap(), None);
    let talk = store.append(to_group("a", &theirs, "1")).await;
    assert_eq!(denied(talk), Some(Denied::UnknownGroup));
    assert_eq!(denied(join(&*store, &theirs, "a", "c", "2").await), Some(Denied::UnknownGroup));
    let said = NewMessage { app: other.clone(), ..to_group("a", &theirs, "3") };
    let said = store.append(said).await.unwrap();
    assert!(seen(&*store, "b").await.is_empty());
    let read = store.contents(&app(), &account("b"), vec![said.message_id]).await.unwrap();
    assert_eq!(read, [None]);
}

pub(crate) async fn a_group_of_ten_thousand_is_like_any_other(store: Fresh) {
    const MANY: usize = 10_000;
    let names: Vec<String> = (1..MANY).map(|number| format!("member-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted = group("owner", &names, "1");
    let Created { group: id, members } = store.create_group(wanted.clone(), MANY).await.unwrap();
    assert_eq!(members.len(), MANY);
    assert_eq!(store.create_group(wanted, MANY).await.unwrap().members, members);
    let said = say(&*store, "member-1", &id, "hello").await;
    let met = store.members(&app(), &id).await.unwrap().unwrap();
    assert_eq!((met.version, met.since.len()), (said.members, MANY));
    let found = store.group(&app(), &id).await.unwrap().unwrap();
    let listed_members: Vec<_> = found.members.into_iter().map(|member| member.account).collect();
    assert_eq!(listed_members, members);
    for who in ["owner", "member-9999"] {
        assert_eq!(listed(&*store, who, Page::Unacknowledged).await, [said.message_id]);
    }
}
