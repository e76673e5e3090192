//! Cases: subscriptions tell of changes.

use super::{Case, Fixture, deregister, instance, passes, register, whatever};
use crate::{ServiceState, Snapshot, meta_key};

/// The first snapshot of a subscription holds what is registered, sorted by id.
pub async fn a_subscription_begins_with_what_stands(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let (two, one) = (case.server("two"), case.server("one"));
    let _clients = (case.registered(&two).await, case.registered(&one).await);
    case.reads(&observer, &[&one, &two]).await;
    let current = case.subscribe(&observer).await.current();
    let ids: Vec<&str> = current.instances.iter().map(|it| &*it.service.id).collect();
    assert_eq!((ids, current.error), (vec![&*one.id, &*two.id], None));
}

/// A server that comes, changes its meta, leaves, and comes back is seen each time. What changes nothing of the
/// service hides no one.
pub async fn a_subscription_tells_of_every_change(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let one = case.server("one").with_meta(meta_key::INCARNATION, "00aa");
    let first = case.registered(&one).await;
    case.reads(&observer, &[&one]).await;
    let mut seen = case.subscribe(&observer).await;
    let two = case.server("two");
    let second = case.registered(&two).await;
    // One that was only heard of through others may be critical until it is heard itself.
    let both = |seen: &Snapshot| passes(seen, &one.id) && passes(seen, &two.id);
    case.sees(&mut seen, "two servers pass", both, whatever).await;

    let mut stranger = case.server("stranger");
    stranger.name.push_str("-more");
    register(&first, &stranger).await;
    register(&second, &two).await;
    let two = two.with_meta(meta_key::SERVICE_STATE, "adult");
    register(&second, &two).await;
    let is_adult = |seen: &Snapshot| {
        instance(seen, &two.id).is_some_and(|it| it.service.state() == ServiceState::Adult)
    };
    let are_two = |seen: &Snapshot| seen.instances.len() == 2;
    let changed = case.sees(&mut seen, "the second is adult", is_adult, are_two).await;
    assert!(are_two(&changed), "{changed:?}");

    deregister(&first, &one.id).await;
    let is_gone = |seen: &Snapshot| instance(seen, &one.id).is_none();
    let left = case.sees(&mut seen, "the first is gone", is_gone, whatever).await;
    assert_eq!(left.instances.len(), 1, "{left:?}");

    // The same id comes back as another process.
    let again = one.with_meta(meta_key::INCARNATION, "00bb");
    let _third = case.registered(&again).await;
    let is_back = |seen: &Snapshot| instance(seen, &again.id).is_some();
    let back = case.sees(&mut seen, "the first is back", is_back, whatever).await;
    assert_eq!(instance(&back, &again.id).map(|it| &it.service), Some(&again));
    assert_eq!(back.error, None);
}

/// Several subscriptions of one client, begun at different times, hear of the same change.
pub async fn subscribers_of_a_service_hear_the_same(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let early = case.subscribe(&observer).await;
    let one = case.server("one");
    let _first = case.registered(&one).await;
    let late = case.subscribe(&observer).await;
    let two = case.server("two");
    let _second = case.registered(&two).await;
    for mut seen in [early, late] {
        let both = |seen: &Snapshot| passes(seen, &one.id) && passes(seen, &two.id);
        case.sees(&mut seen, "both servers", both, whatever).await;
    }
}

/// The work for a subscription ends once it is dropped, where [`Fixture::watches`] counts it.
pub async fn a_dropped_subscription_leaves_nothing_running(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let Some(before) = fixture.watches() else { return };
    let subscriptions = [case.subscribe(&observer).await, case.subscribe(&observer).await];
    drop(subscriptions);
    case.eventually("no work is left", async || fixture.watches() <= Some(before)).await;
    // The next one works as the first did.
    let mut seen = case.subscribe(&observer).await;
    let one = case.server("one");
    let _client = case.registered(&one).await;
    case.sees(&mut seen, "a server", |seen| passes(seen, &one.id), whatever).await;
}
