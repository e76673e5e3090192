//! Cases: what is registered is read.

use super::{Case, Fixture, deregister, register};
use crate::{Error, ServiceRegistration, meta_key};

/// A service that has no instances is read as an empty list, and is no error.
pub async fn a_service_without_instances_is_empty(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    assert_eq!(case.read(&observer).await, []);
    assert_eq!(case.found(&observer, &[]).await, [""; 0]);
    assert_eq!(case.subscribe(&observer).await.current().instances.len(), 0);
}

/// A registration is read at once by its own client, and by others: at once where the registry is
/// consistent. Reads show every field as it was written.
pub async fn a_registration_comes_back_as_it_was_written(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let server = case.server("one").tag("eu").tag("blue");
    let server =
        server.with_meta(meta_key::PROTOCOL, "ws,tcp").with_meta(meta_key::INCARNATION, "00aa");
    let client = case.registered(&server).await;
    assert_eq!(case.found(&client, &[]).await, [&*server.id]);
    case.reads(&client, &[&server]).await;
    case.reads(&observer, &[&server]).await;
    // Once more changes nothing.
    register(&client, &server).await;
    case.reads(&observer, &[&server]).await;
}

/// Ids and values of meta are texts of any script, and keep signs that mean something elsewhere.
pub async fn ids_and_values_may_be_any_text(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let longest = "v".repeat(512);
    for name in ["a.b:c", "..", "%2e%2F", "?x=1&y#z", "\u{fc}\u{4e2d}", "\"'\\"] {
        let server = case.server(name);
        let values = ["", "  ", "a=b;c,d", "{\"a\": [1]}", "\u{fc}\u{4e2d}\u{1f600}", &longest];
        let server = values.iter().enumerate().fold(server, |server, (number, value)| {
            server.with_meta(format!("key-{number}"), *value)
        });
        let client = case.registered(&server).await;
        case.reads(&observer, &[&server]).await;
        deregister(&client, &server.id).await;
        case.reads(&observer, &[]).await;
    }
}

/// What no server can use is refused as [`Error::Invalid`], with the field.
pub async fn an_unusable_registration_is_refused(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let client = case.observer().await;
    let with = |change: fn(&mut ServiceRegistration)| {
        let mut server = case.server("one");
        change(&mut server);
        server
    };
    for (wrong, expected) in [
        (with(|server| server.id.clear()), "id"),
        (with(|server| server.id = "..".to_owned()), "id"),
        (with(|server| server.name.clear()), "name"),
        (with(|server| server.address.clear()), "address"),
        (with(|server| server.address = "no host".to_owned()), "address"),
        (with(|server| server.port = 0), "port"),
    ] {
        match client.register(&wrong).await {
            Err(Error::Invalid { field, .. }) => assert_eq!(field, expected),
            other => panic!("{wrong:?}: expected Error::Invalid, got {other:?}"),
        }
    }
    assert_eq!(case.read(&client).await, []);
}

/// A registration under a known id takes the place of the one before, in all of its fields.
pub async fn a_registration_is_replaced_by_the_next(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let first = case.server("one").tag("old").with_meta("old", "1");
    let client = case.registered(&first).await;
    let mut next = case.server("one").tag("new").with_meta(meta_key::SERVICE_STATE, "adult");
    next.port = 4001;
    for server in [&next, &first, &next] {
        register(&client, server).await;
        case.reads(&client, &[server]).await;
        case.reads(&observer, &[server]).await;
    }
}

/// Of several tags an instance has to carry all, in any case of letters.
pub async fn tags_narrow_what_is_found(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let _one = case.registered(&case.server("one").tag("eu").tag("blue")).await;
    let _two = case.registered(&case.server("two").tag("eu").tag("green")).await;
    case.finds(&observer, &[], &["one", "two"]).await;
    case.finds(&observer, &["eu"], &["one", "two"]).await;
    case.finds(&observer, &["green"], &["two"]).await;
    case.finds(&observer, &["EU", "blue"], &["one"]).await;
    case.finds(&observer, &["blue", "green"], &[]).await;
    case.finds(&observer, &["e"], &[]).await;
}

/// A read of one service shows no instance of another one, whose name may begin with its own.
pub async fn services_do_not_mix(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let own = case.server("one");
    let client = case.registered(&own).await;
    let mut longer = case.server("two");
    longer.name.push_str("-more");
    register(&client, &longer).await;
    case.reads(&observer, &[&own]).await;
    let of_longer = Case { service: longer.name.clone(), ..Case::of(fixture) };
    of_longer.reads(&observer, &[&longer]).await;
    // Both are in the registry: one leaves without the other.
    deregister(&client, &own.id).await;
    case.reads(&observer, &[]).await;
    of_longer.reads(&observer, &[&longer]).await;
}

/// A registration is gone once it is deregistered, and comes back with the next. Deregistering what is
/// not there succeeds.
pub async fn deregistering_twice_succeeds(fixture: &dyn Fixture) {
    let case = Case::of(fixture);
    let observer = case.observer().await;
    let server = case.server("one");
    let client = case.registered(&server).await;
    case.reads(&observer, &[&server]).await;
    deregister(&client, &server.id).await;
    deregister(&client, &server.id).await;
    deregister(&client, &case.id("unknown")).await;
    case.reads(&observer, &[]).await;
    case.stays(&observer, "gone", async || case.read(&observer).await.is_empty()).await;
    let server = server.with_meta(meta_key::INCARNATION, "00bb");
    register(&client, &server).await;
    case.reads(&observer, &[&server]).await;
}

/// What a log says of the registry is one line each, and holds no secret.
pub async fn texts_for_logs_are_one_line_without_secrets(fixture: &dyn Fixture) {
    let client = fixture.client("observer").await;
    for text in [client.location(), client.describe()] {
        assert!(!text.trim().is_empty() && text.lines().count() == 1, "{text:?}");
        if let Some(secret) = fixture.secret() {
            assert!(!text.contains(secret), "the secret is shown: {text:?}");
        }
    }
}
