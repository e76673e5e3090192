//! What waits to be sent to one client, bounded by count and bytes, and how its connection ends.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use imago_proto::Frame;

// The benches compile this file a second time, and look for the modules where this file lies.
#[path = "outbox/holder.rs"]
mod holder;
#[path = "outbox/led.rs"]
mod led;

pub(crate) use self::holder::Packet;
use self::led::Led;
use crate::memory::Footprint;

/// Frames written in one go at most. Few, so that what is not in the queue any more is small too.
const BATCH_FRAMES: usize = 64;
/// Bytes written in one go, if the first frame alone is not larger.
const BATCH_BYTES: usize = 128 << 10;
/// What a frame takes besides its payload.
const FRAME_BYTES: usize = 64;
/// Frames that may be queued while a connection waits for its turn. As many are written in one go
/// for little more than one.
const BEHIND_FRAMES: usize = 16;

/// Why and how a connection ends (docs/wire.md, "Close codes").
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

/// Close codes that we send (RFC 6455 §7.4.1, and the registry for 1013), besides
/// [those of ours](imago_proto::close).
pub(crate) mod code {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const NO_UTF8: u16 = 1007;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const TRY_LATER: u16 = 1013;
}

/// A client's queue. Overflow policy: the client reads too slowly, its connection is cut off.
///
/// One task takes from it. Any task puts something in, and never waits for that.
#[derive(Debug)]
pub(crate) struct Outbox {
    max_frames: usize,
    max_bytes: usize,
    footprint: Footprint,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    deferred: Option<DeferredTotal>,
    frames: VecDeque<Frame>,
    /// Packets that came before the login answer, which has to be the first one.
    early: VecDeque<Frame>,
    bytes: usize,
    /// Bytes in the queue that no other client's holds.
    held: u32,
    /// Bytes that were taken, and are perhaps not written yet.
    in_hand: u32,
    /// Bytes that wait elsewhere until they may be queued.
    kept: u32,
    logged_in: bool,
    leaving: bool,
    close: Option<Close>,
    cut_off: bool,
    has_changed: bool,
    /// The task that takes has time: frames alone do not wake it, unless there are many.
    is_patient: bool,
    /// Of the task that takes, while it waits.
    waker: Option<Waker>,
    led: Led,
}

/// What was queued since the connection waits for its turn.
#[derive(Clone, Copy, Debug, Default)]
struct DeferredTotal {
    frames: usize,
    bytes: usize,
}

/// What became of a packet that does not wake the connection by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deferred {
    /// The connection has to be [woken](Outbox::wake) in its turn.
    First,
    /// It waits for its turn already, or has ended.
    Again,
    /// As before, and so much is queued that its turn should come before anything more is.
    Behind,
}

/// What its connection has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing new is to be written.
    Idle,
    /// Frames are to be written.
    Write,
    /// Everything is written: the end.
    Close(Close),
    /// The end at once, even in the middle of a write: the client reads too slowly.
    CutOff(Close),
}

/// All that its connection asks of an outbox, in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) next: Next,
    /// The connection is to end when the client has its answers.
    pub(crate) is_leaving: bool,
    pub(crate) is_closing: bool,
    /// The write that is tried next counts as a try of the first `n` answers to messages.
    pub(crate) answers: Option<u32>,
}

