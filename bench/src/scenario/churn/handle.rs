//! By which a client is cut off from outside.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// By which others cut a client off.
#[derive(Default)]
pub(super) struct Handle(Mutex<Option<CancellationToken>>);

// === impl Handle ===

impl Handle {
    /// Cuts the client off; says whether it was there.
    pub(super) fn cut(&self) -> bool {
        let token = self.lock().take();
        token.is_some_and(|token| {
            token.cancel();
            true
        })
    }

    /// The token of its next connection, or that it is away.
    pub(super) fn set(&self, token: Option<CancellationToken>) {
        *self.lock() = token;
    }

    fn lock(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_there_is_cut_off_and_only_once() {
        let (handle, token) = (Handle::default(), CancellationToken::new());
        assert!(!handle.cut());
        handle.set(Some(token.clone()));
        assert!(handle.cut() && token.is_cancelled());
        assert!(!handle.cut());
    }
}
