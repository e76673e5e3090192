//! One client's connection: reads packets, forwards requests, writes what is in its outbox.

use std::{collections::VecDeque, net::SocketAddr, ops::ControlFlow, sync::Arc};

use bytes::{Bytes, BytesMut};
use imago_container::{Lane, Request, Route, io::Chunks};
use imago_proto::{
    BasicCode, BasicPacket, Frame, FrameError, LogicPacket, Opcode, Packet, SessionId, Status,
    command,
    msg::{Header, LoginReq},
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    gateway::Shared,
    limit::ConnectionRate,
    metrics,
    outbox::{Close, Outbox, code},
    session::{Client, SessionGuard, refusal},
    transport::{Framing, linger},
};

/// Bytes read at a time; buffers of idle clients are no larger.
const READ_CHUNK: usize = 4096;

/// A connection whose transport is ready.
pub(crate) struct Connection<S> {
    stream: S,
    framing: Framing,
    buffer: BytesMut,
    remote: SocketAddr,
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    rate: Box<dyn ConnectionRate>,
    online: Option<Online>,
}

/// What a client has from its login on.
struct Online {
    client: Arc<Client>,
    lane: Lane,
    _session: SessionGuard,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(crate) fn new(
        stream: S,
        framing: Framing,
        received: BytesMut,
        remote: SocketAddr,
        shared: Arc<Shared>,
    ) -> Self {
        let limits = &shared.limits;
        let outbox = Arc::new(Outbox::new(limits.queue_messages, limits.queue_bytes));
        let rate = shared.rate_limit.connection();
        Self { stream, framing, buffer: received, remote, shared, outbox, rate, online: None }
    }

    /// Runs until either side ends it.
    pub(crate) async fn run(mut self) {
        let outbox = self.outbox.clone();
        let ended = tokio::select! {
            ended = self.serve() => ended,
            () = outbox.aborted() => Ok(()),
        };
        if outbox.is_aborted() {
            self.cut_off().await;
        } else if let Err(error) = ended {
            tracing::debug!(%error, "connection broke");
        }
        linger(&mut self.stream).await;
    }

    /// Reads and writes in turn until there is an end to it.
    async fn serve(&mut self) -> std::io::Result<()> {
        let login_by = Instant::now() + self.shared.limits.login_timeout;
        let mut heard = Instant::now();
        let mut frames = VecDeque::new();
        loop {
            if self.take_packets().await.is_break() {
                heard = Instant::now();
            }
            let may_read = self.online.as_ref().is_none_or(Online::may_read);
            let silent_at = if self.outbox.is_logged_in() || self.online.is_some() {
                heard + self.shared.limits.read_timeout
            } else {
                login_by
            };
            let outbox = self.outbox.clone();
            self.buffer.reserve(READ_CHUNK);
            tokio::select! {
                close = outbox.take(&mut frames) => {
                    self.write(&mut frames).await?;
                    if let Some(close) = close {
                        return self.close(close).await;
                    }
                }
                read = self.stream.read_buf(&mut self.buffer), if may_read => {
                    if read? == 0 {
                        return Ok(());
                    }
                    heard = Instant::now();
                }
                () = Online::ready_to_read(self.online.as_ref()), if !may_read => {}
                () = Online::drained(self.online.as_ref()) => {
                    outbox.finish(None, Close::new(code::GOING_AWAY, "gateway leaves, connect to another"));
                }
                () = sleep_until(silent_at) => outbox.finish(None, self.too_silent()),
            }
        }
    }

    fn too_silent(&self) -> Close {
        if self.online.is_some() {
            Close::new(code::GOING_AWAY, "nothing heard for too long")
        } else {
            Close::new(code::POLICY, "no login in time")
        }
    }

