//! The pings of a link and their answers: from which moment on something was heard from the peer.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Numbers of a link's pings, from 1 on.
#[derive(Debug)]
pub(super) struct Echo {
    /// Number of the newest ping.
    asked: AtomicU64,
    /// Highest number that was answered.
    answered: watch::Sender<u64>,
    /// The link is doubted until this ping is answered.
    doubted: AtomicU64,
}

// === impl Echo ===

impl Echo {
    pub(super) fn new() -> Self {
        Self {
            asked: AtomicU64::new(0),
            answered: watch::Sender::new(0),
            doubted: AtomicU64::new(0),
        }
    }

    /// The number of another ping.
    pub(super) fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// What was heard before now does not count. Returns the number of the ping to send.
    pub(super) fn doubt(&self) -> u64 {
        let id = self.ask();
        self.doubted.fetch_max(id, Ordering::SeqCst);
        id
    }

    /// Whether nothing counts that was heard.
    pub(super) fn is_doubted(&self) -> bool {
        let doubted = self.doubted.load(Ordering::SeqCst);
        doubted > 0 && *self.answered.borrow() < doubted
    }

    /// A ping is answered. Returns whether that ends a doubt.
    pub(super) fn answer(&self, id: u64) -> bool {
        // A number that was never given is no answer.
        if id > self.asked.load(Ordering::SeqCst) {
            return false;
        }
        let was_doubted = self.is_doubted();
        self.answered.send_if_modified(|answered| {
            let is_news = id > *answered;
            *answered = id.max(*answered);
            is_news
        });
        was_doubted && !self.is_doubted()
    }

    /// Waits for the answer to a ping that is sent from now on. Callers that wait at the same time
    /// share pings: one is on its way at a time. `send` returns whether it could be sent.
    pub(super) async fn hear(&self, send: impl Fn(u64) -> bool) {
        let mut answered = self.answered.subscribe();
        let wanted = self.asked.load(Ordering::SeqCst) + 1;
        loop {
            let last = *answered.borrow_and_update();
            if last >= wanted {
                return;
            }
            let next =
                self.asked.compare_exchange(last, last + 1, Ordering::SeqCst, Ordering::SeqCst);
            if next.is_ok() && !send(last + 1) {
                return;
            }
            // The sender is ours, and lives.
            let _ = answered.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, pin::pin};

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn only_the_answer_to_a_later_ping_is_heard() {
        let (echo, sent) = (Echo::new(), RefCell::new(Vec::new()));
        let send = |id| {
            sent.borrow_mut().push(id);
            true
        };
        assert_eq!(echo.ask(), 1);
        let mut one = pin!(echo.hear(send));
        assert!(poll!(one.as_mut()).is_pending());
        assert_eq!(*sent.borrow(), [0; 0], "the first is on its way");
        echo.answer(1);
        assert!(poll!(one.as_mut()).is_pending());
        assert_eq!(*sent.borrow(), [2]);
        let mut other = pin!(echo.hear(send));
        assert!(poll!(other.as_mut()).is_pending());
        echo.answer(2);
        assert!(poll!(one.as_mut()).is_ready());
        assert!(poll!(other.as_mut()).is_pending());
        assert_eq!(*sent.borrow(), [2, 3]);
        // A ping of the timer, sent later, tells as much.
        assert_eq!(echo.ask(), 4);
        echo.answer(4);
        assert!(poll!(other.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn nothing_is_awaited_of_a_link_that_takes_no_ping() {
        let echo = Echo::new();
        assert!(poll!(pin!(echo.hear(|_| false))).is_ready());
    }

    #[test]
    fn a_doubt_ends_with_the_answer_to_a_ping_sent_after_it() {
        let echo = Echo::new();
        assert!(!echo.is_doubted());
        let before = echo.ask();
        let after = echo.doubt();
        assert!(echo.is_doubted());
        assert!(!echo.answer(before) && echo.is_doubted());
        assert!(!echo.answer(after + 1) && echo.is_doubted(), "never asked");
        assert!(echo.answer(after) && !echo.is_doubted());
        assert!(!echo.answer(after), "the second answer ends nothing");
    }
}
