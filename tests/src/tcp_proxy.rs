//! A proxy before any TCP server that can cut or stall all of its connections.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They pass through.
    Open,
    /// They end, and new ones end at once.
    Cut,
    /// They stay, and nothing passes.
    Stalled,
}

/// Passes connections through. Ends when dropped.
pub struct TcpProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    _stop: DropGuard,
}

impl TcpProxy {
    /// Starts a proxy before the server at `host:port`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let (mode, stop) = (watch::Sender::new(Mode::Open), CancellationToken::new());
        let accepting = accept(listener, target.to_owned(), mode.subscribe(), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
        Self { address, mode, _stop: stop.drop_guard() }
    }

    /// Starts a proxy before the server that a URL names; gives the URL that leads through it.
    ///
    /// # Panics
    /// When the URL has no `user@host:port/`, or no port is free.
    pub async fn before(url: &str) -> (Self, String) {
        let (user, rest) = url.split_once('@').expect("a URL with a user");
        let (target, path) = rest.split_once('/').expect("a URL with a path");
        let proxy = Self::start(target).await;
        let through = format!("{user}@{}/{path}", proxy.address);
        (proxy, through)
    }

    /// Ends all connections, and takes no more.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Lets nothing pass any more, without a word.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stalled);
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    mode: watch::Receiver<Mode>,
    stop: CancellationToken,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let passing = pass(stream, target.clone(), mode.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(passing));
    }
}

/// Passes one connection through until it ends or is cut.
async fn pass(stream: TcpStream, target: String, mut mode: watch::Receiver<Mode>) {
    let (ours, theirs) = (mode.clone(), mode.clone());
    let passing = async {
        let Ok(onward) = TcpStream::connect(target).await else { return };
        let (near, far) = (stream.into_split(), onward.into_split());
        // Either side may end it.
        tokio::select! {
            () = pump(near.0, far.1, ours) => {}
            () = pump(far.0, near.1, theirs) => {}
        }
    };
    tokio::select! {
        biased;
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
        () = passing => {}
    }
}

async fn pump(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) {
    let mut some = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut some).await {
        // The sender lives as long as the proxy, which ends this too.
        let _ = mode.wait_for(|mode| *mode != Mode::Stalled).await;
        let read = some.get(..length).unwrap_or_default();
        if to.write_all(read).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A server that says what it hears.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn hears_itself(stream: &mut TcpStream) -> bool {
        let said = stream.write_all(b"hello").await;
        let mut heard = [0; 5];
        said.is_ok() && stream.read_exact(&mut heard).await.is_ok() && heard == *b"hello"
    }

    #[tokio::test]
    async fn connections_are_stalled_cut_and_let_through_again() {
        let proxy = TcpProxy::start(&echo().await).await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(hears_itself(&mut stream).await);
        proxy.stall();
        let stalled = timeout(Duration::from_millis(200), hears_itself(&mut stream)).await;
        assert!(stalled.is_err(), "something came");
        proxy.heal();
        let mut late = [0; 5];
        stream.read_exact(&mut late).await.unwrap();
        proxy.cut();
        assert!(!hears_itself(&mut stream).await);
        let mut refused = TcpStream::connect(proxy.address).await.unwrap();
        assert!(!hears_itself(&mut refused).await);
        proxy.heal();
        let mut again = TcpStream::connect(proxy.address).await.unwrap();
        assert!(hears_itself(&mut again).await);
    }
}
