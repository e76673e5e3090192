//! Keeps a server's registration as it should be, however often the registry fails.

use std::{sync::Arc, time::Duration};

use imago_naming::{Naming, ServiceRegistration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::backoff::Backoff;
use crate::metrics;

/// How long a write that is on its way may take before a leaving server takes its entry out.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// How long taking the entry out may take.
const DEREGISTRATION: Duration = Duration::from_secs(3);

/// The own entry in the registry.
pub(crate) struct Registrar {
    naming: Arc<dyn Naming>,
    desired: watch::Sender<ServiceRegistration>,
    end: CancellationToken,
    writer: JoinHandle<()>,
}

// === impl Registrar ===

impl Registrar {
    /// Writes `first`, and what is wanted after it, newest first. Each registration that became
    /// visible goes to `registered`, until that is closed.
    pub(crate) fn start(
        naming: Arc<dyn Naming>,
        first: ServiceRegistration,
        registered: mpsc::Sender<ServiceRegistration>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (desired, wanted) = watch::channel(first);
        let end = stop.child_token();
        let writer = write(naming.clone(), wanted, registered, end.clone(), stop.clone());
        Self { naming, desired, end, writer: tasks.spawn(writer) }
    }

    /// What is to stand in the registry from now on.
    pub(crate) fn want(&self, registration: ServiceRegistration) {
        self.desired.send_replace(registration);
    }

    /// Takes the entry out, as far as the registry lets us. A write on its way ends before: else
    /// it could put the entry back, and nobody would take it out again.
    pub(crate) async fn leave(mut self) {
        self.end.cancel();
        if timeout(LAST_WRITE, &mut self.writer).await.is_err() {
            self.writer.abort();
        }
        let id = self.desired.borrow().id.clone();
        match timeout(DEREGISTRATION, self.naming.deregister(&id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot deregister; the registry's health check will")
            }
            Err(_) => {
                tracing::warn!("registry does not answer the deregistration; its health check will")
            }
        }
    }
}

/// Retries each write until it succeeds, is overtaken by a newer one, or `stop`. Ends with the
/// write in hand after `end`.
async fn write(
    naming: Arc<dyn Naming>,
    mut desired: watch::Receiver<ServiceRegistration>,
    registered: mpsc::Sender<ServiceRegistration>,
    end: CancellationToken,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    while !end.is_cancelled() {
        let registration = desired.borrow_and_update().clone();
        let written = tokio::select! {
            written = naming.register(&registration) => written,
            () = stop.cancelled() => return,
        };
        let pause = match written {
            Ok(()) => {
                backoff.reset();
                tokio::select! {
                    // A server that leaves does not listen any more.
                    _ = registered.send(registration) => None,
                    () = end.cancelled() => return,
                }
            }
            Err(error) => {
                metrics::registry_error();
                let delay = backoff.next_delay();
                tracing::warn!(service = %registration.id, %error, ?delay, "cannot register, trying again");
                Some(delay)
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            changed = desired.changed() => if changed.is_err() { return },
            () = end.cancelled() => return,
        }
    }
}

/// For ever where there is nothing to wait for.
async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
