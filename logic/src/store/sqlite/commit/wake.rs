//! How tasks wake the writing thread: once for all that are ready. The module [`commit`](super) tells why.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{runtime::Handle, sync::Notify, task::yield_now};
use tokio_util::task::AbortOnDropHandle;

/// Coalesces wake-ups: the thread is woken after all tasks that are ready have run, not at the first
/// request. Dropping it wakes the thread a last time.
pub(super) struct WakeCoalescer {
    inner: Arc<Inner>,
    _task: Option<AbortOnDropHandle<()>>,
}

struct Inner {
    wake: Box<dyn Fn() + Send + Sync>,
    requested: Notify,
    /// Requests wake at once: no runtime coalesces them, or it has ended.
    is_direct: AtomicBool,
}

impl WakeCoalescer {
    /// Creates a coalescer that runs in the current runtime, if there is one. A call of `wake` must not be
    /// lost while the thread is awake, as with [`std::thread::Thread::unpark`].
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let runtime = Handle::try_current().ok();
        let inner = Arc::new(Inner {
            wake: Box::new(wake),
            requested: Notify::new(),
            is_direct: AtomicBool::new(runtime.is_none()),
        });
        let task = runtime.map(|runtime| runtime.spawn(coalesce(Coalescing(inner.clone()))));
        Self { inner, _task: task.map(AbortOnDropHandle::new) }
    }

    /// Requests a wake-up. Callers have published before what the thread is to find.
    pub(super) fn request(&self) {
        if self.inner.is_direct.load(Ordering::SeqCst) {
            (self.inner.wake)();
        } else {
            self.inner.requested.notify_one();
        }
    }
}

impl Drop for WakeCoalescer {
    fn drop(&mut self) {
        (self.inner.wake)();
    }
}

/// Lives as long as the task that coalesces requests.
struct Coalescing(Arc<Inner>);

impl Drop for Coalescing {
    fn drop(&mut self) {
        self.0.is_direct.store(true, Ordering::SeqCst);
        // A request of just before may still wait for the task.
        (self.0.wake)();
    }
}

async fn coalesce(Coalescing(ref inner): Coalescing) {
    loop {
        inner.requested.notified().await;
        yield_now().await;
        (inner.wake)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use parking_lot::Mutex;

    use super::*;

    /// A coalescer that records the number of writes at each wake-up.
    fn recording(writes: &Arc<AtomicUsize>) -> (WakeCoalescer, Arc<Mutex<Vec<usize>>>) {
        let (wakes, writes) = (Arc::new(Mutex::new(Vec::new())), writes.clone());
        let recorded = wakes.clone();
        let wake = move || recorded.lock().push(writes.load(Ordering::SeqCst));
        (WakeCoalescer::new(wake), wakes)
    }

    #[tokio::test]
    async fn a_request_wakes_once_all_ready_tasks_have_run() {
        let writes = Arc::new(AtomicUsize::new(0));
        let (waker, wakes) = recording(&writes);
        let waker = Arc::new(waker);
        yield_now().await;
        waker.request();
        for _ in 0..10 {
            let (waker, writes) = (waker.clone(), writes.clone());
            tokio::spawn(async move {
                writes.fetch_add(1, Ordering::SeqCst);
                waker.request();
            });
        }
        while wakes.lock().is_empty() {
            yield_now().await;
        }
        assert_eq!(wakes.lock()[0], 10, "writes at the first wake-up");
    }

    #[test]
    fn requests_wake_without_a_runtime_and_after_it_has_ended() {
        let writes = Arc::new(AtomicUsize::new(0));
        let (waker, wakes) = recording(&writes);
        waker.request();
        assert_eq!(wakes.lock().len(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (waker, wakes) = runtime.block_on(async { recording(&writes) });
        waker.request();
        assert!(wakes.lock().is_empty(), "the runtime's task has not run");
        drop(runtime);
        assert_eq!(wakes.lock().len(), 1, "a request that waited for the task");
        waker.request();
        assert_eq!(wakes.lock().len(), 2);
        drop(waker);
        assert_eq!(wakes.lock().len(), 3, "the last one");
    }
}
