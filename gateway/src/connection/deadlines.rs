//! What a connection has how much time for.

use std::{io, time::SystemTime};

use tokio::time::Instant;

use super::Connection;
use crate::{
    metrics,
    outbox::{Close, code},
    transport::Transport,
};

/// What the deadlines count from.
pub(super) struct Times {
    pub(super) login_by: Instant,
    /// The begin of this round of reading and writing.
    pub(super) turn: Instant,
    /// The last frame of the client, or when we began to listen to it again.
    pub(super) heard: Instant,
    /// The client took something, or had nothing to take.
    pub(super) took: Instant,
    /// Until then the client is not read.
    pub(super) paused: Option<Instant>,
    /// Nothing but the end is left.
    pub(super) closing: Option<Instant>,
}

/// What there was no more time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Login,
    Silence,
    Token,
    Write,
}

// === impl Times ===

impl Times {
    pub(super) fn new(login_by: Instant, now: Instant) -> Self {
        Self { login_by, turn: now, heard: now, took: now, paused: None, closing: None }
    }
}

impl<T: Transport> Connection<T> {
    /// The client has sent something, or was not listened to.
    pub(super) fn hear(&self, now: Instant) {
        if let Some(online) = &self.online {
            online.client.hear(self.context.sessions.millis(now));
        }
    }

    /// How long there is time, and for what.
    pub(super) fn deadline(&mut self, now: Instant) -> (Instant, Overdue) {
        let online = self.online.as_mut().filter(|_| self.times.closing.is_none());
        let expiry = online.and_then(|online| online.expiry.as_mut());
        let token = expiry.map(|expiry| (expiry.due(now, SystemTime::now), Overdue::Token));
        let other = self.other_deadline();
        token.filter(|token| token.0 < other.0).unwrap_or(other)
    }

    fn other_deadline(&self) -> (Instant, Overdue) {
        let limits = &self.context.limits;
        if let Some(closing) = self.times.closing {
            return (closing + limits.write_timeout, Overdue::Write);
        }
        let listen = match &self.online {
            Some(_) => (self.times.heard + limits.read_timeout, Overdue::Silence),
            None => (self.times.login_by, Overdue::Login),
        };
        let write = (self.times.took + limits.write_timeout, Overdue::Write);
        if self.output.is_empty() || listen.0 < write.0 { listen } else { write }
    }

    pub(super) fn overdue(&mut self, what: Overdue) -> io::Result<()> {
        match what {
            Overdue::Login => {
                self.outbox.finish(None, Close::new(code::POLICY, "no login in time"));
            }
            Overdue::Silence => {
                let close = Close::new(code::GOING_AWAY, "nothing heard for too long");
                self.outbox.finish(None, close);
            }
            Overdue::Token => {
                metrics::session_expired();
                if let Some(online) = &mut self.online {
                    tracing::debug!("token expired");
                    (online.expiry, online.is_expired) = (None, true);
                }
                self.outbox.leave();
            }
            // A close frame would only wait behind what the client does not take.
            Overdue::Write => {
                metrics::slow_reader();
                return Err(io::Error::new(io::ErrorKind::TimedOut, "client takes nothing"));
            }
        }
        Ok(())
    }
}
