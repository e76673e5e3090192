//! Tells a logic server's role of the sessions of a sync, some at a time.

use imago_proto::{SessionReader, ToldSession, link::SessionsUp};

use crate::{LogicRole, SyncBatch, link::Link};

/// Sessions that a role is told of at a time: those of a frame, mostly.
const TOLD_AT_ONCE: usize = 512;

/// Tells a role of a batch, of which only so much is unpacked at a time.
pub(super) async fn tell_sessions(link: &Link, role: &dyn LogicRole, batch: &[u8], up: SessionsUp) {
    let peer = &link.peer;
    let mut some: Vec<ToldSession<'_>> = Vec::with_capacity(TOLD_AT_ONCE);
    let SessionsUp { mut left, now, .. } = up;
    let mut sessions = SessionReader::new(batch, now);
    loop {
        some.clear();
        if let Err(error) = sessions.read(&mut some, TOLD_AT_ONCE) {
            tracing::warn!(%peer, %error, "broken sessions, closing the link");
            return link.close();
        }
        if some.is_empty() {
            return;
        }
        role.sessions_up(SyncBatch::new(peer, &some, left));
        left = left.saturating_sub(some.len() as u64);
        // A worker looks at sockets between two tasks: else, while one link has more and more to
        // tell, it would not be noticed that the others have something too.
        tokio::task::yield_now().await;
    }
}
