//! One try of a gateway to link with a logic server.

use std::{io, net::SocketAddr, time::Duration};

use imago_kit::{authority, check_host};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};

use crate::{
    PeerId,
    link::{self, Credentials, Established, HandshakeError, Identity},
    runtime::LinkError,
};

/// Where a logic server is reached, as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Another program, or an older version, has registered this.
    #[error("the registered address is none: {0}")]
    Address(&'static str),
    #[error("cannot resolve the host name: {0}")]
    Resolve(io::Error),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no answer within {within:?} while {step}")]
    TimedOut { step: &'static str, within: Duration },
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

// === impl Place ===

impl Place {
    /// `host:port`. The host is in quotes where it is none.
    pub(crate) fn address(&self) -> String {
        match check_host(&self.host) {
            Ok(()) => authority(&self.host, self.port),
            Err(_) => format!("{:?}:{}", self.host, self.port),
        }
    }

    /// Connects, and shakes hands with the peer that is expected there.
    pub(super) async fn dial(
        &self,
        within: Duration,
        own: &Identity,
        credentials: &Credentials,
        expected: &PeerId,
    ) -> Result<(TcpStream, Established), DialError> {
        check_host(&self.host).map_err(DialError::Address)?;
        let deadline = Instant::now() + within;
        let late = |step| move |_| DialError::TimedOut { step, within };
        let found = timeout_at(deadline, lookup_host((self.host.as_str(), self.port))).await;
        let found = found.map_err(late("resolving the host name"))?.map_err(DialError::Resolve)?;
        let addresses: Vec<SocketAddr> = found.collect();
        let connected = timeout_at(deadline, TcpStream::connect(&addresses[..])).await;
        let connected = connected.map_err(late("connecting"))?;
        let mut stream = connected.map_err(DialError::Connect)?;
        // Without it a small request waits for the next one (Nagle's algorithm).
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        let shaking = link::handshake_dial(&mut stream, own, credentials, &expected.service_id);
        let shaken = timeout_at(deadline, shaking).await;
        let established = shaken.map_err(late("shaking hands"))??;
        Ok((stream, established))
    }
}

// === impl DialError ===

impl LinkError for DialError {
    fn label(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::TimedOut { .. } => "timeout",
            Self::Handshake(error) => error.label(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str) -> Place {
        Place { host: host.to_owned(), port: 7000 }
    }

    #[test]
    fn a_place_is_shown_as_it_is_dialled() {
        assert_eq!(place("::1").address(), "[::1]:7000");
        assert_eq!(place("h.example").address(), "h.example:7000");
        assert_eq!(place("a\nb").address(), "\"a\\nb\":7000");
    }
}
