//! A small server that speaks the client wire, with faults on demand.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod answers;
mod connection;
mod groups;
mod store;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use imago_client::{Builder, Client, Message};
use imago_proto::{
    BasicCode, BasicPacket, LogicPacket, Packet, Status, command,
    msg::{KickoutNotify, LoginReq, LoginResp, MessageReq},
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::connection::Out;
pub(crate) use self::store::Store;

/// How a server misbehaves.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Statuses of the next logins; then they succeed.
    pub(crate) logins: VecDeque<u32>,
    /// Statuses of the next talks, which are not stored; then they succeed.
    pub(crate) talks: VecDeque<u32>,
    /// Number of the next talks that are stored and not answered.
    pub(crate) swallowed: usize,
    /// Number of talks after which the connection is cut, each time: the last is stored and not answered.
    pub(crate) cut_every: Option<usize>,
    /// Every how many pushes one is lost.
    pub(crate) lose_every: Option<usize>,
    /// Pushes are sent twice.
    pub(crate) double: bool,
    /// Nothing is answered but logins.
    pub(crate) mute: bool,
    /// Statuses of the next listings, of either kind; then they succeed.
    pub(crate) listings: VecDeque<u32>,
    /// The server knows the commands of old ones only.
    pub(crate) old: bool,
}

struct Session {
    number: u64,
    account: String,
    channel: String,
    out: mpsc::UnboundedSender<Out>,
}

/// Everything the gateways of one cluster share.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    sessions: Vec<Session>,
    logins: u64,
    talks: usize,
    pushes: usize,
    /// Commands that came, but for talks and acknowledgements.
    pub(crate) asked: Vec<String>,
}

/// One gateway of a cluster.
pub(crate) struct Server {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    stop: CancellationToken,
    _accepting: AbortOnDropHandle<()>,
}

impl Server {
    pub(crate) async fn ws() -> Self {
        Self::start("ws", Arc::default()).await
    }

    pub(crate) async fn tcp() -> Self {
        Self::start("tcp", Arc::default()).await
    }

    /// Another gateway of the same cluster.
    pub(crate) async fn sibling(&self) -> Self {
        Self::start(self.scheme, self.world.clone()).await
    }

