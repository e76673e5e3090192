//! A registry's view of one service as it changes.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Instance, Result};

/// All instances of a service at one moment, healthy or not, sorted by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The last good answer of the registry.
    pub instances: Arc<[Instance]>,
    /// Why the registry cannot be read at the moment; `None` while it can.
    pub error: Option<Arc<str>>,
}

/// Follows one service. Dropping it ends the work behind it.
#[derive(Debug)]
pub struct Subscription {
    snapshots: watch::Receiver<Snapshot>,
    _unsubscribe: DropGuard,
}

impl Subscription {
    /// Creates a subscription that starts with `first`, and the end where its backend publishes changes.
    pub fn new(first: Snapshot) -> (Self, Publisher) {
        let (sender, snapshots) = watch::channel(first);
        let cancelled = CancellationToken::new();
        let publisher = Publisher { sender, cancelled: cancelled.clone() };
        (Self { snapshots, _unsubscribe: cancelled.drop_guard() }, publisher)
    }

    /// Creates a subscription of a registry that does not notify: calls `read` every `interval`, and
    /// publishes what it returns.
    ///
    /// # Panics
    /// When called outside of a tokio runtime.
    pub fn poll<Reading>(
        first: Vec<Instance>,
        interval: Duration,
        mut read: impl FnMut() -> Reading + Send + 'static,
    ) -> Self
    where
        Reading: Future<Output = Result<Vec<Instance>>> + Send,
    {
        let (subscription, publisher) = Self::new(Snapshot::default());
        publisher.publish(first);
        tokio::spawn(async move {
            let polling = async {
                loop {
                    tokio::time::sleep(interval).await;
                    match read().await {
                        Ok(instances) => publisher.publish(instances),
                        Err(error) => publisher.fail(&error.to_string()),
                    }
                }
            };
            publisher.cancelled.run_until_cancelled(polling).await;
        });
        subscription
    }

    /// Returns the newest snapshot.
    pub fn current(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// Waits for a snapshot that differs from the last one seen by this method or
    /// [`current_and_seen`](Self::current_and_seen). Never ends while its backend lives; pending
    /// for ever after.
    pub async fn changed(&mut self) -> Snapshot {
        if self.snapshots.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.current_and_seen()
    }

    /// Returns the newest snapshot, which [`changed`](Self::changed) will not report again.
    pub fn current_and_seen(&mut self) -> Snapshot {
        self.snapshots.borrow_and_update().clone()
    }
}

/// A backend's end of a [`Subscription`].
#[derive(Debug)]
pub struct Publisher {
    sender: watch::Sender<Snapshot>,
    cancelled: CancellationToken,
}

impl Publisher {
    /// Publishes what the registry holds now, sorted by id. Clears the error. What equals the
    /// last snapshot is not published.
    pub fn publish(&self, mut instances: Vec<Instance>) {
        instances.sort_by(|a, b| a.service.id.cmp(&b.service.id));
        self.set(|last| Snapshot {
            instances: if *last.instances == *instances {
                last.instances.clone()
            } else {
                instances.into()
            },
            error: None,
        });
    }

    /// Reports that the registry cannot be read, beside the last good snapshot.
    pub fn fail(&self, error: &str) {
        self.set(|last| Snapshot { instances: last.instances.clone(), error: Some(error.into()) });
    }

    /// Returns whether the subscription was dropped.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Waits until the subscription is dropped: then the work behind it ends.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    fn set(&self, next: impl FnOnce(&Snapshot) -> Snapshot) {
        self.sender.send_if_modified(|last| {
            let next = next(last);
            let modified = next != *last;
            *last = next;
            modified
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{Error, Health, ServiceRegistration};

    const INTERVAL: Duration = Duration::from_millis(1);

    fn passing(id: &str) -> Instance {
        let service = ServiceRegistration::new(id, "chat", "h", 1);
        Instance { service, health: Health::Passing }
    }

    #[tokio::test]
    async fn polling_publishes_changes_and_errors_and_ends_with_its_subscription() {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = reads.clone();
        let read = move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match number {
                    0..3 => Ok(vec![passing("a")]),
                    3 => Err(Error::Unavailable("away".to_owned())),
                    _ => Ok(vec![passing("b"), passing("a")]),
                }
            }
        };
        let mut subscription = Subscription::poll(vec![passing("a")], INTERVAL, read);
        let first = subscription.current_and_seen();
        assert_eq!((&*first.instances, first.error), (&[passing("a")][..], None));
        let both = async {
            loop {
                let seen = subscription.changed().await;
                if seen.error.is_none() {
                    return seen;
                }
                assert_eq!(seen.error.as_deref(), Some("registry unavailable: away"));
                assert_eq!(*seen.instances, [passing("a")]);
            }
        };
        assert_eq!(*both.await.instances, [passing("a"), passing("b")]);
        drop(subscription);
        // The read holds a count of its own until its task has ended.
        while Arc::strong_count(&reads) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
