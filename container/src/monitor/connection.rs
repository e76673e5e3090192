//! Bounds what callers of the monitor port can hold: how many connections, and for how long.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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
};
use tokio_util::sync::CancellationToken;

use crate::{metrics, slots::Slots};

/// Bounds of the monitor port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once. Overflow policy: the oldest of the address with the most is ended.
    pub(super) connections: usize,
    /// How long the head of a request may take.
    pub(super) head: Duration,
    /// How long a connection lives at most. Each serves one request, so this bounds that too.
    pub(super) life: Duration,
    /// How long open connections may go on once the server stops.
    pub(super) grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { connections: 256, head: secs(1), life: secs(15), grace: secs(1) }
    }
}

/// A listener within [`Bounds`].
pub(super) struct BoundedListener {
    listener: TcpListener,
    slots: Arc<Slots>,
    head: Duration,
    life: Duration,
    /// Ends all connections.
    end: CancellationToken,
}

/// A connection that fails when its time is over.
pub(super) struct Connection {
    stream: TcpStream,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    has_asked: Arc<AtomicBool>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) remote: SocketAddr,
    has_asked: Arc<AtomicBool>,
}

// === impl BoundedListener ===

impl BoundedListener {
    pub(super) fn new(listener: TcpListener, bounds: &Bounds, end: CancellationToken) -> Self {
        // Without grace: the oldest has had its time, and health checks must not wait.
        let slots = Slots::new(bounds.connections, Duration::ZERO, metrics::monitor_open);
        Self { listener, slots, head: bounds.head, life: bounds.life, end }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Axum's own: it backs off when there are no file descriptors left.
        let (stream, remote) = Listener::accept(&mut self.listener).await;
        let slot = self.slots.enter(remote.ip()).await;
        let (head, life, end) = (self.head, self.life, self.end.clone());
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = has_asked.clone();
        let over = Box::pin(async move {
            let late = async {
                tokio::time::sleep(head).await;
                if asked.load(Ordering::Relaxed) {
                    tokio::time::sleep(life.saturating_sub(head)).await;
                }
            };
            tokio::select! {
                () = late => {}
                () = slot.evicted() => metrics::monitor_evicted(),
                () = end.cancelled() => {}
            }
        });
        (Connection { stream, over, is_over: false, has_asked }, remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self { remote: *stream.remote_addr(), has_asked: stream.io().has_asked.clone() }
    }
}

// === impl Caller ===

impl Caller {
    /// The head of the request has come.
    pub(super) fn asked(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
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
