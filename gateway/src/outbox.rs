//! What waits to be sent to one client, bounded by count and bytes.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use imago_proto::{Frame, Opcode};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why and how a connection ends (client wire, section 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    /// Time between the last packet and the close.
    pub(crate) after: Duration,
}

impl Close {
    pub(crate) const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, after: Duration::ZERO }
    }
}

/// Close codes that we send (RFC 6455 §7.4.1, and the registry for 1013).
pub(crate) mod code {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const TRY_LATER: u16 = 1013;
}

/// A client's queue. Overflow policy: the client reads too slowly, its connection is cut off.
#[derive(Debug)]
pub(crate) struct Outbox {
    max_frames: usize,
    max_bytes: usize,
    state: Mutex<State>,
    filled: Notify,
    /// Set when the connection has to end at once, even in the middle of a write.
    aborted: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// What came before the login answer, which has to be the first frame.
    early: VecDeque<Frame>,
    bytes: usize,
    logged_in: bool,
    close: Option<Close>,
}

impl Outbox {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self {
            max_frames,
            max_bytes,
            state: Mutex::default(),
            filled: Notify::new(),
            aborted: CancellationToken::new(),
        }
    }

    /// Frames stay whole whatever panicked while they were locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a packet; before the login is answered it waits behind that answer.
    pub(crate) fn push(&self, packet: Bytes) {
        self.push_frame(Frame::binary(packet));
    }

    pub(crate) fn push_frame(&self, frame: Frame) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        let weight = frame.payload.len();
        let waiting = state.frames.len() + state.early.len();
        if waiting >= self.max_frames || (waiting > 0 && state.bytes + weight > self.max_bytes) {
            state.close = Some(Close::new(code::TRY_LATER, "client reads too slowly"));
            drop(state);
            crate::metrics::slow_reader();
            self.aborted.cancel();
            return;
        }
        state.bytes += weight;
        if state.logged_in {
            state.frames.push_back(frame);
        } else {
            state.early.push_back(frame);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Queues the answer to the login, and what waited for it.
    pub(crate) fn login_answered(&self, packet: Bytes) {
        let mut state = self.lock();
        state.bytes += packet.len();
        state.frames.push_back(Frame::binary(packet));
        state.logged_in = true;
        let early = std::mem::take(&mut state.early);
        state.frames.extend(early);
        drop(state);
        self.filled.notify_one();
    }

    /// Sends a last packet, then closes.
    pub(crate) fn finish(&self, last: Option<Bytes>, close: Close) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        state.early.clear();
        if let Some(packet) = last {
            state.frames.push_back(Frame { opcode: Opcode::Binary, payload: packet });
        }
        state.close = Some(close);
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.lock().logged_in
    }

    /// Waits for frames or for the end; takes all frames. The end comes with the last of them.
    pub(crate) async fn take(&self, into: &mut VecDeque<Frame>) -> Option<Close> {
        loop {
            let mut filled = pin!(self.filled.notified());
            filled.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.frames.is_empty() || state.close.is_some() {
                    into.append(&mut state.frames);
                    state.bytes = state.early.iter().map(|frame| frame.payload.len()).sum();
                    return state.close.clone();
                }
            }
            filled.await;
        }
    }

    /// Resolves when the connection has to end at once.
    pub(crate) async fn aborted(&self) {
        self.aborted.cancelled().await;
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(frames: &VecDeque<Frame>) -> Vec<&[u8]> {
        frames.iter().map(|frame| &frame.payload[..]).collect()
    }

    #[tokio::test]
    async fn the_login_answer_comes_first_whatever_was_pushed_before() {
        let outbox = Outbox::new(10, 1000);
        outbox.push(Bytes::from_static(b"push"));
        outbox.login_answered(Bytes::from_static(b"answer"));
        outbox.push(Bytes::from_static(b"later"));
        let mut frames = VecDeque::new();
        assert_eq!(outbox.take(&mut frames).await, None);
        assert_eq!(texts(&frames), [b"answer" as &[u8], b"push", b"later"]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_cut_off_by_count_and_by_bytes() {
        for (count, size) in [(3, 1), (2, 600)] {
            let outbox = Outbox::new(3, 1000);
            for _ in 0..count {
                outbox.push(Bytes::from(vec![0; size]));
            }
            assert_eq!(outbox.is_aborted(), count == 2);
            outbox.push(Bytes::from_static(b"x"));
            assert!(outbox.is_aborted());
            let close = outbox.take(&mut VecDeque::new()).await;
            assert_eq!(close.map(|close| close.code), Some(code::TRY_LATER));
        }
    }

    #[tokio::test]
    async fn a_refusal_is_sent_before_the_close_and_nothing_after_it() {
        let outbox = Outbox::new(10, 1000);
        outbox.push(Bytes::from_static(b"early"));
        outbox.finish(Some(Bytes::from_static(b"no")), Close::new(code::POLICY, "refused"));
        outbox.push(Bytes::from_static(b"late"));
        let mut frames = VecDeque::new();
        let close = outbox.take(&mut frames).await;
        assert_eq!(texts(&frames), [b"no"]);
        assert_eq!(close.map(|close| close.code), Some(code::POLICY));
    }
}