    async fn start(scheme: &'static str, world: Arc<Mutex<World>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (shared, token) = (world.clone(), stop.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = connection::serve(scheme, stream, shared.clone());
                let token = token.clone();
                tokio::spawn(async move { token.run_until_cancelled(serving).await });
            }
        });
        Self { world, address, scheme, stop, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn client(&self, account: &str) -> Builder {
        quick(Client::builder([self.url()]), account)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Cuts every connection without a word, and accepts no more.
    pub(crate) fn kill(&self) {
        self.stop.cancel();
        self._accepting.abort();
    }

    /// Cuts the connections of every session.
    pub(crate) fn cut(&self) {
        self.close(&Out::Cut);
    }

    /// Closes the connections of every session with a code.
    pub(crate) fn close_all(&self, code: u16) {
        self.close(&Out::Close(code));
    }

    fn close(&self, how: &Out) {
        for session in self.world().sessions.drain(..) {
            let _ = session.out.send(how.clone());
        }
    }

    /// Sends every session something that is no packet.
    pub(crate) fn babble(&self) {
        for session in &self.world().sessions {
            let _ = session.out.send(Out::Packet(Bytes::from_static(b"babble")));
        }
    }

    /// Sends every session of the account its notice, then closes it.
    pub(crate) fn kick(&self, account: &str) {
        for session in self.world().sessions.iter().filter(|s| s.account == account) {
            let body = KickoutNotify { channel_id: session.channel.clone() }.encode_to_vec();
            let notice = LogicPacket::push(command::LOGIN_SIGNIN, "", body.into());
            let _ = session.out.send(Out::Packet(notice.encode()));
            let _ = session.out.send(Out::Close(1000));
        }
    }

    pub(crate) fn sessions(&self) -> usize {
        self.world().sessions.len()
    }
}

/// A builder with short timeouts.
pub(crate) fn quick(builder: Builder, account: &str) -> Builder {
    let ms = Duration::from_millis;
    builder
        .token(account)
        .request_timeout(ms(300))
        .backoff(ms(5), ms(50))
        .connect_timeout(Duration::from_secs(5))
}

impl World {
    /// Takes a packet of a session (`None`: not logged in) and answers it.
    fn on(&mut self, session: &mut Option<u64>, out: &mpsc::UnboundedSender<Out>, packet: Packet) {
        let request = match packet {
            Packet::Basic(basic) => {
                if basic.code == BasicCode::Ping && !self.faults.mute {
                    let _ = out.send(Out::Packet(BasicPacket::PONG.encode()));
                }
                return;
            }
            Packet::Logic(request) => request,
        };
        let Some(number) = *session else {
            *session = self.log_in(&request, out);
            return;
        };
        let Some(caller) = self.sessions.iter().find(|s| s.number == number) else { return };
        let (account, channel) = (caller.account.clone(), caller.channel.clone());
        let Some((status, body)) = self.answer(&account, number, &request) else { return };
        if !self.faults.mute {
            let answer = LogicPacket::response(request.header.clone(), &channel, status, body);
            let _ = out.send(Out::Packet(with_status(answer, status).encode()));
        }
        if request.header.command == command::LOGIN_SIGNOUT {
            let _ = out.send(Out::Close(1000));
        }
    }

    fn log_in(&mut self, request: &LogicPacket, out: &mpsc::UnboundedSender<Out>) -> Option<u64> {
        if let Some(code) = self.faults.logins.pop_front() {
            let mut answer = LogicPacket::response(
                request.header.clone(),
                "",
                Status::Unauthorized,
                Bytes::new(),
            );
            answer.header.status = code;
            let _ = out.send(Out::Packet(answer.encode()));
            let _ = out.send(Out::Close(1008));
            return None;
        }
        let account = LoginReq::decode(request.body.clone()).unwrap().token;
        self.logins += 1;
        let channel = format!("gate_{account}_{}", self.logins);
        let resp = LoginResp { channel_id: channel.clone(), account: account.clone() };
        let body = resp.encode_to_vec().into();
        let answer = LogicPacket::response(request.header.clone(), &channel, Status::Success, body);
        let _ = out.send(Out::Packet(answer.encode()));
        self.sessions.push(Session { number: self.logins, account, channel, out: out.clone() });
        Some(self.logins)
    }

    /// An account without a connection sends a message.
    pub(crate) fn tell(&mut self, from: &str, to: &str, body: &str) {
        let request = MessageReq { r#type: 1, body: body.into(), ..MessageReq::default() };
        let (_, push) = self.store.append(from, to, request);
        self.push(to, None, &push);
    }

    /// An account without a connection sends a message to a group.
    pub(crate) fn tell_group(&mut self, from: &str, group: &str, body: &str) {
        let request = MessageReq { r#type: 1, body: body.into(), ..MessageReq::default() };
        let (_, push) = self.store.append_to(group, from, request);
        for member in self.store.members(group) {
            self.push(&member, None, &push);
        }
    }

    /// Pushes a notice of a kick that is meant for another channel.
    pub(crate) fn kick_another(&self) {
        for session in &self.sessions {
            let body = KickoutNotify { channel_id: "another".to_owned() }.encode_to_vec();
            let notice = LogicPacket::push(command::LOGIN_SIGNIN, "", body.into());
            let _ = session.out.send(Out::Packet(notice.encode()));
        }
    }
}

fn with_status(mut packet: LogicPacket, status: Status) -> LogicPacket {
    packet.header.status = status.code();
    packet
}

/// Waits until the condition holds, for at most ten seconds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), holds).await.unwrap_or_else(|_| panic!("{what}"));
}

/// The bodies of the next messages.
pub(crate) async fn bodies(
    messages: &mut (impl futures::Stream<Item = Message> + Unpin),
    count: usize,
) -> Vec<String> {
    use futures::StreamExt;
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), messages.next()).await;
        let message = next.unwrap_or_else(|_| panic!("only {} of {count} came", bodies.len()));
        bodies.push(message.expect("the client is alive").body);
    }
    bodies
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}
