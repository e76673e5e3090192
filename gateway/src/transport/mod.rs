//! Where clients connect: the trait of a listener, and its two implementations over TCP.

mod address;
mod tcp;

use std::{future::Future, io, os::fd::AsFd};

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::{
    address::Address,
    tcp::{Tcp, WebSocket},
};

/// A listener for clients, such as a TCP port or a Unix socket.
///
/// A gateway polls [`accept`](Self::accept) in one task, and runs each connection in a task of its own,
/// from [`handshake`](Self::handshake) to the end. Limits on connections, the time to log in and the
/// drain are the same for all transports.
pub trait Transport: Send + 'static {
    /// A connection on which nothing has been read, with what its handshake needs.
    type Accepted: Send + 'static;
    /// What carries the bytes of a client.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns the name of the transport, unique within a gateway: 1 to 16 lower-case letters and digits.
    /// The registry, the start line of the log and the announcement on standard output have it.
    fn name(&self) -> &str;

    /// Returns the address that clients connect to.
    fn local_address(&self) -> Address;

    /// Returns how packets are framed on its connections.
    fn framing(&self) -> Framing;

    /// Accepts a connection. Must be cancel safe: the future is dropped when the gateway leaves.
    ///
    /// # Errors
    /// When no connection can be accepted now, for example for lack of file descriptors. The gateway
    /// tries again after a pause.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Accepted, Address)>> + Send;

    /// Makes a connection ready for the bytes of the [`Framing`], for example by a TLS handshake. Runs in
    /// the task of the connection, and counts towards `auth.login_timeout`.
    ///
    /// # Errors
    /// When the connection is of no use. It is dropped.
    fn handshake(
        accepted: Self::Accepted,
    ) -> impl Future<Output = io::Result<(Self::Stream, Option<TlsPeer>)>> + Send;

    /// Returns the number of bytes that have arrived and are not read; 0 where that is not known. Where it
    /// is known, requests that wait unread for too long are refused in time; see [`unread`].
    fn unread(stream: &Self::Stream) -> usize {
        let _ = stream;
        0
    }
}

/// How packets of clients are framed (docs/wire.md, "Framing").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// An HTTP/1.1 upgrade request, then frames of RFC 6455.
    WebSocket,
    /// Opcode, length, payload.
    LengthPrefixed,
}

/// What a TLS handshake has shown of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPeer {
    /// The name that the client asked for (RFC 6066 §3).
    pub server_name: Option<String>,
    /// The certificates that the client proved to own, its own first, in DER. Empty without any.
    pub certificates: Vec<Vec<u8>>,
}

/// Returns the number of bytes that have arrived on a socket and are not read (`FIONREAD`), for
/// [`Transport::unread`].
pub fn unread(socket: impl AsFd) -> usize {
    let unread = rustix::io::ioctl_fionread(socket).unwrap_or_default();
    usize::try_from(unread).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn a_socket_tells_what_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        assert_eq!(unread(&far), 0);
        near.write_all(b"hello").await.unwrap();
        far.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!(unread(&far), 3);
    }
}
