//! What waits to be sent to one client, bounded by count and bytes, and how its connection ends.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use imago_proto::Frame;
use tokio::sync::Notify;

/// Frames written in one go at most. Few, so that what is not in the queue any more is small too.
const BATCH_FRAMES: usize = 64;
/// Bytes written in one go, if the first frame alone is not larger.
const BATCH_BYTES: usize = 128 << 10;

/// Why and how a connection ends (client wire, section 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: Cow<'static, str>,
    /// Time between the last packet and the close.
    pub(crate) after: Duration,
}

impl Close {
    pub(crate) fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into(), after: Duration::ZERO }
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
///
/// One task takes from it; anybody may put something in, and nobody ever waits for that.
#[derive(Debug)]
pub(crate) struct Outbox {
    max_frames: usize,
    max_bytes: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// What came before the login answer, which has to be the first frame.
    early: VecDeque<Frame>,
    bytes: usize,
    logged_in: bool,
    leaving: bool,
    close: Option<Close>,
    cut_off: bool,
}

/// What its connection has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is to be written.
    Idle,
    /// Frames are to be written.
    Write,
    /// Everything is written: the end.
    Close(Close),
}

impl Outbox {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self { max_frames, max_bytes, state: Mutex::default(), changed: Notify::new() }
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
        let (waiting, weight) = (state.waiting(), frame.payload.len());
        if waiting >= self.max_frames || (waiting > 0 && state.bytes + weight > self.max_bytes) {
            state.cut_off();
            crate::metrics::slow_reader();
        } else {
            state.bytes += weight;
            let logged_in = state.logged_in;
            if logged_in { &mut state.frames } else { &mut state.early }.push_back(frame);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Queues the answer to the login, and what waited for it.
    pub(crate) fn login_answered(&self, packet: Bytes) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        state.log_in(packet);
        drop(state);
        self.changed.notify_one();
    }

    /// Sends a last packet, then closes.
    pub(crate) fn finish(&self, last: Option<Bytes>, close: Close) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        state.early.clear();
        state.frames.extend(last.map(Frame::binary));
        state.close = Some(close);
        drop(state);
        self.changed.notify_one();
    }

    /// Sends a notice, then closes. A login that is not answered yet is answered first: clients
    /// take the first frame for that answer, whatever it is (client wire, section 0.1).
    pub(crate) fn kick(&self, login_answer: impl FnOnce() -> Bytes, notice: Bytes, close: Close) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        if !state.logged_in {
            state.log_in(login_answer());
        }
        state.frames.push_back(Frame::binary(notice));
        state.close = Some(close);
        drop(state);
        self.changed.notify_one();
    }

    /// Asks the connection to end when the client has its answers.
    pub(crate) fn leave(&self) {
        self.lock().leaving = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.lock().logged_in
    }

    pub(crate) fn is_leaving(&self) -> bool {
        let state = self.lock();
        state.leaving && state.close.is_none()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().close.is_some()
    }

    /// Whether more may be read from the client: not while it leaves, and not while so much waits
    /// that the answers to its own requests could fill the queue.
    pub(crate) fn invites(&self) -> bool {
        let state = self.lock();
        let idle = state.waiting() < self.max_frames.div_ceil(2)
            && state.bytes <= self.max_bytes.div_ceil(2);
        idle && !state.leaving && state.close.is_none()
    }

    /// The end, at once, of a client that reads too slowly: even in the middle of a write.
    pub(crate) fn cut_off(&self) -> Option<Close> {
        let state = self.lock();
        if state.cut_off { state.close.clone() } else { None }
    }

    /// What to do next; moves the frames to be written into `batch`.
    pub(crate) fn next(&self, batch: &mut VecDeque<Frame>) -> Next {
        let mut state = self.lock();
        let mut bytes = 0;
        while let Some(frame) = state.frames.front() {
            let weight = frame.payload.len();
            let full = batch.len() >= BATCH_FRAMES || bytes + weight > BATCH_BYTES;
            if full && !batch.is_empty() {
                break;
            }
            bytes += weight;
            batch.extend(state.frames.pop_front());
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        match &state.close {
            _ if !batch.is_empty() => Next::Write,
            Some(close) => Next::Close(close.clone()),
            None => Next::Idle,
        }
    }

    /// Resolves when something has changed since the last time it did. For the one task that
    /// takes.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.frames.len() + self.early.len()
    }

    fn log_in(&mut self, answer: Bytes) {
        self.bytes += answer.len();
        self.frames.push_back(Frame::binary(answer));
        self.logged_in = true;
        self.frames.append(&mut self.early);
    }

    fn cut_off(&mut self) {
        self.frames = VecDeque::new();
        self.early = VecDeque::new();
        self.bytes = 0;
        self.cut_off = true;
        self.close = Some(Close::new(code::TRY_LATER, "client reads too slowly"));
    }
}

#[cfg(test)]
mod tests;
