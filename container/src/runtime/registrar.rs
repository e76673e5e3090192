//! Keeps a server's registration as it should be, however often the registry fails.

use std::{sync::Arc, time::Duration};

use imago_naming::{Naming, ServiceRegistration, meta_key};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::registry_log;
use crate::{
    claim::{Listed, claim_of},
    metrics,
};
use imago_kit::Backoff;

/// How long a write that is on its way, and a look at the entry, may take before a leaving server takes its
/// entry out.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// How long taking the entry out may take, with the look.
const DEREGISTRATION: Duration = Duration::from_secs(4);

/// The own entry in the registry.
pub(crate) struct Registrar {
    naming: Arc<dyn Naming>,
    rewriter: Rewriter,
    end: CancellationToken,
    writer: JoinHandle<()>,
}

/// Has the entry written again. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rewriter {
    desired: watch::Sender<ServiceRegistration>,
    /// Breaks off a write that waits for its entry to show up, which another one may have replaced.
    again: Arc<Notify>,
}

/// Whether the entry is taken out as that of a server that leaves, or of one that lost its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    Leaves,
    LosesId,
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
        let rewriter = Rewriter { desired, again: Arc::default() };
        let end = stop.child_token();
        let again = rewriter.again.clone();
        let writer = write(naming.clone(), wanted, again, registered, end.clone(), stop.clone());
        Self { naming, rewriter, end, writer: tasks.spawn(writer) }
    }

    /// What is to stand in the registry from now on, under the generation of now.
    pub(crate) fn want(&self, registration: ServiceRegistration) {
        self.rewriter.desired.send_modify(|desired| {
            let generation = desired.meta.remove(meta_key::GENERATION);
            *desired = registration;
            desired.meta.extend(generation.map(|number| (meta_key::GENERATION.to_owned(), number)));
        });
    }

    pub(crate) fn rewriter(&self) -> Rewriter {
        self.rewriter.clone()
    }

    /// Takes the entry out, as far as the registry lets us. A write on its way ends before: else
    /// it could put the entry back, and no server would remove it again. One that lost its id breaks it
    /// off: it may be waiting for an entry that was replaced.
    pub(crate) async fn leave(mut self, departure: Departure) {
        self.end.cancel();
        let is_broken_off =
            departure == Departure::LosesId || timeout(LAST_WRITE, &mut self.writer).await.is_err();
        if is_broken_off {
            self.writer.abort();
        }
        let own = self.rewriter.desired.borrow().clone();
        let taken_out = async {
            if is_anothers(&*self.naming, &own, departure).await {
                return Ok(());
            }
            self.naming.deregister(&own.id).await
        };
        match timeout(DEREGISTRATION, taken_out).await {
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

// === impl Rewriter ===

impl Rewriter {
    /// Writes the entry again, under this generation.
    pub(crate) fn write(&self, generation: u64) {
        self.desired.send_modify(|desired| {
            desired.meta.insert(meta_key::GENERATION.to_owned(), generation.to_string());
        });
        self.again.notify_one();
    }
}

/// Whether another server's entry stands in place of this one.
async fn is_anothers(naming: &dyn Naming, own: &ServiceRegistration, departure: Departure) -> bool {
    let Some(claim) = claim_of(own) else { return false };
    match timeout(LAST_WRITE, naming.instances(&own.name)).await {
        Ok(Ok(instances)) => {
            let id = own.id.as_str().into();
            let listed = Listed::of(&instances, &id, claim.incarnation);
            !listed.has_own && !listed.rivals.is_empty()
        }
        // A server that leaves has been told of no other one.
        _ => departure == Departure::LosesId,
    }
}

/// Retries each write until it succeeds, is overtaken by a newer one, or `stop`. Ends with the
/// write in hand after `end`.
async fn write(
    naming: Arc<dyn Naming>,
    mut desired: watch::Receiver<ServiceRegistration>,
    again: Arc<Notify>,
    registered: mpsc::Sender<ServiceRegistration>,
    end: CancellationToken,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let log = registry_log::of_retries();
    while !end.is_cancelled() {
        let registration = desired.borrow_and_update().clone();
        let written = tokio::select! {
            written = naming.register(&registration) => written,
            () = again.notified() => continue,
            () = stop.cancelled() => return,
        };
        let pause = match written {
            Ok(()) => {
                backoff.reset();
                log.reset("register");
                tokio::select! {
                    // A server that leaves does not listen any more.
                    _ = registered.send(registration) => None,
                    () = end.cancelled() => return,
                }
            }
            Err(error) => {
                metrics::registry_error();
                let delay = backoff.next_delay();
                if let Some(more) = log.allow("register") {
                    tracing::warn!(service = %registration.id, %error, ?delay, "cannot register, trying again{more}");
                }
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
