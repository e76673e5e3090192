use std::{net::SocketAddr, sync::Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use super::*;

const SOON: Duration = Duration::from_secs(10);
const EXCLUDE: &str = "/admin/promotion/exclude/gateway-2";

struct Source {
    ready: Result<(), Vec<String>>,
    excluded: Mutex<Vec<String>>,
}

impl MonitorSource for Source {
    fn ready(&self) -> Result<(), Vec<String>> {
        self.ready.clone()
    }

    fn peers(&self) -> PeersReport {
        PeersReport {
            own: SelfReport { id: "logic-1".into(), ..Default::default() },
            ..Default::default()
        }
    }

    fn exclude(&self, gateway: &str) -> Result<(), String> {
        if gateway == "nobody" {
            return Err("no gateway of that name is waited for".into());
        }
        self.excluded.lock().unwrap().push(gateway.into());
        Ok(())
    }
}

struct Server {
    address: SocketAddr,
    source: Arc<Source>,
    rendering: Arc<tokio::sync::Mutex<()>>,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    async fn start(ready: Result<(), Vec<String>>, admin_token: Option<&str>) -> Self {
        Self::bounded(Bounds::default(), ready, admin_token).await
    }

    async fn bounded(
        bounds: Bounds,
        ready: Result<(), Vec<String>>,
        admin_token: Option<&str>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let source = Arc::new(Source { ready, excluded: Mutex::default() });
        let stop = CancellationToken::new();
        let hosts = Hosts::new(["known.example"]);
        let monitor =
            Monitor::new(source.clone(), Incarnation(0xff), admin_token.map(Into::into), hosts);
        let rendering = monitor.rendering.clone();
        let task = tokio::spawn(serve_within(bounds, listener, monitor, stop.clone()));
        Self { address, source, rendering, stop, task }
    }

    /// Status line, headers and body of the answer. Does not ask for the connection to be closed:
    /// the server does so by itself.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = if headers.starts_with("host: ") { "" } else { "host: localhost\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Resolves when the server has ended the connection.
async fn ended(stream: &mut TcpStream) {
    let mut byte = [0];
    while timeout(SOON, stream.read(&mut byte)).await.unwrap().is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_ready_server_says_so_on_every_route() {
    let server = Server::start(Ok(()), None).await;
    for path in ["/health", "/ready", "/peers", "/metrics"] {
        let answer = server.ask("GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_peers_report_reads_back_what_it_wrote() {
    let server = Server::start(Ok(()), None).await;
    let answer = server.ask("GET", "/peers", "").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<PeersReport>(body).unwrap(), server.source.peers());
    let older: PeersReport = serde_json::from_str(r#"{"self":{"id":"x"},"peers":[{}]}"#).unwrap();
    assert_eq!((older.own.id.as_str(), older.peers.len()), ("x", 1));
}

#[tokio::test]
async fn metrics_are_recorded_from_the_call_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = Arc::new(Source { ready: Ok(()), excluded: Mutex::default() });
    let (life, config, stop) =
        (Incarnation(0xff), MonitorConfig::default(), CancellationToken::new());
    let unpolled = serve(listener, source, life, None, &config, "", stop);
    crate::metrics::handshake_refused("test");
    drop(unpolled);
    let server = Server::start(Ok(()), None).await;
    let answer = server.ask("GET", "/metrics", "").await;
    assert!(answer.contains("imago_link_refused_total{reason=\"test\"} "), "{answer}");
}

#[tokio::test]
async fn an_unready_server_says_why() {
    let server = Server::start(Err(vec!["waiting for gateway-2".into()]), None).await;
    let answer = server.ask("GET", "/ready", "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("waiting for gateway-2"), "{answer}");
    let health = server.ask("GET", "/health", "").await;
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(health.contains("imago-incarnation: 00000000000000ff\r\n"), "{health}");
}

#[tokio::test]
async fn whatever_else_is_asked_gets_a_clear_error() {
    let server = Server::start(Ok(()), None).await;
    for (method, path, status) in [
        ("GET", "/nonsense", 404),
        ("GET", "/", 404),
        ("POST", "/peers", 405),
        ("GET", EXCLUDE, 405),
        ("POST", "/admin/promotion/exclude/", 404),
    ] {
        let answer = server.ask(method, path, "content-length: 0\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("{\"error\":\"expected one of GET /health"), "{answer}");
    }
    let answer = server.ask("POST", "/admin/promotion/exclude/%ff", "").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"error\""), "{answer}");
}

#[tokio::test]
async fn an_operator_excludes_a_gateway_and_a_stranger_does_not() {
    let server = Server::start(Ok(()), None).await;
    assert!(server.ask("POST", EXCLUDE, "").await.starts_with("HTTP/1.1 202"));
    assert_eq!(*server.source.excluded.lock().unwrap(), ["gateway-2"]);
    let refused = server.ask("POST", "/admin/promotion/exclude/nobody", "").await;
    assert!(refused.starts_with("HTTP/1.1 409"), "{refused}");
    let page = server.ask("POST", EXCLUDE, "origin: http://page.example\r\n").await;
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");

    let guarded = Server::start(Ok(()), Some("open-sesame")).await;
    let nothing = guarded.ask("POST", EXCLUDE, "").await;
    assert!(nothing.starts_with("HTTP/1.1 401"), "{nothing}");
    assert!(nothing.contains("www-authenticate: Bearer"), "{nothing}");
    let wrong = guarded.ask("POST", EXCLUDE, "authorization: Bearer open\r\n").await;
    assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");
    assert!(guarded.source.excluded.lock().unwrap().is_empty());
    let right = guarded.ask("POST", EXCLUDE, "authorization: Bearer open-sesame\r\n").await;
    assert!(right.starts_with("HTTP/1.1 202"), "{right}");
}

#[tokio::test]
async fn what_tells_of_the_cluster_is_answered_only_to_who_means_this_machine() {
    let server = Server::start(Ok(()), None).await;
    for host in ["known.example", "127.0.0.1:9000"] {
        let answer = server.ask("GET", "/peers", &format!("host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    let evil = "host: evil.example\r\n";
    for (method, path) in [("GET", "/peers"), ("POST", EXCLUDE)] {
        let answer = server.ask(method, path, evil).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{path}: {answer}");
        assert!(answer.contains("monitor.hosts"), "{answer}");
    }
    assert!(server.source.excluded.lock().unwrap().is_empty());
    for path in ["/health", "/ready", "/metrics"] {
        let answer = server.ask("GET", path, evil).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn half_a_request_has_little_time_and_a_whole_one_has_more() {
    let bounds = Bounds { head: Duration::from_millis(100), ..Bounds::default() };
    let server = Server::bounded(bounds, Ok(()), None).await;
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"GET /health HT").await.unwrap();
    ended(&mut half).await;

    // Its body never comes: it is cut off at the end of its life.
    let life = Duration::from_millis(600);
    let bounds = Bounds { life, head: Duration::from_millis(100), ..Bounds::default() };
    let server = Server::bounded(bounds, Ok(()), None).await;
    let rendering = server.rendering.clone().lock_owned().await;
    let begun = std::time::Instant::now();
    let mut whole = TcpStream::connect(server.address).await.unwrap();
    whole.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    ended(&mut whole).await;
    assert!(begun.elapsed() >= life, "{:?}", begun.elapsed());
    drop(rendering);
}

#[tokio::test]
async fn the_oldest_connection_gives_way_to_a_health_check() {
    let bounds = Bounds { connections: 2, head: Duration::from_secs(3600), ..Bounds::default() };
    let server = Server::bounded(bounds, Ok(()), None).await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /health HT").await.unwrap();
        idle.push(stream);
    }
    let answer = server.ask("GET", "/health", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for stream in &mut idle[..9] {
        ended(stream).await;
    }
    let youngest = timeout(Duration::from_millis(100), idle[9].read(&mut [0])).await;
    assert!(youngest.is_err(), "{youngest:?}");
}

#[tokio::test]
async fn a_stop_ends_even_a_connection_with_half_a_request() {
    let bounds = Bounds {
        head: Duration::from_secs(3600),
        life: Duration::from_secs(3600),
        grace: Duration::from_millis(100),
        ..Bounds::default()
    };
    let mut server = Server::bounded(bounds, Ok(()), None).await;
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"GET /health HT").await.unwrap();
    // Connections are accepted in order: this answer says that the one before is open.
    server.ask("GET", "/health", "").await;
    server.stop.cancel();
    timeout(SOON, &mut server.task).await.unwrap().unwrap().unwrap();
    ended(&mut half).await;
}

#[tokio::test]
async fn a_dropped_server_leaves_no_connection_behind() {
    let bounds = Bounds { head: Duration::from_secs(3600), ..Bounds::default() };
    let server = Server::bounded(bounds, Ok(()), None).await;
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"GET /health HT").await.unwrap();
    server.ask("GET", "/health", "").await;
    server.task.abort();
    ended(&mut half).await;
}
