//! How far a gateway is between its start and its end, and what ends with it.

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Whether clients may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doors {
    /// Not yet: they wait in the listener's queue.
    Young,
    /// Yes.
    Open,
    /// No: closed at once, so that they try another gateway.
    Fenced,
    /// No more: the listener is closed, so that the system refuses them.
    Leaving,
}

/// The doors of a gateway, its tasks, and the two ways in which these end.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    pub(crate) doors: watch::Sender<Doors>,
    /// Connections, listeners, and what follows from them.
    pub(crate) tasks: TaskTracker,
    /// Ends connections that have not logged in: they have nothing to lose.
    pub(crate) leaving: CancellationToken,
    /// Ends all connections at once.
    pub(crate) stop: CancellationToken,
}

// === impl Lifecycle ===

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            doors: watch::Sender::new(Doors::Young),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
            stop: CancellationToken::new(),
        }
    }
}
