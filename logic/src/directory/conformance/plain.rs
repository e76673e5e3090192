//! A directory with the required methods alone: the default `sessions_up` unpacks each session of a batch.

use std::sync::Arc;

use async_trait::async_trait;
use imago_container::PeerId;
use imago_proto::{Account, App, SessionId};

use super::super::{Kick, Replicated, Session, SessionDirectory};

/// Passes each call on to the directory in memory, except those with a default.
pub(super) struct Plain(pub(super) Replicated);

#[async_trait]
impl SessionDirectory for Plain {
    fn sync_begin(&self, gateway: &PeerId) {
        self.0.sync_begin(gateway);
    }

    fn session_up(&self, session: Session) -> Vec<Kick> {
        self.0.session_up(session)
    }

    fn session_down(&self, gateway: &PeerId, id: SessionId) {
        self.0.session_down(gateway, id);
    }

    fn sync_end(&self, gateway: &PeerId) {
        self.0.sync_end(gateway);
    }

    fn gateway_gone(&self, gateway: &PeerId) {
        self.0.gateway_gone(gateway);
    }

    fn session(&self, gateway: &PeerId, id: SessionId) -> Option<Arc<Session>> {
        self.0.session(gateway, id)
    }

    fn sessions_of(&self, gateway: &PeerId) -> Vec<Arc<Session>> {
        self.0.sessions_of(gateway)
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    async fn locate_all(&self, app: &App, accounts: &[Account]) -> Vec<Arc<Session>> {
        self.0.locate_all(app, accounts).await
    }
}
