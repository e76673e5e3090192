//! The end of a session, however its connection ends.

use std::sync::Arc;

use imago_proto::SessionId;
use tokio::runtime::Handle;

use crate::context::ConnectionContext;

/// A session for as long as its connection lives: taken out of the table, and out of every logic
/// server's directory, however the connection ends.
pub(super) struct SessionGuard {
    id: SessionId,
    context: Arc<ConnectionContext>,
}

// === impl SessionGuard ===

impl SessionGuard {
    pub(super) fn new(id: SessionId, context: &Arc<ConnectionContext>) -> Self {
        Self { id, context: context.clone() }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.context.sessions.close(self.id);
        // Without a runtime the process ends, and the links with it.
        if let Ok(runtime) = Handle::try_current() {
            let (handle, id) = (self.context.handle.clone(), self.id);
            let told = async move { handle.session_down(id).await };
            self.context.life.tasks.spawn_on(told, &runtime);
        }
    }
}
