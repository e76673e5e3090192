//! Which of two sessions in one place stays.

use super::*;

#[test]
fn a_newer_login_of_the_same_device_ends_the_older_one() {
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    let mut core = DirectoryCore::default();
    synced(&mut core, &a);
    synced(&mut core, &b);
    assert!(core.session_up(session(&a, 1, "ann", "", 10)).is_empty());
    assert!(core.session_up(session(&a, 2, "ann", "phone", 5)).is_empty());
    let kicks = core.session_up(session(&b, 1, "ann", "", 11));
    assert_eq!(kicks.len(), 1);
    assert_eq!((kicks[0].loser.id, kicks[0].winner.gateway.clone()), (SessionId(1), b));
    assert_eq!(located(&core, "ann"), [("a".into(), 2), ("b".into(), 1)]);
    // Its own end comes later, and ends no other session.
    core.session_down(&a, SessionId(1));
    assert_eq!(located(&core, "ann"), [("a".into(), 2), ("b".into(), 1)]);
}

#[test]
fn an_older_login_that_is_heard_of_later_is_the_one_that_goes() {
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    let mut core = DirectoryCore::default();
    synced(&mut core, &a);
    synced(&mut core, &b);
    core.session_up(session(&b, 1, "ann", "", 11));
    let kicks = core.session_up(session(&a, 1, "ann", "", 10));
    assert_eq!(kicks[0].loser.gateway, a);
    assert_eq!(located(&core, "ann"), [("b".into(), 1)]);
    // Of the same stamp, the channel id decides.
    let kicks = core.session_up(session(&a, 2, "ann", "", 11));
    assert_eq!(kicks[0].loser.channel(), "a_ann_2");
}

/// The gateway of the first login had a clock far ahead, and no server told the second one in time.
#[test]
fn a_session_that_is_named_loses_with_any_stamps() {
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    for order in [1, 10, 11] {
        let first = session(&a, 1, "ann", "", 10);
        let mut second = told(&b, 2, "ann", "", order);
        second.replaces = first.channel().to_owned();
        let second = Session::from_link(&b, &second);
        for sessions in [[first.clone(), second.clone()], [second.clone(), first.clone()]] {
            let mut core = DirectoryCore::default();
            synced(&mut core, &a);
            synced(&mut core, &b);
            let kicks: Vec<_> = sessions.into_iter().flat_map(|it| core.session_up(it)).collect();
            let kicked: Vec<_> = kicks.iter().map(|it| (it.loser.id.0, it.winner.id.0)).collect();
            assert_eq!(kicked, [(1, 2)], "stamp {order}");
            assert_eq!(located(&core, "ann"), [("b".into(), 2)]);
        }
    }
}

#[test]
fn sessions_that_name_each_other_or_one_of_another_account_go_by_their_stamps() {
    let (a, b) = (gateway("a", 1), gateway("b", 1));
    let mut core = DirectoryCore::default();
    synced(&mut core, &a);
    synced(&mut core, &b);
    let named = |gateway: &PeerId, id, account, order, replaces: &str| {
        let told = told(gateway, id, account, "", order);
        Session::from_link(gateway, &link::Session { replaces: replaces.to_owned(), ..told })
    };
    core.session_up(named(&a, 1, "ann", 5, "b_ann_2"));
    assert!(core.session_up(named(&b, 3, "bob", 9, "a_ann_1")).is_empty());
    let kicks = core.session_up(named(&b, 2, "ann", 4, "a_ann_1"));
    assert_eq!(kicks[0].loser.channel(), "b_ann_2");
    assert_eq!(located(&core, "ann"), [("a".into(), 1)]);
    assert_eq!(located(&core, "bob"), [("b".into(), 3)]);
}
