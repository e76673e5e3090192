//! Keeps a server's registration as it should be, however often the registry fails.

use std::{sync::Arc, time::Duration};

use imago_naming::{Naming, ServiceRegistration};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use crate::metrics;

/// Writes what `desired` holds, newest first, and reports each registration that became visible.
/// Retries until it succeeds, is overtaken by a newer one, or `stop`.
pub(crate) async fn run(
    naming: Arc<dyn Naming>,
    mut desired: watch::Receiver<ServiceRegistration>,
    registered: mpsc::Sender<ServiceRegistration>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let registration = desired.borrow_and_update().clone();
        let written = tokio::select! {
            written = naming.register(&registration) => written,
            () = stop.cancelled() => return,
        };
        match written {
            Ok(()) => {
                backoff.reset();
                if registered.send(registration).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = desired.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
            }
            Err(error) => {
                metrics::registry_error();
                let delay = backoff.next_delay();
                tracing::warn!(service = %registration.id, %error, ?delay, "cannot register, trying again");
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    changed = desired.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}
