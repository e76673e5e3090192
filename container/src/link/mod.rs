//! One long-lived connection between a gateway and a logic server.

pub(crate) mod admission;
mod echo;
mod handshake;
mod io;
mod queue;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use imago_proto::{
    LinkFrame, Stamp,
    link::{Ping, Pong, ServerState, frame::Kind},
};
use tokio_util::sync::CancellationToken;

use self::{admission::Admission, echo::Echo};
use crate::{PeerId, promotion::Fitness};

pub(crate) use handshake::{
    Credentials, Established, HandshakeError, Identity, ask as handshake_ask,
    dial as handshake_dial, listen as handshake_listen, refuse, refuse_for,
};
pub(crate) use io::{FrameSink, run};
pub(crate) use queue::{Queue, Rejected};

/// Bounds and times of links.
#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// Frames that may wait in one link's queue. Overflow: a request is answered "busy", a push
    /// is dropped and redelivered later, a session change waits.
    pub queue_frames: usize,
    /// Bytes that may wait in one link's queue.
    pub queue_bytes: usize,
    /// How often a ping is sent.
    pub ping_interval: Duration,
    /// Silence after which a link counts as dead.
    pub ping_timeout: Duration,
    /// Time for connecting and for the handshake.
    pub dial_timeout: Duration,
    /// Handshakes at a time (logic servers). Overflow policy: the oldest of the address with the most is
    /// broken off.
    pub handshakes: usize,
    /// Largest frame, in bytes.
    pub frame_max: usize,
    /// How long a lost link's gateway keeps its sessions and parked pushes.
    pub park: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            queue_frames: 16_384,
            queue_bytes: 64 << 20,
            ping_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(2),
            handshakes: 256,
            frame_max: 4 << 20,
            park: Duration::from_secs(10),
        }
    }
}

/// The end of a link that this process holds.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) zone: Arc<str>,
    pub(crate) weight: u32,
    pub(crate) opened: Instant,
    /// Where the connection comes from, as far as that is known.
    pub(crate) remote: OnceLock<SocketAddr>,
    queue: Arc<Queue>,
    closed: CancellationToken,
    ended: CancellationToken,
    /// What the peer said of itself, as `ServerState`.
    state: AtomicU8,
    synced: AtomicBool,
    /// The peer is in maintenance.
    resting: AtomicBool,
    echo: Echo,
    /// Requests that the peer has not answered.
    pending: AtomicUsize,
    /// How many that may be.
    pub(crate) admission: Admission,
}

impl Link {
    pub(crate) fn new(peer: PeerId, queue: Arc<Queue>, closed: CancellationToken) -> Self {
        Self {
            peer,
            zone: Arc::from(""),
            weight: 1,
            opened: Instant::now(),
            remote: OnceLock::new(),
            queue,
            closed,
            ended: CancellationToken::new(),
            state: AtomicU8::new(ServerState::Young as u8),
            synced: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            echo: Echo::new(),
            pending: AtomicUsize::new(0),
            admission: Admission::default(),
        }
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Queues a frame without waiting.
    pub(crate) fn try_send(&self, frame: impl Into<LinkFrame>) -> Result<(), Rejected> {
        if self.closed.is_cancelled() {
            return Err(Rejected::Closed);
        }
        self.queue.try_push(frame.into())
    }

    /// Queues a frame that nothing makes up for, in room that others do not have.
    pub(crate) fn try_send_urgent(&self, frame: impl Into<LinkFrame>) -> Result<(), Rejected> {
        if self.closed.is_cancelled() {
            return Err(Rejected::Closed);
        }
        self.queue.try_push_urgent(frame.into())
    }

    /// As [`send`](Self::send), but waits only once the room for urgent frames is taken too.
    pub(crate) async fn send_urgent(
        &self,
        frame: impl Into<LinkFrame>,
        patience: Duration,
    ) -> Result<(), Rejected> {
        if self.closed.is_cancelled() {
            return Err(Rejected::Closed);
        }
        match self.queue.offer_urgent(frame.into()) {
            None => Ok(()),
            Some(frame) => self.wait_for_room(frame, patience).await,
        }
    }

    /// Queues a frame, waiting for room. A link that has none for `patience` is stuck and closed.
    pub(crate) async fn send(
        &self,
        frame: impl Into<LinkFrame>,
        patience: Duration,
    ) -> Result<(), Rejected> {
        if self.closed.is_cancelled() {
            return Err(Rejected::Closed);
        }
        // Mostly there is room, and no timer is needed.
        match self.queue.offer(frame.into()) {
            None => Ok(()),
            Some(frame) => self.wait_for_room(frame, patience).await,
        }
    }

    async fn wait_for_room(&self, frame: LinkFrame, patience: Duration) -> Result<(), Rejected> {
        let push = tokio::time::timeout(patience, self.queue.push(frame));
        tokio::select! {
            pushed = push => pushed.map_err(|_| {
                tracing::warn!(peer = %self.peer, ?patience, "link takes no frames, closing it");
                self.close();
                Rejected::Closed
            }),
            () = self.closed.cancelled() => Err(Rejected::Closed),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Nothing of a closed link is left: what it did is undone, and everybody concerned was told.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    pub(crate) fn state(&self) -> ServerState {
        ServerState::try_from(i32::from(self.state.load(Ordering::SeqCst)))
            .unwrap_or(ServerState::Young)
    }

    pub(crate) fn set_state(&self, state: ServerState) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::SeqCst)
    }

    pub(crate) fn set_synced(&self) {
        self.synced.store(true, Ordering::SeqCst);
    }

    /// Whether the peer is in maintenance: it gets no new sessions.
    pub(crate) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
    }

