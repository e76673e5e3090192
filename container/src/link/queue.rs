//! A link's bounded outgoing queue, drained in batches.

use std::{collections::VecDeque, pin::pin};

use imago_proto::LinkFrame;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// No room.
    Full,
    /// The link is gone.
    Closed,
}

/// Frames on their way to a peer, bounded by count and bytes. Overflow policy: `try_push` rejects,
/// `push` waits; `try_push_urgent` rejects at twice the bounds. It outlives a lost link, so that pushes wait for the next.
#[derive(Debug)]
pub(crate) struct Queue {
    max_frames: usize,
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    filled: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<LinkFrame>,
    bytes: usize,
    /// Frames that the writer has taken and not yet handed to the socket.
    in_write: usize,
}

impl Queue {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self {
            max_frames,
            max_bytes,
            waiting: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// A panic while the lock was held leaves plain numbers and frames behind: still usable.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    pub(crate) fn try_push(&self, frame: LinkFrame) -> Result<(), Rejected> {
        self.offer(frame).map_or(Ok(()), |_| Err(Rejected::Full))
    }

    /// Gives the frame back where there is no room.
    pub(crate) fn offer(&self, frame: LinkFrame) -> Option<LinkFrame> {
        self.push_within(frame, self.max_frames, self.max_bytes)
    }

    /// For frames that nothing makes up for, and that are few: they have room where others have
    /// none any more.
    pub(crate) fn try_push_urgent(&self, frame: LinkFrame) -> Result<(), Rejected> {
        self.offer_urgent(frame).map_or(Ok(()), |_| Err(Rejected::Full))
    }

    /// As [`try_push_urgent`](Self::try_push_urgent), but gives the frame back.
    pub(crate) fn offer_urgent(&self, frame: LinkFrame) -> Option<LinkFrame> {
        self.push_within(frame, 2 * self.max_frames, 2 * self.max_bytes)
    }

    fn push_within(&self, frame: LinkFrame, frames: usize, bytes: usize) -> Option<LinkFrame> {
        let weight = frame.weight();
        {
            let mut waiting = self.lock();
            let has_room = waiting.frames.len() < frames
                && (waiting.bytes + weight <= bytes || waiting.frames.is_empty());
            if !has_room {
                return Some(frame);
            }
            waiting.frames.push_back(frame);
            waiting.bytes += weight;
        }
        self.filled.notify_one();
        None
    }

    /// Puts the one frame that a new link begins with before all that waited for it, whatever the
    /// room: else a queue that filled while there was no link could never be emptied by one.
    pub(crate) fn begin_with(&self, frame: LinkFrame) {
        {
            let mut waiting = self.lock();
            waiting.bytes += frame.weight();
            waiting.frames.push_front(frame);
        }
        self.filled.notify_one();
    }

    /// Waits for room. Cancel safe: a cancelled push has queued nothing.
    pub(crate) async fn push(&self, mut frame: LinkFrame) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            let Some(back) = self.offer(frame) else { return };
            frame = back;
            drained.await;
        }
    }

    /// Waits until something is queued.
    pub(crate) async fn filled(&self) {
        while self.lock().frames.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Takes all that is queued.
    pub(crate) fn take(&self, into: &mut VecDeque<LinkFrame>) {
        {
            let mut waiting = self.lock();
            into.append(&mut waiting.frames);
            waiting.bytes = 0;
            waiting.in_write = into.len();
        }
        self.drained.notify_waiters();
    }

    /// What was taken is with the socket.
    pub(crate) fn written(&self) {
        self.lock().in_write = 0;
        self.drained.notify_waiters();
    }

    /// Resolves when everything queued so far is with the socket.
    pub(crate) async fn flushed(&self) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            {
                let waiting = self.lock();
                if waiting.frames.is_empty() && waiting.in_write == 0 {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Keeps only what makes sense on a new link.
    pub(crate) fn retain(&self, keep: impl Fn(&LinkFrame) -> bool) {
        let mut waiting = self.lock();
        waiting.frames.retain(keep);
        waiting.bytes = waiting.frames.iter().map(LinkFrame::weight).sum();
        waiting.in_write = 0;
    }

    /// Frames and bytes that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.frames.len(), waiting.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;
    use imago_proto::link::{Ping, Push, frame::Kind};

    use super::*;

    fn ping(id: u64) -> LinkFrame {
        LinkFrame::new(Kind::Ping(Ping { id, stamp: 0 }))
    }

    fn push_of(bytes: usize) -> LinkFrame {
        LinkFrame::with_payload(Kind::Push(Push::default()), Bytes::from(vec![0; bytes]))
    }

    #[test]
    fn a_full_queue_rejects_by_count_and_by_bytes() {
        let queue = Queue::new(2, 1000);
        assert_eq!(queue.try_push(ping(1)), Ok(()));
        assert_eq!(queue.try_push(push_of(2000)), Err(Rejected::Full));
        assert_eq!(queue.try_push(ping(2)), Ok(()));
        assert_eq!(queue.try_push(ping(3)), Err(Rejected::Full));
        assert_eq!(queue.depth(), (2, ping(1).weight() + ping(2).weight()));
    }

    #[test]
    fn one_frame_over_the_byte_limit_passes_through_an_empty_queue() {
        let queue = Queue::new(2, 100);
        assert_eq!(queue.try_push(push_of(2000)), Ok(()));
        assert_eq!(queue.try_push(ping(1)), Err(Rejected::Full));
    }

    #[test]
    fn a_full_queue_still_takes_what_is_urgent_up_to_twice_its_bounds() {
        let queue = Queue::new(2, 1000);
        for id in 1..=2 {
            queue.try_push(ping(id)).unwrap();
        }
        assert_eq!(queue.try_push(ping(3)), Err(Rejected::Full));
        assert_eq!(queue.try_push_urgent(ping(3)), Ok(()));
        assert_eq!(queue.try_push_urgent(push_of(3000)), Err(Rejected::Full));
        assert_eq!(queue.try_push_urgent(ping(4)), Ok(()));
        assert_eq!(queue.try_push_urgent(ping(5)), Err(Rejected::Full));
    }

    #[tokio::test]
    async fn a_waiting_push_goes_in_when_the_writer_takes_the_rest() {
        let queue = Arc::new(Queue::new(1, 1000));
        queue.try_push(ping(1)).unwrap();
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.push(ping(2)).await }
        });
        let mut taken = VecDeque::new();
        tokio::time::timeout(Duration::from_secs(5), async {
            while taken.len() < 2 {
                queue.filled().await;
                queue.take(&mut taken);
            }
        })
        .await
        .unwrap();
        waiting.await.unwrap();
        assert_eq!(taken, [ping(1), ping(2)]);
    }

    #[tokio::test]
    async fn it_is_flushed_only_when_what_was_taken_is_written() {
        let queue = Queue::new(10, 1000);
        queue.try_push(ping(1)).unwrap();
        let mut taken = VecDeque::new();
        queue.take(&mut taken);
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, queue.flushed()).await.is_err());
        queue.written();
        assert!(tokio::time::timeout(soon, queue.flushed()).await.is_ok());
    }
}
