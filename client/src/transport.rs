//! Connections to a gateway: WebSocket or TCP, packets in and out, by bounded queues.

mod login;
mod tcp;
mod ws;

use std::{fmt, time::Duration};

use bytes::Bytes;
use imago_kit::{Redacted, split_authority};
use imago_proto::{Packet, PacketError};
use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::Error;

pub(crate) use self::login::{LoginError, Online, log_in};

/// Packets that wait in each direction. Overflow policy: the sender waits, so that a slow side
/// slows the other down.
const QUEUE: usize = 64;
/// Largest message that a gateway may send us. Ours send less than 1 MiB.
const INBOUND_MAX: usize = 4 << 20;
/// How long one write may take before the connection counts as dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A whole `ws://…` URL.
    Ws(String),
    /// `host:port` of a `tcp://host:port`.
    Tcp(String),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Close code of the gateway, if it sent one.
    pub(crate) code: Option<u16>,
    /// In words.
    pub(crate) why: String,
}

/// An open connection; dropping it ends its tasks.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Encoded packets to send. When dropped, what is queued is sent, then the connection closed.
    pub(crate) outgoing: mpsc::Sender<Bytes>,
    /// What came. Ends with an error.
    pub(crate) incoming: mpsc::Receiver<Result<Packet, Lost>>,
    _reader: DropGuard,
}

/// The other ends of a connection's queues, for its two tasks.
struct Ends {
    outgoing: mpsc::Receiver<Bytes>,
    incoming: mpsc::Sender<Result<Packet, Lost>>,
}

/// What connections need of the client.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    /// Ends every task at once.
    pub(crate) stop: CancellationToken,
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let bad = || Error::Address { url: Redacted(url).to_string() };
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        split_authority(authority).map_err(|_| bad())?;
        // What else is wrong in a path would show only when it is dialled, and be tried again then.
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>#".contains(&byte)) {
            return Err(bad());
        }
        match scheme {
            "ws" => Ok(Self::Ws(url.to_owned())),
            "tcp" if authority.len() == rest.trim_end_matches('/').len() => {
                Ok(Self::Tcp(authority.to_owned()))
            }
            _ => Err(bad()),
        }
    }

    /// Opens a connection.
    pub(crate) async fn open(&self, tasks: &Tasks) -> Result<Connection, Lost> {
        let (outgoing, outgoing_end) = mpsc::channel(QUEUE);
        let (incoming_end, incoming) = mpsc::channel(QUEUE);
        let reader = tasks.stop.child_token();
        let ends = Ends { outgoing: outgoing_end, incoming: incoming_end };
        match self {
            Self::Ws(url) => ws::open(url, ends, tasks, &reader).await?,
            Self::Tcp(authority) => tcp::open(authority, ends, tasks, &reader).await?,
        }
        Ok(Connection { outgoing, incoming, _reader: reader.drop_guard() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ws(url) => Redacted(url).fmt(f),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

// === impl Lost ===

impl Lost {
    fn new(why: impl fmt::Display) -> Self {
        Self { code: None, why: why.to_string() }
    }

    /// The gateway closed, with a code and a reason or without.
    fn closed(code: Option<u16>, reason: &str) -> Self {
        let why = match (code, reason) {
            (None, _) => "closed by the gateway".to_owned(),
            (Some(code), "") => format!("closed by the gateway with code {code}"),
            (Some(code), reason) => format!("closed by the gateway with code {code}: {reason}"),
        };
        Self { code, why }
    }
}

impl From<PacketError> for Lost {
    fn from(error: PacketError) -> Self {
        Self::new(format!("gateway sent what is no packet: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_transport_a_host_and_a_port() {
        let ws = Endpoint::Ws("ws://localhost:8000/im?x=1".to_owned());
        assert_eq!(Endpoint::parse("ws://localhost:8000/im?x=1"), Ok(ws));
        assert_eq!(Endpoint::parse("tcp://[::1]:80/"), Ok(Endpoint::Tcp("[::1]:80".to_owned())));
        let ws = Endpoint::Ws("ws://[::1]:8000".to_owned());
        assert_eq!(Endpoint::parse("ws://[::1]:8000"), Ok(ws));
        for bad in [
            "",
            "localhost:8000",
            "http://a:1",
            "ws://a",
            "ws://:80",
            "ws://::1:80",
            "ws://[::1]",
            "ws://[a]:80",
            "ws://a:0",
            "ws://\"a\":80",
            "ws://a b:80",
            "ws://me@a:80",
            "ws://a:80/a b",
            "ws://a:80/\u{7}",
            "ws://a:80/#part",
            " ws://a:80",
            "tcp://a:x",
            "tcp://a:1/p",
            "tcp://300.0.0.1:1",
        ] {
            let url = Redacted(bad).to_string();
            assert_eq!(Endpoint::parse(bad), Err(Error::Address { url }));
        }
    }
}
