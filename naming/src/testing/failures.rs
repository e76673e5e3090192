//! Cases: servers and registries that fail.

use super::{Case, Fixture, passes, register, whatever};
use crate::{Health, Snapshot};

/// A server that fails its check is critical and not found, but not gone; later it passes again.
pub async fn a_failing_server_is_critical_and_not_gone(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let (one, two) = (case.server("one"), case.server("two"));
    let _clients = [case.registered(&one).await, case.registered(&two).await];
    let mut seen = case.subscribe(&observer).await;
    let both = |seen: &Snapshot| passes(seen, &one.id) && passes(seen, &two.id);
    case.sees(&mut seen, "both pass", both, whatever).await;
    if !fixture.fail(&two.id).await {
        return;
    }
    let are_two = |seen: &Snapshot| seen.instances.len() == 2;
    let since = |seen: &Snapshot| {
        let health = super::instance(seen, &two.id)?.health;
        if let Health::Critical { since } = health { Some(since) } else { None }
    };
    let is_critical = |seen: &Snapshot| since(seen).is_some();
    let critical = case.sees(&mut seen, "the second is critical", is_critical, are_two).await;
    case.finds(&observer, &[], &["one"]).await;
    assert_eq!(since(&seen.current()), since(&critical), "since when it is critical");
    fixture.pass(&two).await;
    case.sees(&mut seen, "both pass again", both, are_two).await;
    case.finds(&observer, &[], &["one", "two"]).await;
}

/// While the registry cannot be reached, calls fail, and subscriptions keep the last snapshot beside the
/// error. After that, they go on; what the registry has lost is registered again.
pub async fn an_outage_stands_beside_the_last_snapshot(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let one = case.server("one");
    let client = case.registered(&one).await;
    let mut seen = case.subscribe(&observer).await;
    case.sees(&mut seen, "a server", |seen| passes(seen, &one.id), whatever).await;
    if !fixture.break_down().await {
        return;
    }
    let has_one = |seen: &Snapshot| seen.instances.len() == 1;
    let is_out = |seen: &Snapshot| seen.error.is_some();
    let outage = case.sees(&mut seen, "the outage", is_out, has_one).await;
    assert!(has_one(&outage), "{outage:?}");
    let texts = [
        case.in_time("find fails", observer.find(&case.service, &[])).await.err(),
        case.in_time("instances fails", observer.instances(&case.service)).await.err(),
        case.in_time("subscribe fails", observer.subscribe(&case.service)).await.err(),
        case.in_time("register fails", client.register(&case.server("two"))).await.err(),
        case.in_time("deregister fails", client.deregister(&case.id("two"))).await.err(),
    ]
    .map(|error| error.map(|error| error.to_string()));
    assert!(texts.iter().all(Option::is_some), "some calls succeed: {texts:?}");
    let all = outage.error.as_deref().into_iter().chain(texts.iter().flatten().map(|text| &**text));
    for text in all {
        let shows = fixture.secret().is_some_and(|secret| text.contains(secret));
        assert!(!shows, "the secret is shown: {text}");
    }

    fixture.restore().await;
    case.sees(&mut seen, "the end of the outage", |seen| !is_out(seen), has_one).await;
    case.sees(&mut seen, "the server once more", |seen| passes(seen, &one.id), whatever).await;
    let three = case.server("three");
    register(&client, &three).await;
    let both = |seen: &Snapshot| passes(seen, &one.id) && passes(seen, &three.id);
    case.sees(&mut seen, "a server that comes after", both, whatever).await;
}