    pub(crate) fn set_resting(&self, is_resting: bool) {
        self.resting.store(is_resting, Ordering::SeqCst);
    }

    /// Whether requests may go to the peer: it said that it is Adult, has our sessions, and was heard
    /// of since this process last [stood still](crate::runtime::freeze).
    pub(crate) fn is_usable(&self) -> bool {
        self.fitness().is_some()
    }

    /// The fitness of a peer that requests may go to.
    pub(crate) fn fitness(&self) -> Option<Fitness> {
        let may_be_asked = self.is_synced() && !self.is_closed() && !self.is_doubted();
        Fitness::of(self.state()).filter(|_| may_be_asked)
    }

    /// The next ping.
    pub(crate) fn ping(&self, stamp: Stamp) -> Kind {
        Kind::Ping(Ping { id: self.echo.ask(), stamp: stamp.0 })
    }

    /// A ping was answered. Returns whether that ends a doubt.
    pub(crate) fn answered(&self, ping: u64) -> bool {
        self.echo.answer(ping)
    }

    /// Believes nothing of the peer until it answers a ping that is sent now.
    pub(crate) fn doubt(&self, stamp: Stamp) {
        let ping = Ping { id: self.echo.doubt(), stamp: stamp.0 };
        // No room at all: the next ping of the timer does as well.
        let _ = self.try_send_urgent(Kind::Ping(ping));
    }

    /// Whether the peer has answered no ping since a doubt.
    pub(crate) fn is_doubted(&self) -> bool {
        self.echo.is_doubted()
    }

    /// Waits until the peer has answered a ping that is sent from now on, or the link is closed.
    pub(crate) async fn hear(&self, stamp: impl Fn() -> Stamp) {
        let send = |id| self.try_send_urgent(Kind::Ping(Ping { id, stamp: stamp().0 })).is_ok();
        tokio::select! {
            () = self.echo.hear(send) => {}
            () = self.closed.cancelled() => {}
        }
    }

    /// Returns whether the peer answers a ping of now within `patience`.
    pub(crate) async fn answers(&self, stamp: impl Fn() -> Stamp, patience: Duration) -> bool {
        let heard = tokio::time::timeout(patience, self.hear(stamp)).await;
        heard.is_ok() && !self.is_closed()
    }

    /// Tells the peer a stamp. Where there is no room, the next ping tells it.
    pub(crate) fn tell(&self, stamp: Stamp) {
        let _ = self.try_send_urgent(Kind::Pong(Pong { id: 0, stamp: stamp.0 }));
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }

    /// Says how many are pending with this one.
    pub(crate) fn add_pending(&self) -> usize {
        self.pending.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Takes one from the pending requests; true when that was the last.
    pub(crate) fn take_pending(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

/// Name of a frame's kind for logs, without its content.
pub(crate) fn frame_name(kind: &Kind) -> String {
    let text = format!("{kind:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}
