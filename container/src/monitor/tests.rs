use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

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
    stop: CancellationToken,
}

impl Server {
    async fn start(ready: Result<(), Vec<String>>, admin_token: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let source = Arc::new(Source { ready, excluded: Mutex::default() });
        let stop = CancellationToken::new();
        let token = admin_token.map(ToOwned::to_owned);
        tokio::spawn(serve(listener, source.clone(), token, stop.clone()));
        Self { address, source, stop }
    }

    /// Status line, headers and body of the answer.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_ready_server_says_so_on_every_route() {
    let server = Server::start(Ok(()), None).await;
    for path in ["/health", "/ready", "/peers", "/metrics"] {
        let answer = server.ask("GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert!(server.ask("GET", "/peers", "").await.contains("\"logic-1\""));
    let lost = server.ask("GET", "/nonsense", "").await;
    assert!(lost.starts_with("HTTP/1.1 404") && lost.contains("/peers"), "{lost}");
}

#[tokio::test]
async fn an_unready_server_says_why() {
    let server = Server::start(Err(vec!["waiting for gateway-2".into()]), None).await;
    let answer = server.ask("GET", "/ready", "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("waiting for gateway-2"), "{answer}");
    assert!(server.ask("GET", "/health", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_operator_excludes_a_gateway_and_a_stranger_does_not() {
    let server = Server::start(Ok(()), None).await;
    let path = "/admin/promotion/exclude/gateway-2";
    assert!(server.ask("POST", path, "").await.starts_with("HTTP/1.1 202"));
    assert_eq!(*server.source.excluded.lock().unwrap(), ["gateway-2"]);
    let refused = server.ask("POST", "/admin/promotion/exclude/nobody", "").await;
    assert!(refused.starts_with("HTTP/1.1 409"), "{refused}");

    let guarded = Server::start(Ok(()), Some("open-sesame")).await;
    assert!(guarded.ask("POST", path, "").await.starts_with("HTTP/1.1 403"));
    let wrong = guarded.ask("POST", path, "authorization: Bearer open\r\n").await;
    assert!(wrong.starts_with("HTTP/1.1 403"), "{wrong}");
    let right = guarded.ask("POST", path, "authorization: Bearer open-sesame\r\n").await;
    assert!(right.starts_with("HTTP/1.1 202"), "{right}");
}

#[test]
fn without_a_token_only_this_machine_may_administer() {
    let monitor = Monitor {
        source: Arc::new(Source { ready: Ok(()), excluded: Mutex::default() }),
        admin_token: None,
    };
    let far = "192.0.2.7:4000".parse().unwrap();
    assert!(monitor.admit(far, &HeaderMap::new()).is_err());
    let near = "127.0.0.1:4000".parse().unwrap();
    assert!(monitor.admit(near, &HeaderMap::new()).is_ok());
}
