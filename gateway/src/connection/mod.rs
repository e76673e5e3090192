//! One client's connection: a task that reads and writes, and ends in good order.

mod backlog;
mod deadlines;
mod end;
mod expiry;
mod guard;
mod inbound;
mod login;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    future::{Future, pending, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use imago_container::{Lane, Slot};
use imago_kit::io::Chunks;
use imago_proto::{Frame, close};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};

use self::{backlog::Backlog, deadlines::Times, end::End, expiry::Expiry, guard::SessionGuard};
use crate::{
    codec::Codec,
    context::ConnectionContext,
    limit::ConnectionRate,
    memory::Holder,
    metrics,
    outbox::{Close, Look, Next, Outbox, code},
    read_buffer::ReadBuffer,
    session::Client,
    transport::{Address, Framing, TlsPeer, Transport},
    upgrade::UpgradeRequest,
};

/// How long a client that reads too slowly may take the close frame.
const CUT_OFF_PATIENCE: Duration = Duration::from_secs(1);

/// How long a client is quiet before it gives back the memory that it had while it was busy.
const QUIET: Duration = Duration::from_secs(1);

/// How long a client is not read after a request of it was refused. What it sends meanwhile is
/// read, refused and answered in one go, and what comes for it is written in one go: a gateway that is
/// short of time must not spend it on refusals, nor on one system call for each packet.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Why a connection ends that has not logged in.
pub(crate) const NO_ROOM: &str = "too many connections have not logged in";

/// What a connection begins with, once its transport is ready.
pub(crate) struct Prepared<S> {
    pub(crate) stream: S,
    /// What came together with what made the transport ready.
    pub(crate) received: BytesMut,
    pub(crate) upgrade: Option<UpgradeRequest>,
    pub(crate) tls: Option<TlsPeer>,
}

/// A connection whose transport is ready.
pub(crate) struct Connection<T: Transport> {
    stream: T::Stream,
    codec: Codec,
    input: ReadBuffer,
    backlog: Backlog,
    /// What the client sent has waited for too long.
    is_overdue: bool,
    /// Frames laid out for writing, partly written.
    output: Chunks,
    remote: Address,
    context: Arc<ConnectionContext>,
    outbox: Arc<Outbox>,
    /// None from the login on, and boxed: a client keeps no room for it.
    before_login: Option<Box<BeforeLogin>>,
    rate: Box<dyn ConnectionRate>,
    online: Option<Online>,
    times: Times,
}

/// What a client has until its login.
struct BeforeLogin {
    /// Its room among the connections that have not logged in: the connection ends when that is taken.
    slot: Slot,
    upgrade: Option<UpgradeRequest>,
    tls: Option<TlsPeer>,
}

/// What a client has from its login on.
struct Online {
    client: Arc<Client>,
    lane: Lane,
    /// When its token ends; none where that does not matter, or has been.
    expiry: Option<Expiry>,
    /// It has to go when it has its answers, for its token has ended.
    is_expired: bool,
    _session: SessionGuard,
}

/// Bytes that went one way.
enum Moved {
    In(usize),
    Out(usize),
}

impl<T: Transport> Connection<T> {
    /// Until its login, the connection has this slot, and ends when that is taken.
    pub(crate) fn new(
        prepared: Prepared<T::Stream>,
        framing: Framing,
        remote: Address,
        slot: Slot,
        login_by: Instant,
        context: Arc<ConnectionContext>,
    ) -> Self {
        let Prepared { stream, received, upgrade, tls } = prepared;
        let limits = &context.limits;
        let now = Instant::now();
        let outbox = Outbox::new(limits.queue_messages, limits.queue_bytes).within(&context.memory);
        let outbox = Arc::new(outbox);
        context.memory.list(&(outbox.clone() as Arc<dyn Holder>));
        Self {
            stream,
            codec: Codec::new(framing, limits.packet.min(limits.login_packet)),
            input: ReadBuffer::new(received),
            backlog: Backlog::new(now),
            is_overdue: false,
            output: Chunks::default(),
            remote,
            outbox,
            before_login: Some(Box::new(BeforeLogin { slot, upgrade, tls })),
            rate: context.rate_limit.connection(),
            online: None,
            times: Times::new(login_by, now),
            context,
        }
    }

    /// Runs until either side ends it.
    pub(crate) async fn run(mut self) {
        let served = self.serve().await;
        // Boxed: a client keeps no room for its end.
        Box::pin(self.end(served)).await;
    }

