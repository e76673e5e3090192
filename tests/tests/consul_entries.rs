//! What is in a real Consul that no server of ours has put there: entries that cannot be read, a
//! service that flaps, maintenance, a token that may not read everything.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::time::{Duration, Instant};

use imago_naming::{
    Consul, ConsulOptions, Error, Health, Naming, ServiceRegistration, Snapshot, Subscription,
};
use imago_tests::{ConsulAgent, ids, sees};
use serde_json::{Value, json};

const SERVICE: &str = "test_service";

fn server(id: &str) -> ServiceRegistration {
    ServiceRegistration::new(id, SERVICE, "127.0.0.1", 4000)
}

fn options(agent: &ConsulAgent) -> ConsulOptions {
    ConsulOptions::new(format!("http://{}", agent.address()))
}

fn client(agent: &ConsulAgent) -> Consul {
    Consul::connect(options(agent)).unwrap()
}

/// Registers an instance with whatever the test wants in it.
async fn register(agent: &ConsulAgent, id: &str, fields: Value) {
    let mut body = json!({ "ID": id, "Name": SERVICE, "Address": "127.0.0.1", "Port": 4000 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    agent.put("/v1/agent/service/register", body.to_string()).await;
}

/// Whether the subscription shows exactly these.
fn shows(expected: &'static [&'static str]) -> impl Fn(&Snapshot) -> bool {
    move |seen: &Snapshot| ids(seen) == expected
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_cannot_be_read_are_left_out_one_by_one() {
    let agent = ConsulAgent::start().await;
    register(&agent, "too-high", json!({ "Port": 70_000 })).await;
    register(&agent, "negative", json!({ "Port": -1 })).await;
    register(&agent, "none", json!({ "Port": 0 })).await;
    register(&agent, "astray", json!({ "Address": "http://127.0.0.1" })).await;
    let servers = client(&agent);
    servers.register(&server("a")).await.unwrap();
    assert_eq!(servers.find(SERVICE, &[]).await.unwrap(), [server("a")]);
    let mut subscription = servers.subscribe(SERVICE).await.unwrap();
    assert_eq!(ids(&subscription.current()), ["a"]);
    assert_eq!(subscription.current().error, None);

    // One that has neither an address nor tags nor meta is at its node's address.
    let bare = json!({ "ID": "bare", "Name": SERVICE, "Port": 1 });
    agent.put("/v1/agent/service/register", bare.to_string()).await;
    sees(&mut subscription, "one more", shows(&["a", "bare"]), |_| true).await;
    register(&agent, "bare", json!({ "Port": 65_536 })).await;
    sees(&mut subscription, "one less", shows(&["a"]), |_| true).await;
}

/// Counts the snapshots that a subscription shows while an instance of the service changes without end.
async fn snapshots_while_it_flaps(
    agent: &ConsulAgent,
    subscription: &mut Subscription,
    time: Duration,
) -> (usize, usize) {
    let until = Instant::now() + time;
    let (mut changes, mut snapshots) = (0, 0);
    let mut flapping = Box::pin(async {
        loop {
            register(agent, "flaps", json!({ "Meta": { "round": changes.to_string() } })).await;
            changes += 1;
            if Instant::now() > until {
                return;
            }
        }
    });
    loop {
        tokio::select! {
            _ = subscription.changed() => snapshots += 1,
            () = &mut flapping => break,
        }
    }
    drop(flapping);
    (changes, snapshots)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_flaps_is_read_a_few_times_a_second_and_a_rare_change_at_once() {
    let agent = ConsulAgent::start().await;
    let servers = client(&agent);
    servers.register(&server("a")).await.unwrap();
    let mut subscription = servers.subscribe(SERVICE).await.unwrap();
    let time = Duration::from_secs(5);
    let (changes, snapshots) = snapshots_while_it_flaps(&agent, &mut subscription, time).await;
    println!("{changes} changes made {snapshots} snapshots in {time:?}");
    assert!(changes > 100 && snapshots < 40, "{changes} changes made {snapshots} snapshots");
    // What it is at last is seen all the same.
    let last = (changes - 1).to_string();
    let is_last = |seen: &Snapshot| {
        seen.instances.iter().any(|it| it.service.meta("round") == Some(last.as_str()))
    };
    sees(&mut subscription, "the last change", is_last, |_| true).await;

    // Once it is quiet, a change is seen without a pause.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    agent.put("/v1/agent/service/deregister/flaps", "").await;
    sees(&mut subscription, "its end", shows(&["a"]), |_| true).await;
    println!("a rare change was seen after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
}

fn health(id: &'static str, expected: fn(Health) -> bool) -> impl Fn(&Snapshot) -> bool {
    move |seen: &Snapshot| {
        let instance = seen.instances.iter().find(|it| it.service.id == id);
        instance.is_some_and(|it| expected(it.health))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_is_told_apart_from_a_failed_check() {
    let agent = ConsulAgent::start().await;
    let servers = client(&agent);
    servers.register(&server("a")).await.unwrap();
    servers.register(&server("b")).await.unwrap();
    let mut subscription = servers.subscribe(SERVICE).await.unwrap();
    let nobody_gone = |seen: &Snapshot| seen.instances.len() == 2;
    let in_maintenance = |it: Health| it == Health::Maintenance;
    let passes = |it: Health| it == Health::Passing;

    let maintenance = "/v1/agent/service/maintenance/a";
    agent.put(&format!("{maintenance}?enable=true&reason=a+new+disk"), "").await;
    sees(&mut subscription, "the maintenance", health("a", in_maintenance), nobody_gone).await;
    assert!(health("b", passes)(&subscription.current()));
    // It is not offered to callers that look for a server.
    assert_eq!(servers.find(SERVICE, &[]).await.unwrap(), [server("b")]);
    // One whose check fails meanwhile is critical.
    let check = json!({
        "Name": "dies", "ServiceID": "a", "TTL": "10m", "Status": "critical"
    });
    agent.put("/v1/agent/check/register", check.to_string()).await;
    let is_critical = |it: Health| matches!(it, Health::Critical { .. });
    sees(&mut subscription, "its death", health("a", is_critical), nobody_gone).await;
    agent.put("/v1/agent/check/deregister/dies", "").await;
    sees(&mut subscription, "its life", health("a", in_maintenance), nobody_gone).await;
    agent.put(&format!("{maintenance}?enable=false"), "").await;
    sees(&mut subscription, "the end", health("a", passes), nobody_gone).await;

    // A whole node.
    agent.put("/v1/agent/maintenance?enable=true", "").await;
    let all = |seen: &Snapshot| {
        seen.instances.iter().all(|instance| instance.health == Health::Maintenance)
    };
    sees(&mut subscription, "the node's maintenance", all, nobody_gone).await;
}

/// A token with these rules.
async fn token(agent: &ConsulAgent, rules: &str) -> String {
    let policy = json!({ "Name": "servers", "Rules": rules });
    agent.put_as("a-secret", "/v1/acl/policy", policy.to_string()).await;
    let token = json!({ "Policies": [{ "Name": "servers" }] });
    let made = agent.put_as("a-secret", "/v1/acl/token", token.to_string()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    made["SecretID"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_read_nodes_is_said_to_lack_a_permission() {
    let rules =
        r#"acl { enabled = true, default_policy = "deny", tokens { master = "a-secret" } }"#;
    let agent = ConsulAgent::start_with(rules).await;
    let mut options = options(&agent);
    options.token = Some(token(&agent, r#"service_prefix "" { policy = "write" }"#).await.into());
    options.visible_timeout = Duration::from_secs(1);
    let servers = Consul::connect(options).unwrap();
    let refused = servers.register(&server("a")).await.unwrap_err();
    assert!(matches!(refused, Error::NotVisible { .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("node:read") && text.contains("service:read"), "{text}");
}
