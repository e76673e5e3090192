//! What a real Consul agent does, as `naming` relies on it.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::{Duration, Instant};

use imago_naming::{
    Check, Consul, ConsulOptions, Error, Health, Naming, ServiceRegistration, Snapshot, meta_key,
};
use imago_tests::{ConsulAgent, eventually, ids, sees};

const SERVICE: &str = "test_service";
const PATIENCE: Duration = Duration::from_secs(30);

fn server(id: &str) -> ServiceRegistration {
    ServiceRegistration::new(id, SERVICE, "127.0.0.1", 4000)
}

fn options(base: impl Into<String>) -> ConsulOptions {
    let mut options = ConsulOptions::new(base);
    options.verify_interval = Duration::from_millis(200);
    options
}

fn client(agent: &ConsulAgent) -> Consul {
    Consul::connect(options(format!("http://{}", agent.address()))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_empty_is_told_everything_again_and_nobody_seems_gone() {
    let mut agent = ConsulAgent::start().await;
    let (servers, observer) = (client(&agent), client(&agent));
    servers.register(&server("a")).await.unwrap();
    servers.register(&server("b")).await.unwrap();
    // Drives the index up: after the restart it begins anew, far below.
    for round in 0..40 {
        servers.register(&server("b").with_meta("round", round.to_string())).await.unwrap();
    }
    let mut subscription = observer.subscribe(SERVICE).await.unwrap();
    let nobody_gone = |seen: &Snapshot| seen.instances.len() == 2;

    agent.kill9().await;
    sees(&mut subscription, "the outage", |seen| seen.error.is_some(), nobody_gone).await;
    assert_eq!(ids(&subscription.current()), ["a", "b"]);
    agent.restart().await;
    // A restarted agent may show one before the other: only a list of nobody is doubted.
    sees(&mut subscription, "the end of it", |seen| seen.error.is_none(), nobody_gone).await;
    eventually(PATIENCE, "both are registered again", || async {
        let found = observer.find(SERVICE, &[]).await.ok()?;
        (found.len() == 2).then_some(())
    })
    .await;

    // Waiting behind the old index would sleep for a minute now.
    servers.register(&server("c")).await.unwrap();
    let is_there = |seen: &Snapshot| ids(seen) == ["a", "b", "c"];
    let started = Instant::now();
    sees(&mut subscription, "a newcomer after the restart", is_there, |_| true).await;
    println!("a newcomer was seen {:?} after the restart", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_passes_before_its_first_check() {
    let agent = ConsulAgent::start().await;
    let servers = client(&agent);
    // Nobody answers there: with any other initial status it would not be found.
    let service = server("a").with_meta(meta_key::HEALTH_URL, "http://127.0.0.1:1/health");
    servers.register(&service).await.unwrap();
    assert_eq!(servers.find(SERVICE, &[]).await.unwrap(), [service]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_check_passes_while_its_server_lives_and_no_longer() {
    let agent = ConsulAgent::start().await;
    let observer = client(&agent);
    let mut ttl = options(format!("http://{}", agent.address()));
    (ttl.check, ttl.ttl) = (Check::Ttl, Duration::from_secs(1));
    let servers = Consul::connect(ttl).unwrap();
    servers.register(&server("a")).await.unwrap();
    let health = || async { observer.instances(SERVICE).await.unwrap()[0].health };
    let registered = Instant::now();
    eventually(PATIENCE, "three times the TTL is over", || async {
        assert_eq!(health().await, Health::Passing);
        (registered.elapsed() > Duration::from_secs(3)).then_some(())
    })
    .await;
    drop(servers);
    eventually(PATIENCE, "its silence is critical", || async {
        matches!(health().await, Health::Critical { .. }).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_another_process_replaced_is_made_again() {
    let agent = ConsulAgent::start().await;
    let (one, other) = (client(&agent), client(&agent));
    let life = |number: &str| server("a").with_meta(meta_key::INCARNATION, number);
    for number in ["1", "2", "1"] {
        let registering = if number == "1" { &one } else { &other };
        registering.register(&life(number)).await.unwrap();
        assert_eq!(one.find(SERVICE, &[]).await.unwrap(), [life(number)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acl_lets_the_token_in_and_names_what_it_refuses() {
    let rules =
        r#"acl { enabled = true, default_policy = "deny", tokens { master = "a-secret" } }"#;
    let agent = ConsulAgent::start_with(rules).await;
    let stranger = client(&agent);
    let refused = stranger.register(&server("a")).await;
    assert!(
        matches!(&refused, Err(Error::Refused(text)) if text.contains("403")),
        "without a token: {refused:?}"
    );
    let mut known = options(format!("http://{}", agent.address()));
    known.token = Some("a-secret".into());
    let known = Consul::connect(known).unwrap();
    known.register(&server("a")).await.unwrap();
    assert_eq!(known.find(SERVICE, &[]).await.unwrap(), [server("a")]);
    // Reads are answered with nobody, not refused: what a sudden empty list may mean.
    assert_eq!(stranger.find(SERVICE, &[]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_serves_all_subscribers_and_ends_with_the_last() {
    let agent = ConsulAgent::start().await;
    let servers = client(&agent);
    let first = servers.subscribe(SERVICE).await.unwrap();
    let second = servers.subscribe(SERVICE).await.unwrap();
    eventually(PATIENCE, "the watch runs", || async { (servers.watches() == 1).then_some(()) })
        .await;
    drop(first);
    servers.register(&server("a")).await.unwrap();
    eventually(PATIENCE, "the other still sees", || async {
        (second.current().instances.len() == 1).then_some(())
    })
    .await;
    assert_eq!(servers.watches(), 1);
    drop(second);
    // Whoever comes back at once is not followed twice.
    drop(servers.subscribe(SERVICE).await.unwrap());
    let back = servers.subscribe(SERVICE).await.unwrap();
    servers.register(&server("b")).await.unwrap();
    eventually(PATIENCE, "the one who came back sees", || async {
        (back.current().instances.len() == 2).then_some(())
    })
    .await;
    assert_eq!(servers.watches(), 1);
    drop(back);
    // The query itself would last a minute.
    eventually(Duration::from_secs(1), "the watch has ended", || async {
        (servers.watches() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_consul_would_not_take_is_refused_with_the_field() {
    let agent = ConsulAgent::start().await;
    let servers = client(&agent);
    let many = (0..65).fold(server("a"), |all, n| all.with_meta(format!("k{n}"), "v"));
    for (service, expected) in [
        (server("a").with_meta("zone", "x".repeat(513)), "meta.zone"),
        (server("a").with_meta("no spaces", "x"), "meta.no spaces"),
        (server("a").with_meta("k".repeat(129), "x"), &format!("meta.{}", "k".repeat(129))),
        (many, "meta"),
        (ServiceRegistration::new("a", SERVICE, "127.0.0.1", 0), "port"),
        (ServiceRegistration::new("", SERVICE, "127.0.0.1", 1), "id"),
    ] {
        let refused = servers.register(&service).await;
        let Err(Error::Invalid { field, .. }) = refused else { panic!("{expected}: {refused:?}") };
        assert_eq!(field, expected);
    }
    // The largest that is allowed comes back whole.
    let large = (0..64).fold(server("a"), |all, n| all.with_meta(format!("k{n}"), "x".repeat(512)));
    servers.register(&large).await.unwrap();
    assert_eq!(servers.find(SERVICE, &[]).await.unwrap(), [large]);
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_is_measured_as_consul_measures_it() {
    let agent = ConsulAgent::start().await;
    let servers = client(&agent);
    // 300 characters, 600 bytes: whoever refuses it, the field is named.
    let refused = servers.register(&server("a").with_meta("zone", "é".repeat(300))).await;
    assert!(
        matches!(&refused, Err(Error::Invalid { field, .. }) if field == "meta.zone"),
        "{refused:?}"
    );
}
