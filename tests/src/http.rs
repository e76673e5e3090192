//! A small HTTP server that answers what a test tells it to.

use std::{future::Future, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What somebody asked for.
#[derive(Clone, Debug, Default)]
pub struct HttpRequest {
    /// For example `GET`.
    pub method: String,
    /// Path with query.
    pub target: String,
    /// Lines such as `x-consul-token: secret`, the names in lower case.
    pub headers: Vec<String>,
    /// The body, as text.
    pub body: String,
}

impl HttpRequest {
    /// Whether it asks for this path, whatever its query.
    pub fn is(&self, path: &str) -> bool {
        self.target.split('?').next() == Some(path)
    }

    /// A parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What it is answered.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// Status, such as 200.
    pub status: u16,
    /// Value of `X-Consul-Index`.
    pub index: u64,
    /// The body, JSON.
    pub body: String,
}

type Answering = dyn Fn(HttpRequest) -> BoxFuture<'static, HttpAnswer> + Send + Sync;

/// An HTTP server on a free port. Ends when dropped.
pub struct HttpStub {
    address: SocketAddr,
    _stop: DropGuard,
}

impl HttpStub {
    /// Starts it; every request is answered by `answer`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start<F: Future<Output = HttpAnswer> + Send + 'static>(
        answer: impl Fn(HttpRequest) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let stop = CancellationToken::new();
        let answer: Arc<Answering> = Arc::new(move |request| Box::pin(answer(request)));
        tokio::spawn(accept(listener, answer, stop.clone()));
        Self { address, _stop: stop.drop_guard() }
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: TcpListener, answer: Arc<Answering>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let answer = answer.clone();
                connections.spawn(async move {
                    // Whoever hangs up needs no answer.
                    let _ = serve(stream, &*answer).await;
                });
            }
            () = stop.cancelled() => return,
        }
    }
}

async fn serve(stream: TcpStream, answer: &Answering) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let HttpAnswer { status, index, body } = answer(request).await;
        let head = format!(
            "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\n\
             X-Consul-Index: {index}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
    }
    Ok(())
}

/// The next request of a connection; `None` at its end.
async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<HttpRequest>> {
    let mut request = HttpRequest::default();
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    request.method = words.next().unwrap_or_default();
    request.target = words.next().unwrap_or_default();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        request.headers.push(format!("{}: {value}", name.to_ascii_lowercase()));
    }
    let length = request.headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}
