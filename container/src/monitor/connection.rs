//! Bounds what callers of the monitor port can hold: how many connections, and for how long.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

/// Bounds of the monitor port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once. More wait in the listener's backlog until one ends.
    pub(super) connections: usize,
    /// How long a connection lives at most. Each serves one request, so this bounds that too.
    pub(super) life: Duration,
    /// How long open connections may go on once the server stops.
    pub(super) grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 64, life: Duration::from_secs(15), grace: Duration::from_secs(1) }
    }
}

/// A listener within [`Bounds`].
pub(super) struct BoundedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    life: Duration,
    /// Ends all connections.
    end: CancellationToken,
}

/// A connection that fails when its time is over.
pub(super) struct Connection {
    stream: TcpStream,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Address of who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) SocketAddr);

// === impl BoundedListener ===

impl BoundedListener {
    pub(super) fn new(listener: TcpListener, bounds: &Bounds, end: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(bounds.connections));
        Self { listener, permits, life: bounds.life, end }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Fails only for a closed semaphore, and nobody closes this one.
        let permit = self.permits.clone().acquire_owned().await.ok();
        // Axum's own: it backs off when there are no file descriptors left.
        let (stream, remote) = Listener::accept(&mut self.listener).await;
        let (life, end) = (self.life, self.end.clone());
        let over = Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep(life) => {}
                () = end.cancelled() => {}
            }
        });
        (Connection { stream, over, is_over: false, _permit: permit }, remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

// === impl Connection ===

impl Connection {
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_over = self.is_over || self.over.as_mut().poll(cx).is_ready();
        if self.is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
