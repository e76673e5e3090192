//! How tasks wake the writing thread: once, for all that they have ready.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{runtime::Handle, sync::Notify, task::yield_now};
use tokio_util::task::AbortOnDropHandle;

/// Wakes a thread when all tasks that are ready have run, not at the first one's ring: what the others
/// write shares a commit then, and the thread does not take the processor from them before
/// (docs/performance.md). Wakes it a last time when dropped.
pub(super) struct Bell {
    inner: Arc<Inner>,
    _task: Option<AbortOnDropHandle<()>>,
}

struct Inner {
    wake: Box<dyn Fn() + Send + Sync>,
    rung: Notify,
    /// No task passes rings on: there is no runtime, or none any more.
    is_direct: AtomicBool,
}

impl Bell {
    /// A bell for whoever runs in this runtime, if there is one. `wake` must not be lost where the thread
    /// is awake, as with [`std::thread::Thread::unpark`].
    pub(super) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        let runtime = Handle::try_current().ok();
        let inner = Arc::new(Inner {
            wake: Box::new(wake),
            rung: Notify::new(),
            is_direct: AtomicBool::new(runtime.is_none()),
        });
        let task = runtime.map(|runtime| runtime.spawn(pass_on(PassingOn(inner.clone()))));
        Self { inner, _task: task.map(AbortOnDropHandle::new) }
    }

    /// To be called when what the thread shall find is there.
    pub(super) fn ring(&self) {
        if self.inner.is_direct.load(Ordering::SeqCst) {
            (self.inner.wake)();
        } else {
            self.inner.rung.notify_one();
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        (self.inner.wake)();
    }
}

/// Held while rings are passed on.
struct PassingOn(Arc<Inner>);

impl Drop for PassingOn {
    fn drop(&mut self) {
        self.0.is_direct.store(true, Ordering::SeqCst);
        // For whoever rang just before.
        (self.0.wake)();
    }
}

async fn pass_on(PassingOn(ref inner): PassingOn) {
    loop {
        inner.rung.notified().await;
        yield_now().await;
        (inner.wake)();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, atomic::AtomicUsize};

    use super::*;

    /// A bell that notes how many writes there were at each of its wakes.
    fn noting(writes: &Arc<AtomicUsize>) -> (Bell, Arc<Mutex<Vec<usize>>>) {
        let (wakes, writes) = (Arc::new(Mutex::new(Vec::new())), writes.clone());
        let noted = wakes.clone();
        let wake = move || noted.lock().unwrap().push(writes.load(Ordering::SeqCst));
        (Bell::new(wake), wakes)
    }

    #[tokio::test]
    async fn a_ring_is_passed_on_once_all_ready_tasks_have_run() {
        let writes = Arc::new(AtomicUsize::new(0));
        let (bell, wakes) = noting(&writes);
        let bell = Arc::new(bell);
        yield_now().await;
        bell.ring();
        for _ in 0..10 {
            let (bell, writes) = (bell.clone(), writes.clone());
            tokio::spawn(async move {
                writes.fetch_add(1, Ordering::SeqCst);
                bell.ring();
            });
        }
        while wakes.lock().unwrap().is_empty() {
            yield_now().await;
        }
        assert_eq!(wakes.lock().unwrap()[0], 10, "writes at the first wake");
    }

    #[test]
    fn rings_are_heard_without_a_runtime_and_after_it_has_ended() {
        let writes = Arc::new(AtomicUsize::new(0));
        let (bell, wakes) = noting(&writes);
        bell.ring();
        assert_eq!(wakes.lock().unwrap().len(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (bell, wakes) = runtime.block_on(async { noting(&writes) });
        bell.ring();
        assert!(wakes.lock().unwrap().is_empty(), "the runtime's task has not run");
        drop(runtime);
        assert_eq!(wakes.lock().unwrap().len(), 1, "a ring that was not passed on");
        bell.ring();
        assert_eq!(wakes.lock().unwrap().len(), 2);
        drop(bell);
        assert_eq!(wakes.lock().unwrap().len(), 3, "the last one");
    }
}
