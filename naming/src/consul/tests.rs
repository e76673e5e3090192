use std::{
    future::pending,
    sync::atomic::{AtomicBool, AtomicU64},
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn failed_reads_wait_longer_each_time_up_to_ten_seconds() {
    let mut backoff = backoff();
    for most in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        let delay = backoff.next_delay();
        assert!(delay <= Duration::from_millis(most), "{delay:?} of {most} ms");
    }
}

/// What an agent answers to a read: lines of headers, and the list.
type Answering = Arc<dyn Fn(u64) -> Option<(String, String)> + Send + Sync>;

/// An agent that answers reads as no real one can be made to, and takes every write.
struct Fake {
    base: String,
    reads: Arc<AtomicU64>,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// `answer` gets the number of the read; without an answer, the read waits.
    async fn start(
        answer: impl Fn(u64) -> Option<(String, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (reads, paths) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<String>>>::default());
        let fake = Self { base, reads: reads.clone(), paths: paths.clone() };
        let answer: Answering = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), reads.clone(), paths.clone()));
            }
        });
        fake
    }

    fn consul(&self) -> Consul {
        let mut options = ConsulOptions::new(self.base.clone());
        options.visible_timeout = Duration::from_millis(50);
        Consul::connect(options).unwrap()
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

async fn serve(
    stream: TcpStream,
    answer: Answering,
    reads: Arc<AtomicU64>,
    paths: Arc<Mutex<Vec<String>>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
            line.clear();
        }
        let path = first.split(' ').nth(1).unwrap().to_owned();
        paths.lock().unwrap().push(path.clone());
        let (headers, body) = if path.contains("/v1/health/service/") {
            match answer(reads.fetch_add(1, Ordering::SeqCst)) {
                Some(answer) => answer,
                None => pending().await,
            }
        } else {
            Default::default()
        };
        let length = body.len();
        let text = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn list(ids: &[&str]) -> String {
    let entry = |id: &&str| {
        json!({
            "Node": { "Address": "127.0.0.1" },
            "Service": { "ID": id, "Service": "chat", "Port": 1 },
        })
    };
    serde_json::Value::from(ids.iter().map(entry).collect::<Vec<_>>()).to_string()
}

fn service() -> ServiceRegistration {
    ServiceRegistration::new("a", "chat", "127.0.0.1", 1)
}

/// Reads within a second and a half of a watch whose index never works.
async fn reads_of(headers: fn(u64) -> String) -> u64 {
    let fake = Fake::start(move |read| Some((headers(read), list(&["a"])))).await;
    let consul = fake.consul();
    let _subscription = consul.subscribe("chat").await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    fake.reads()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_usable_index_are_asked_for_a_few_times_a_second() {
    let (none, zero, broken, falling) = tokio::join!(
        reads_of(|_| String::new()),
        reads_of(|_| "X-Consul-Index: 0\r\n".to_owned()),
        reads_of(|_| "X-Consul-Index: soon\r\n".to_owned()),
        reads_of(|read| format!("X-Consul-Index: {}\r\n", 1_000_000 - read)),
    );
    for (reads, what) in [(none, "none"), (zero, "zero"), (broken, "broken"), (falling, "falling")]
    {
        assert!((3..20).contains(&reads), "{reads} reads, index: {what}");
    }
}

#[tokio::test]
async fn a_change_after_a_quiet_time_is_seen_at_once_though_the_index_never_works() {
    let is_there = Arc::new(AtomicBool::new(false));
    let there = is_there.clone();
    let fake = Fake::start(move |_| {
        let ids: &[&str] = if there.load(Ordering::SeqCst) { &["a", "b"] } else { &["a"] };
        Some((String::new(), list(ids)))
    })
    .await;
    let consul = fake.consul();
    let mut subscription = consul.subscribe("chat").await.unwrap();
    is_there.store(true, Ordering::SeqCst);
    let seen = async { while subscription.changed().await.instances.len() != 2 {} };
    timeout(Duration::from_secs(2), seen).await.unwrap();
}

#[tokio::test]
async fn why_a_registration_does_not_show_up_is_said() {
    let filtered = "X-Consul-Index: 7\r\nX-Consul-Results-Filtered-By-ACLs: true\r\n";
    let typo = list(&["a"]).replace("\"Port\":1", "\"Port\":70000");
    let elsewhere = list(&["a"]).replace("127.0.0.1", "127.0.0.2");
    for (headers, body, part) in [
        (filtered, list(&["b"]), "leaves out what the token may not read"),
        (filtered, list(&[]), "service:read and node:read"),
        ("", list(&[]), "service:read and node:read"),
        ("", list(&["b"]), "lists others, and not this one"),
        ("", elsewhere, "another registration under this id"),
        ("", typo, "Port: expected 1 to 65535, got 70000"),
        ("", "{}".to_owned(), "no usable answer: expected a list"),
        ("", "<html>".to_owned(), "no usable answer: expected a list"),
    ] {
        let answer = (headers.to_owned(), body);
        let fake = Fake::start(move |_| Some(answer.clone())).await;
        let error = fake.consul().register(&service()).await.unwrap_err().to_string();
        assert!(error.starts_with("registration of a is not visible after 50ms: "), "{error}");
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
}

#[tokio::test]
async fn a_path_stands_before_every_request() {
    let fake = Fake::start(|read| (read < 2).then(|| (String::new(), list(&["a"])))).await;
    for base in [format!("{}/consul", fake.base), format!("{}/consul/", fake.base)] {
        let mut options = ConsulOptions::new(base);
        options.check = Check::Ttl;
        let consul = Consul::connect(options).unwrap();
        let all = async {
            consul.register(&service()).await.unwrap();
            consul.deregister("a").await.unwrap();
        };
        timeout(SOON, all).await.unwrap();
    }
    let paths = fake.paths.lock().unwrap();
    assert!(paths.iter().all(|path| path.starts_with("/consul/v1/")), "{paths:?}");
    assert!(paths.iter().any(|path| path == "/consul/v1/agent/service/deregister/a"), "{paths:?}");
}

#[tokio::test]
async fn what_others_could_not_reach_is_not_registered() {
    let fake = Fake::start(|_| None).await;
    let consul = fake.consul();
    for (address, port, expected) in
        [("http://h", 1, "address"), ("a b", 1, "address"), ("h", 0, "port"), ("", 1, "address")]
    {
        let service = ServiceRegistration::new("a", "chat", address, port);
        let refused = consul.register(&service).await;
        let Err(Error::Invalid { field, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(field, expected);
    }
}
