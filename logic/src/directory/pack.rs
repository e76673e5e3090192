//! Sessions as a sync told them. Each stays packed until its first use: a server has to learn of all
//! sessions before it serves, and most of them are used much later.

use std::sync::atomic::{AtomicUsize, Ordering};

use imago_container::PeerId;
use imago_kit::unix_nanos;
use imago_proto::{App, ToldSession};

use super::Session;

/// Sessions of one gateway that were told together.
#[derive(Debug)]
pub(super) struct Pack {
    gateway: PeerId,
    /// The app of the first session, which mostly is that of all.
    app: App,
    /// The sessions, each after its length.
    bytes: Box<[u8]>,
    sessions: usize,
    /// When they were told, by the gateway's clock. Unix nanoseconds; 0 where it is unknown.
    told_at: i64,
    /// When they were told, by this server's clock.
    heard_at: i64,
    unpacked: AtomicUsize,
}

// === impl Pack ===

impl Pack {
    /// Packs sessions that are told now.
    pub(super) fn new(gateway: &PeerId, sessions: &[ToldSession<'_>]) -> Self {
        let first = sessions.first();
        let mut bytes = Vec::with_capacity(sessions.iter().map(|it| it.encoded.len()).sum());
        sessions.iter().for_each(|session| bytes.extend_from_slice(session.encoded));
        Self {
            gateway: gateway.clone(),
            app: first.map_or("", |first| str::from_utf8(first.app).unwrap_or_default()).into(),
            bytes: bytes.into(),
            sessions: sessions.len(),
            told_at: first.map_or(0, |first| first.told_at),
            heard_at: unix_nanos(),
            unpacked: AtomicUsize::new(0),
        }
    }

    /// Returns the number of sessions that were packed.
    pub(super) fn len(&self) -> usize {
        self.sessions
    }

    /// Unpacks the session at this offset. Callers that keep it [count](Self::count) it.
    pub(super) fn unpack(&self, start: usize) -> Session {
        let bytes = self.bytes.get(start..).unwrap_or_default();
        // It decodes: it was read when it was told.
        let told = ToldSession::first(bytes, self.told_at).unwrap_or_default().view();
        let app = if told.app == self.app.as_str() { self.app.clone() } else { told.app.into() };
        Session::from_view(&self.gateway, &told, app, self.heard_at)
    }

    /// Counts a session that was unpacked and is kept by the caller.
    pub(super) fn count(&self) {
        self.unpacked.fetch_add(1, Ordering::Relaxed);
    }

    /// Frees the bytes once all sessions are unpacked.
    pub(super) fn tidy(&mut self) {
        if *self.unpacked.get_mut() >= self.sessions {
            self.bytes = Box::default();
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
