//! The UDP socket of a member. What others send to it, and what becomes of what it sends, ends nothing and
//! floods no log.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chitchat::{
    ChitchatEnvelope, ChitchatMessage,
    transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket},
};
use imago_kit::LogLimit;
use tokio::time::sleep;

use crate::{Error, Result};

/// How often a line of one cause is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Pause after an error of the socket.
const PAUSE: Duration = Duration::from_millis(100);

/// Hands over a socket that is bound already, so that its port is known before the first gossip.
pub(super) struct Bound(Mutex<Option<UdpSocket>>);

impl Bound {
    /// Binds a socket, and says where.
    pub(super) async fn open(listen: SocketAddr) -> Result<(Self, SocketAddr)> {
        let unavailable = |error: anyhow::Error| Error::Unavailable(format!("{error:#}"));
        let socket = UdpSocket::open(listen).await.map_err(unavailable)?;
        let address = socket.local_addr().map_err(unavailable)?;
        Ok((Self(Mutex::new(Some(socket))), address))
    }
}

#[async_trait]
impl Transport for Bound {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let inner = inner.ok_or_else(|| anyhow::anyhow!("the socket was handed over before"))?;
        Ok(Box::new(GossipSocket { inner, log: LogLimit::every(LOG_INTERVAL) }))
    }
}

struct GossipSocket {
    /// Drops datagrams that are no gossip, with a line each in the log.
    inner: UdpSocket,
    log: LogLimit,
}

#[async_trait]
impl Socket for GossipSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// A member that cannot be reached hears of everything in a later round.
    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let error = match self.inner.send(to, envelope).await {
            Ok(sent) => return Ok(sent),
            Err(error) => error,
        };
        if let Some(more) = self.log.allow(&format!("send {to}")) {
            tracing::warn!(%to, error = format!("{error:#}"), "cannot send gossip{more}");
        }
        Ok(SendOutcome { num_bytes_sent: 0 })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let error = match self.inner.recv().await {
                Ok(RecvOutcome { from_addr, envelope, .. })
                    if envelope.message == ChitchatMessage::BadCluster =>
                {
                    if let Some(more) = self.log.allow("cluster") {
                        tracing::warn!(from = %from_addr, "refused by a member of another gossip cluster{more}");
                    }
                    continue;
                }
                Ok(received) => return Ok(received),
                Err(error) => error,
            };
            if let Some(more) = self.log.allow("receive") {
                let error = format!("{error:#}");
                tracing::warn!(error, "cannot receive gossip, trying again{more}");
            }
            sleep(PAUSE).await;
        }
    }
}