impl Outbox {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        let (footprint, state) = (Footprint::default(), Mutex::default());
        Self { max_frames, max_bytes, footprint, state }
    }

    /// Frames stay whole whatever panicked while they were locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the connection where it should look at once, and unlocked.
    fn changed(&self, mut state: MutexGuard<'_, State>) {
        state.has_changed = true;
        let is_ignored = state.is_patient && !self.is_pressing(&state);
        let waker = if is_ignored { None } else { state.waker.take() };
        self.unlock(state);
        if let Some(waker) = waker {
            waker.wake();
        }
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
        self.put(&mut state, frame);
        self.changed(state);
    }

    /// Queues a packet without waking the connection.
    pub(crate) fn defer(&self, packet: Packet) -> Deferred {
        let mut state = self.lock();
        if state.close.is_some() {
            return Deferred::Again;
        }
        let weight = packet.len();
        self.put_packet(&mut state, packet);
        let is_first = state.deferred.is_none();
        let total = state.deferred.get_or_insert_default();
        total.frames += 1;
        total.bytes += weight;
        let is_behind = total.frames >= BEHIND_FRAMES.min(self.max_frames.div_ceil(4))
            || total.bytes >= self.max_bytes.div_ceil(4);
        self.unlock(state);
        match (is_first, is_behind) {
            (true, _) => Deferred::First,
            (_, true) => Deferred::Behind,
            _ => Deferred::Again,
        }
    }

    /// Wakes the connection for what was deferred.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        state.deferred = None;
        self.changed(state);
    }

    fn put(&self, state: &mut State, mut frame: Frame) {
        if state.in_hand > 0 {
            // It may wait for long, and would keep all that was read from its link together with it.
            frame.payload = Bytes::copy_from_slice(&frame.payload);
        }
        state.hold(frame.payload.len());
        self.put_shared(state, frame);
    }

    fn put_shared(&self, state: &mut State, frame: Frame) {
        let (waiting, weight) = (state.waiting(), frame.payload.len());
        if waiting >= self.max_frames || (waiting > 0 && state.bytes + weight > self.max_bytes) {
            state.cut_off();
            crate::metrics::slow_reader();
        } else {
            state.bytes += weight;
            state.hold(FRAME_BYTES);
            // A pong is due at once (RFC 6455 §5.5.2), and no packet.
            let may_go = state.logged_in || frame.opcode.is_control();
            if may_go { &mut state.frames } else { &mut state.early }.push_back(frame);
        }
    }

    /// Queues the answer to the login, and what waited for it.
    pub(crate) fn login_answered(&self, packet: Bytes) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        state.log_in(packet);
        self.changed(state);
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
        self.changed(state);
    }

    /// Sends a notice, then closes. A login that is not answered yet is answered first: clients
    /// take the first frame for that answer (docs/wire.md, "Rules for client authors").
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
        self.changed(state);
    }

    /// Asks the connection to end when the client has its answers.
    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.leaving = true;
        self.changed(state);
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.lock().logged_in
    }

    #[cfg(test)]
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

    /// Whether even a patient connection should look.
    fn is_pressing(&self, state: &State) -> bool {
        state.leaving
            || state.close.is_some()
            || state.led.is_waited_for()
            || state.waiting() >= BATCH_FRAMES.min(self.max_frames.div_ceil(4))
            || state.bytes >= BATCH_BYTES.min(self.max_bytes.div_ceil(4))
    }

    /// What to do next. Where `batch` is given, the frames to be written are moved there, but none
    /// where the connection is patient and there are few.
    pub(crate) fn look(&self, batch: Option<&mut VecDeque<Frame>>, is_patient: bool) -> Look {
        let mut state = self.lock();
        (state.has_changed, state.is_patient) = (false, is_patient);
        if batch.is_some() {
            // It is asked for more once all is written.
            state.in_hand = 0;
        }
        let is_left = batch.is_some() && is_patient && !self.is_pressing(&state);
        let batch = batch.filter(|_| !is_left);
        let has_taken_all = batch.is_some();
        let has_frames = batch.is_some_and(|batch| state.take(batch));
        let next = match &state.close {
            Some(close) if state.cut_off => Next::CutOff(close.clone()),
            _ if has_frames => Next::Write,
            Some(close) if has_taken_all => Next::Close(close.clone()),
            _ => Next::Idle,
        };
        let is_closing = state.close.is_some();
        let answers = state.led.untried().filter(|_| !is_left);
        let look = Look { next, is_leaving: state.leaving && !is_closing, is_closing, answers };
        self.unlock(state);
        look
    }

    /// Ready when something has changed since the last time it was; for a patient connection,
    /// something pressing. For the one task that takes.
    pub(crate) fn poll_changed(&self, cx: &mut TaskContext<'_>, is_patient: bool) -> Poll<()> {
        let mut state = self.lock();
        state.is_patient = is_patient;
        if state.has_changed && (!is_patient || self.is_pressing(&state)) {
            state.has_changed = false;
            return Poll::Ready(());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.frames.len() + self.early.len()
    }

    /// Moves frames into an empty batch, not too many. Says whether there are any.
    fn take(&mut self, batch: &mut VecDeque<Frame>) -> bool {
        let mut bytes = 0;
        while let Some(frame) = self.frames.front() {
            let weight = frame.payload.len();
            let full = batch.len() >= BATCH_FRAMES || bytes + weight > BATCH_BYTES;
            if full && !batch.is_empty() {
                break;
            }
            bytes += weight;
            batch.extend(self.frames.pop_front());
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.in_hand = small(bytes + FRAME_BYTES * batch.len());
        // Which of the rest others hold too, is not known.
        self.held = self.held.min(small(self.bytes + FRAME_BYTES * self.waiting()));
        !batch.is_empty()
    }

    fn hold(&mut self, bytes: usize) {
        self.held = self.held.saturating_add(small(bytes));
    }

    fn log_in(&mut self, answer: Bytes) {
        self.bytes += answer.len();
        self.hold(answer.len() + FRAME_BYTES);
        self.frames.push_back(Frame::binary(answer));
        self.logged_in = true;
        self.frames.append(&mut self.early);
    }

    fn cut_off(&mut self) {
        self.frames = VecDeque::new();
        self.early = VecDeque::new();
        self.bytes = 0;
        self.held = 0;
        self.cut_off = true;
        self.close = Some(Close::new(code::TRY_LATER, "client reads too slowly"));
    }
}

/// A size in fewer bits: no queue holds 4 GiB.
fn small(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
