//! What Consul does when things go wrong: a stub answers as an agent was measured to.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use imago_naming::{Consul, ConsulOptions, Naming, ServiceRegistration, Snapshot, meta_key};
use imago_tests::{HttpAnswer, HttpRequest, HttpStub, eventually, ids, sees};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

const SERVICE: &str = "test_service";
const PATIENCE: Duration = Duration::from_secs(30);

fn server(id: &str) -> ServiceRegistration {
    ServiceRegistration::new(id, SERVICE, "127.0.0.1", 4000)
}

/// What the stub tells of the service.
#[derive(Clone, Default)]
struct Told {
    /// Ids of the instances.
    ids: Vec<&'static str>,
    index: u64,
    /// Other than 200: an outage.
    status: u16,
}

/// An agent that says what a test wants.
struct StubAgent {
    stub: HttpStub,
    told: watch::Sender<Told>,
    asked: Arc<Mutex<Vec<HttpRequest>>>,
    /// While set, plain reads are answered with what was true when they were asked, but not before
    /// this is notified.
    slow: Arc<Mutex<Option<Arc<Notify>>>>,
}

impl StubAgent {
    async fn start(ids: &[&'static str]) -> Self {
        let (told, _) = watch::channel(Told { ids: ids.to_vec(), index: 10, status: 200 });
        let asked = Arc::new(Mutex::new(Vec::new()));
        let slow: Arc<Mutex<Option<Arc<Notify>>>> = Arc::default();
        let (telling, asking, slowly) = (told.clone(), asked.clone(), slow.clone());
        let stub = HttpStub::start(move |request| {
            asking.lock().unwrap().push(request.clone());
            let (mut telling, slow) = (telling.subscribe(), slowly.lock().unwrap().clone());
            async move {
                match request.parameter("index").and_then(|index| index.parse::<u64>().ok()) {
                    Some(index) => {
                        let news = telling.wait_for(|told| told.index != index).await;
                        answer(&news.unwrap().clone())
                    }
                    None => {
                        let now = telling.borrow().clone();
                        if let Some(slow) = slow {
                            slow.notified().await;
                        }
                        answer(&now)
                    }
                }
            }
        });
        Self { stub: stub.await, told, asked, slow }
    }

    fn tells(&self, ids: &[&'static str], index: u64, status: u16) {
        self.told.send_replace(Told { ids: ids.to_vec(), index, status });
    }

    fn asked(&self) -> Vec<HttpRequest> {
        self.asked.lock().unwrap().clone()
    }

    fn client(&self) -> Consul {
        Consul::connect(ConsulOptions::new(self.stub.url())).unwrap()
    }
}

fn answer(told: &Told) -> HttpAnswer {
    if told.status != 200 {
        // Errors carry an index that is none.
        return HttpAnswer { status: told.status, index: 1, body: "\"no\"".into() };
    }
    let entry = |id: &&str| {
        json!({
            "Node": { "Address": "127.0.0.1" },
            "Service": { "ID": id, "Service": SERVICE, "Address": "", "Port": 4000 },
            "Checks": [{ "Status": "passing" }],
        })
    };
    let entries: Vec<Value> = told.ids.iter().map(entry).collect();
    HttpAnswer { status: 200, index: told.index, body: Value::from(entries).to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_list_survives_every_kind_of_outage() {
    let agent = StubAgent::start(&["a", "b"]).await;
    let observer = agent.client();
    let mut subscription = observer.subscribe(SERVICE).await.unwrap();
    let nobody_gone = |seen: &Snapshot| ids(seen) == ["a", "b"];
    let mut index = 10;
    // The last: a token that may not read any more, or an agent that forgot everybody.
    for (status, words) in [(500, "500"), (429, "429"), (403, "403"), (200, "lists no instance")] {
        index += 10;
        agent.tells(&[], index, status);
        let told = |seen: &Snapshot| seen.error.as_deref().is_some_and(|e| e.contains(words));
        sees(&mut subscription, words, told, nobody_gone).await;
        assert!(nobody_gone(&subscription.current()), "after {words}");
        index += 10;
        agent.tells(&["a", "b"], index, 200);
        sees(&mut subscription, "the end", |seen| seen.error.is_none(), nobody_gone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_goes_backwards_is_asked_for_anew() {
    let agent = StubAgent::start(&["a"]).await;
    let observer = agent.client();
    let mut subscription = observer.subscribe(SERVICE).await.unwrap();
    let seen_as = |expected: &'static [&'static str]| move |seen: &Snapshot| ids(seen) == expected;
    agent.tells(&["a", "b"], 1000, 200);
    sees(&mut subscription, "b", seen_as(&["a", "b"]), |_| true).await;
    agent.tells(&["a", "b", "c"], 3, 200);
    sees(&mut subscription, "c", seen_as(&["a", "b", "c"]), |_| true).await;
    eventually(PATIENCE, "the watch waits behind the new index", || async {
        agent.asked().iter().any(|asked| asked.parameter("index") == Some("3")).then_some(())
    })
    .await;
    agent.tells(&["a"], 4, 200);
    sees(&mut subscription, "the end of b and c", seen_as(&["a"]), |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_datacenter_and_consistency_are_asked_for_as_configured() {
    let agent = StubAgent::start(&["a"]).await;
    let mut options = ConsulOptions::new(agent.stub.url());
    options.token = Some("a-secret-token".into());
    options.datacenter = Some("dc7".into());
    let observer = Consul::connect(options).unwrap();
    let _subscription = observer.subscribe(SERVICE).await.unwrap();
    observer.register(&server("a")).await.unwrap();
    for asked in agent.asked() {
        assert!(asked.headers.contains(&"x-consul-token: a-secret-token".into()), "{asked:?}");
        assert_eq!(asked.parameter("dc"), Some("dc7"), "{asked:?}");
        for never in ["stale", "cached"] {
            assert!(!asked.target.contains(never), "{asked:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_carries_everything_and_the_check_that_was_asked_for() {
    let agent = StubAgent::start(&["a"]).await;
    let servers = agent.client();
    // The stub's list never shows this one: what was sent is what counts here.
    let service =
        server("b").tag("eu").with_meta(meta_key::HEALTH_URL, "http://127.0.0.1:1/health");
    let registering = tokio::spawn(async move { servers.register(&service).await });
    let body: Value = eventually(PATIENCE, "the registration is sent", || async {
        let asked = agent.asked();
        let put = asked.iter().find(|asked| asked.is("/v1/agent/service/register"))?;
        serde_json::from_str(&put.body).ok()
    })
    .await;
    registering.abort();
    let check = json!({
        "HTTP": "http://127.0.0.1:1/health", "Interval": "10000ms", "Timeout": "1000ms",
        "DeregisterCriticalServiceAfter": "20000ms", "Status": "passing",
    });
    assert_eq!(body["Check"], check);
    assert_eq!(
        (&body["ID"], &body["Name"], &body["Port"]),
        (&json!("b"), &json!(SERVICE), &json!(4000))
    );
    assert_eq!((&body["Tags"], &body["Address"]), (&json!(["eu"]), &json!("127.0.0.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identical_registration_is_not_sent_again() {
    let agent = StubAgent::start(&["a"]).await;
    let servers = agent.client();
    let service = server("a");
    for _ in 0..3 {
        servers.register(&service).await.unwrap();
    }
    let asked = agent.asked();
    assert_eq!(asked.iter().filter(|asked| asked.method == "PUT").count(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_between_the_first_read_and_the_subscription_is_not_lost() {
    let agent = StubAgent::start(&["a"]).await;
    let observer = Arc::new(agent.client());
    let mut first = observer.subscribe(SERVICE).await.unwrap();
    // A second subscriber's first read is on its way while the watch learns of b.
    let arrives = Arc::new(Notify::new());
    *agent.slow.lock().unwrap() = Some(arrives.clone());
    let asked = agent.asked().len();
    let subscribing = observer.clone();
    let second = tokio::spawn(async move { subscribing.subscribe(SERVICE).await });
    eventually(PATIENCE, "the second one has asked", || async {
        let plain = |request: &&HttpRequest| request.parameter("index").is_none();
        (agent.asked().iter().skip(asked).any(|request| plain(&request))).then_some(())
    })
    .await;
    agent.tells(&["a", "b"], 11, 200);
    sees(&mut first, "b", |seen| seen.instances.len() == 2, |_| true).await;
    *agent.slow.lock().unwrap() = None;
    arrives.notify_one();
    let mut second = second.await.unwrap().unwrap();
    sees(&mut second, "b, by the second one", |seen| seen.instances.len() == 2, |_| true).await;
}