    /// Handles what has arrived, for as long as requests may be forwarded. `Break`: something was
    /// handled.
    async fn take_packets(&mut self) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        while self.online.as_ref().is_none_or(Online::may_read) {
            match self.framing.decode(&mut self.buffer) {
                Ok(Some(frame)) => {
                    flow = ControlFlow::Break(());
                    self.frame(frame).await;
                }
                Ok(None) => break,
                Err(error) => {
                    self.refuse_frame(&error);
                    break;
                }
            }
        }
        flow
    }

    /// The stream cannot be read any further: what has arrived is of no use.
    fn refuse_frame(&mut self, error: &FrameError) {
        tracing::debug!(remote = %self.remote, %error, "not a frame");
        self.buffer.clear();
        let close = match error {
            FrameError::TooLarge { .. } => Close::new(code::TOO_BIG, "packet too large"),
            _ => Close::new(code::PROTOCOL, "not a frame"),
        };
        self.outbox.finish(None, close);
    }

    async fn frame(&mut self, frame: Frame) {
        match frame.opcode {
            Opcode::Ping => self.outbox.push_frame(Frame { opcode: Opcode::Pong, ..frame }),
            Opcode::Close => self.outbox.finish(None, Close::new(code::NORMAL, "")),
            Opcode::Pong | Opcode::Continuation => {}
            Opcode::Binary | Opcode::Text if frame.payload.is_empty() => {}
            Opcode::Binary | Opcode::Text => match Packet::decode(frame.payload) {
                Ok(Packet::Basic(packet)) => {
                    if packet.code == BasicCode::Ping {
                        self.outbox.push(BasicPacket::PONG.encode());
                    }
                }
                Ok(Packet::Logic(packet)) => self.request(packet).await,
                Err(error) => {
                    tracing::debug!(remote = %self.remote, %error, "not a packet");
                    self.outbox.finish(None, Close::new(code::PROTOCOL, "not a packet"));
                }
            },
        }
    }

    async fn request(&mut self, packet: LogicPacket) {
        metrics::request();
        let LogicPacket { header, body } = packet;
        let Some(online) = &self.online else { return self.log_in(header, body).await };
        if header.command == command::LOGIN_SIGNIN {
            return self.refuse(&header, Status::InvalidCommand, "already logged in");
        }
        if !self.rate.admit() {
            return self.refuse(
                &header,
                Status::SystemException,
                "too many messages a second, slow down",
            );
        }
        online.lane.submit(request_of(header, body));
    }

    /// Refuses one request; the connection goes on.
    fn refuse(&self, header: &Header, status: Status, why: &str) {
        let channel = self.online.as_ref().map(|online| online.client.session.channel_id.as_str());
        self.outbox.push(refusal(header, channel.unwrap_or_default(), status, why));
    }

    /// Refuses the login, and ends the connection.
    fn refuse_login(&self, header: &Header, status: Status, why: &str, close: Close) {
        metrics::login_refused(status);
        self.outbox.finish(Some(refusal(header, "", status, why)), close);
    }

    async fn log_in(&mut self, header: Header, body: Bytes) {
        let refused = Close::new(code::POLICY, "login refused");
        if header.command != command::LOGIN_SIGNIN {
            return self.refuse_login(&header, Status::InvalidCommand, "log in first", refused);
        }
        let mut login = match LoginReq::decode(body) {
            Ok(login) => login,
            Err(error) => {
                let why = format!("body does not decode: {error}");
                return self.refuse_login(&header, Status::InvalidPacketBody, &why, refused);
            }
        };
        let identity = match self.shared.authenticator.authenticate(&login).await {
            Ok(identity) => identity,
            Err(error) => {
                return self.refuse_login(&header, Status::Unauthorized, &error.0, refused);
            }
        };
        let route = Route { app: identity.app.clone(), account: identity.account.clone() };
        let gateway = self.shared.handle.service_id().as_str();
        let remote = self.remote.to_string();
        let opened =
            self.shared.sessions.open(identity, &login, remote, self.outbox.clone(), gateway);
        let Some(client) = opened else {
            let full = Close::new(code::TRY_LATER, "too many connections of this account");
            let why = "too many connections of this account";
            return self.refuse_login(&header, Status::SystemException, why, full);
        };
        let id = SessionId(client.session.id);
        let guard = SessionGuard {
            id,
            sessions: self.shared.sessions.clone(),
            handle: self.shared.handle.clone(),
            tasks: self.shared.tasks.clone(),
        };
        // Every logic server learns of the session before any request of it.
        self.shared.handle.session_up(&client.session).await;
        let lane = self.shared.handle.open_lane(id, route, client.clone());
        // The token has done its work: it goes no further.
        login.token.clear();
        lane.submit(request_of(header, login.encode_to_vec().into()));
        tracing::debug!(channel = client.session.channel_id, "logging in");
        self.online = Some(Online { client, lane, _session: guard });
    }

    async fn write(&mut self, frames: &mut VecDeque<Frame>) -> std::io::Result<()> {
        let mut chunks = Chunks::default();
        for frame in frames.drain(..) {
            self.framing.encode(&frame, &mut chunks);
        }
        while !chunks.is_empty() {
            let patience = self.shared.limits.write_timeout;
            let written = timeout(patience, chunks.write_some(&mut self.stream)).await;
            metrics::sent(written.map_err(|_| std::io::ErrorKind::TimedOut)??);
        }
        Ok(())
    }

    async fn close(&mut self, close: Close) -> std::io::Result<()> {
        if !close.after.is_zero() {
            tokio::time::sleep(close.after).await;
        }
        let frame = self.framing.close(close.code, close.reason);
        self.write(&mut VecDeque::from([frame])).await
    }

    /// A client that reads too slowly is told so where its socket still takes something.
    async fn cut_off(&mut self) {
        tracing::info!(remote = %self.remote, "client reads too slowly, cut off");
        let frame = self.framing.close(code::TRY_LATER, "client reads too slowly");
        let mut chunks = Chunks::default();
        self.framing.encode(&frame, &mut chunks);
        // Whether it arrives is up to the client.
        let now = std::time::Duration::from_millis(50);
        let _ = timeout(now, chunks.write_some(&mut self.stream)).await;
    }
}

fn request_of(header: Header, body: Bytes) -> Request {
    // What a client says of its channel and in metas is never believed: it goes no further.
    Request { command: header.command, sequence: header.sequence, dest: header.dest, body }
}

impl Online {
    /// While too much is unanswered, or the client is being handed over, nothing more is read.
    fn may_read(&self) -> bool {
        !self.client.leave.is_cancelled() && self.lane.has_room()
    }

    async fn ready_to_read(online: Option<&Self>) {
        match online {
            Some(online) if !online.client.leave.is_cancelled() => online.lane.room().await,
            _ => std::future::pending().await,
        }
    }

    /// Resolves when the client is to be handed over, and has all of its answers.
    async fn drained(online: Option<&Self>) {
        match online {
            Some(online) => {
                online.client.leave.cancelled().await;
                online.lane.idle().await;
            }
            None => std::future::pending().await,
        }
    }
}
