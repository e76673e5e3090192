//! Clients over TCP: WebSocket, and frames with a length before them.

use std::{future::Future, io};

use tokio::net::{TcpListener, TcpStream};

use super::{Address, Framing, TlsPeer, Transport, unread};

/// Clients that speak WebSocket, at `listen.ws` of the configuration.
#[derive(Debug)]
pub struct WebSocket {
    listener: TcpListener,
    address: Address,
}

/// Clients that speak frames with a length before them, at `listen.tcp` of the configuration.
#[derive(Debug)]
pub struct Tcp {
    listener: TcpListener,
    address: Address,
}

// === impl WebSocket ===

impl WebSocket {
    /// Serves the clients of a listener.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        Ok(Self { address: listener.local_addr()?.into(), listener })
    }
}

impl Transport for WebSocket {
    type Accepted = TcpStream;
    type Stream = TcpStream;

    fn name(&self) -> &str {
        "ws"
    }

    fn local_address(&self) -> Address {
        self.address.clone()
    }

    fn framing(&self) -> Framing {
        Framing::WebSocket
    }

    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, Address)>> + Send {
        accept(&self.listener)
    }

    async fn handshake(accepted: TcpStream) -> io::Result<(TcpStream, Option<TlsPeer>)> {
        ready(accepted)
    }

    fn unread(stream: &TcpStream) -> usize {
        unread(stream)
    }
}

// === impl Tcp ===

impl Tcp {
    /// Serves the clients of a listener.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        Ok(Self { address: listener.local_addr()?.into(), listener })
    }
}

impl Transport for Tcp {
    type Accepted = TcpStream;
    type Stream = TcpStream;

    fn name(&self) -> &str {
        "tcp"
    }

    fn local_address(&self) -> Address {
        self.address.clone()
    }

    fn framing(&self) -> Framing {
        Framing::LengthPrefixed
    }

    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, Address)>> + Send {
        accept(&self.listener)
    }

    async fn handshake(accepted: TcpStream) -> io::Result<(TcpStream, Option<TlsPeer>)> {
        ready(accepted)
    }

    fn unread(stream: &TcpStream) -> usize {
        unread(stream)
    }
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, Address)> {
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote.into()))
}

fn ready(stream: TcpStream) -> io::Result<(TcpStream, Option<TlsPeer>)> {
    // Without it a small answer waits for the next one (Nagle's algorithm).
    stream.set_nodelay(true)?;
    Ok((stream, None))
}