    /// Reads and writes until there is an end to it; `None` where the client hung up.
    async fn serve(&mut self) -> io::Result<Option<End>> {
        let outbox = self.outbox.clone();
        let mut batch = VecDeque::new();
        // Kept from turn to turn: deadlines move, mostly away, and a timer that fires too early
        // costs less than one that is set anew each time.
        let mut timer = pin!(sleep_until(self.times.login_by));
        loop {
            self.times.turn = Instant::now();
            self.look_at_backlog();
            self.take_packets().await;
            let now = Instant::now();
            let Look { next, is_leaving, is_closing, mut answers } = self.lay_out(&mut batch, now);
            match next {
                Next::CutOff(close) => {
                    tracing::info!(remote = %self.remote, "client reads too slowly, cut off");
                    return Ok(Some(End { close, patience: CUT_OFF_PATIENCE }));
                }
                Next::Close(close) => {
                    let patience = self.context.limits.write_timeout;
                    return Ok(Some(End { close, patience }));
                }
                Next::Write | Next::Idle => {}
            }
            let may_read = self.may_read();
            if !may_read {
                self.times.heard = now;
                self.hear(now);
            }
            let paused = self.paused(now);
            let (deadline, overdue) = self.deadline(now);
            if deadline <= now {
                self.overdue(overdue)?;
                continue;
            }
            let look_at =
                self.online.as_ref().filter(|_| !may_read).map(|it| now + it.lane.delay());
            let rest_at = self.input.is_generous().then(|| now + QUIET);
            let wake_at =
                [paused.or(look_at), rest_at].into_iter().flatten().fold(deadline, Instant::min);
            if wake_at < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(wake_at);
            }
            let (online, before_login) = (self.online.as_ref(), self.before_login.as_deref());
            let tried = || {
                if let Some(answers) = answers.take() {
                    self.context.fan_out.wake(outbox.tried(answers), &self.context.life.tasks);
                }
            };
            tokio::select! {
                biased;
                moved = transfer(&mut self.stream, &mut self.input, &mut self.output, may_read && paused.is_none(), tried) => match moved? {
                    Moved::In(0) => return Ok(None),
                    Moved::In(len) => {
                        self.backlog.read(len);
                        self.hear(Instant::now());
                    }
                    Moved::Out(len) => {
                        metrics::sent(len);
                        self.times.took = Instant::now();
                    }
                },
                () = poll_fn(|cx| outbox.poll_changed(cx, paused.is_some())) => {}
                () = poll_fn(|cx| evicted(before_login, cx)), if !is_closing => {
                    metrics::unauthenticated_evicted();
                    outbox.finish(None, Close::new(code::TRY_LATER, NO_ROOM));
                }
                () = Online::room(online), if !may_read => {}
                () = Online::answered(online), if is_leaving => outbox.finish(None, Online::farewell(online)),
                () = self.context.life.leaving.cancelled(), if online.is_none() && !is_closing => {
                    outbox.finish(None, going_away());
                }
                () = &mut timer => {
                    if self.times.heard.elapsed() >= QUIET {
                        self.input.rest();
                    }
                }
            }
        }
    }

    /// Whether the client's next request may be taken.
    fn may_read(&self) -> bool {
        let has_room = |online: &Online| self.is_overdue || online.lane.has_room();
        self.outbox.invites() && self.online.as_ref().is_none_or(has_room)
    }

    /// Finds out whether what the client sent has waited for too long, for what others sent.
    fn look_at_backlog(&mut self) {
        let Some(online) = &self.online else { return };
        let now = self.times.turn;
        let may_be = self.backlog.most(now) > online.lane.delay();
        self.is_overdue = may_be && online.lane.is_crowded() && {
            let (read, unread) = (self.input.bytes.len(), T::unread(&self.stream));
            let patience = online.lane.patience();
            let wait = self.backlog.wait(now, read, unread);
            self.backlog.forget(now, patience);
            wait > patience
        };
    }

    /// Until when the client is not read, though it may be.
    fn paused(&mut self, now: Instant) -> Option<Instant> {
        if self.online.as_ref().is_some_and(|online| online.client.was_refused()) {
            self.times.paused = Some(now + REFUSED_PAUSE);
        }
        self.times.paused = self.times.paused.filter(|until| *until > now);
        self.times.paused
    }

    /// Lays out what is to be written, once the last is. Says what is left to do.
    fn lay_out(&mut self, batch: &mut VecDeque<Frame>, now: Instant) -> Look {
        let is_written = self.output.is_empty();
        let is_paused = self.times.paused.is_some_and(|until| until > now);
        let look = self.outbox.look(is_written.then_some(&mut *batch), is_paused);
        if is_written {
            for frame in batch.drain(..) {
                self.codec.encode(&frame, &mut self.output);
            }
            self.times.took = now;
        }
        if look.is_closing && self.times.closing.is_none() {
            self.times.closing = Some(now);
        }
        look
    }
}

/// Ready once another connection has the slot of this one.
fn evicted(before_login: Option<&BeforeLogin>, cx: &mut Context<'_>) -> Poll<()> {
    before_login.map_or(Poll::Pending, |it| it.slot.poll_evicted(cx))
}

fn going_away() -> Close {
    Close::new(code::GOING_AWAY, "gateway leaves, connect to another")
}

/// Writes or reads, whichever is possible first: a client that does not read is still heard. Tells
/// when it has tried to write.
async fn transfer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    input: &mut ReadBuffer,
    output: &mut Chunks,
    may_read: bool,
    mut tried: impl FnMut(),
) -> io::Result<Moved> {
    poll_fn(|cx| {
        // Both are cancel safe, so that each poll may begin them anew.
        if !output.is_empty() {
            let written = pin!(output.write_some(stream)).poll(cx);
            tried();
            if let Poll::Ready(written) = written {
                return Poll::Ready(written.map(Moved::Out));
            }
        }
        if may_read && let Poll::Ready(read) = pin!(input.read(stream)).poll(cx) {
            return Poll::Ready(read.map(Moved::In));
        }
        Poll::Pending
    })
    .await
}

impl Online {
    /// Why a client goes that was asked to.
    fn farewell(online: Option<&Self>) -> Close {
        match online {
            Some(online) if online.client.is_replaced() => {
                Close::new(close::REPLACED, "replaced: too many connections of this account")
            }
            Some(online) if online.is_expired => Close::new(close::TOKEN_EXPIRED, "token expired"),
            _ => going_away(),
        }
    }

    /// Resolves when a full lane has room. What else may keep us from reading makes itself heard.
    async fn room(online: Option<&Self>) {
        match online {
            Some(online) if !online.lane.has_room() => online.lane.room().await,
            _ => pending().await,
        }
    }

    /// Resolves when the client has all of its answers.
    async fn answered(online: Option<&Self>) {
        match online {
            Some(online) => online.lane.idle().await,
            None => pending().await,
        }
    }
}
